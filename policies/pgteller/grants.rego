# Who: the grants that match this principal, task and database.
#
# Takes: `input.principal`, `input.task`, `input.database`, and `data.policy.grants`.
# Gives: `matching` (name -> grant), and `named_task_would_help` and `own_task_would_help` for a task that named no purpose.
# Never: lets a malformed policy match. A key that is left out means "any"; a key that is given must be met,
#        so an empty list is met by nobody (but `issuers: []`, which the reference policy shows, names no issuer).
#
# Patterns (patterns.rego) have the delimiter "/": `*` stays within one segment, `**` crosses them.
#
# METADATA
# scope: package
# schemas:
#   - input: schema.access_input
package pgteller.grants

import data.pgteller.patterns
import data.pgteller.wellformed

matching := {name: grant |
	some name, grant in for_this_principal
	fits_task(grant)
}

# The task is ambient, and a grant would match if it named the right purpose.
named_task_would_help if {
	input.task.ambient == true
	count(for_this_principal) > 0
}

# The same, and the agent may name it itself.
own_task_would_help if {
	named_task_would_help
	some grant in for_this_principal
	grant.opens == true
}

for_this_principal := {name: grant |
	some name, grant in for_this_caller
	fits_database(grant)
	fits_environment(grant)
}

# The same on whatever database, for whatever purpose.
for_this_caller := {name: grant |
	wellformed.policy
	some name, grant in data.policy.grants
	fits_agent(grant)
	fits_subject(grant)
	fits_issuer(grant)
	fits_groups(grant)
	fits_scopes(grant)
}

fits_task(grant) if {
	input.task.ambient == true
	grant.ambient == true
}

fits_task(grant) if {
	input.task.ambient == false
	input.task.asserted == false
	fits_purpose(grant)
}

# A purpose that is the caller's own word opens only what says that it may be opened so.
fits_task(grant) if {
	input.task.ambient == false
	input.task.asserted == true
	grant.opens == true
	fits_purpose(grant)
}

fits_purpose(grant) if not grant.purposes

fits_purpose(grant) if matches_one(grant.purposes, input.task.purpose)

fits_agent(grant) if matches_one(grant.agents, input.principal.agent)

fits_subject(grant) if not grant.subjects

fits_subject(grant) if matches_one(grant.subjects, input.principal.subject)

fits_issuer(grant) if not grant.issuers

fits_issuer(grant) if grant.issuers == []

fits_issuer(grant) if matches_one(grant.issuers, input.principal.issuer)

fits_groups(grant) if not grant.groups

fits_groups(grant) if {
	some group in grant.groups
	group in input.principal.groups
}

fits_scopes(grant) if {
	every scope in object.get(grant, "scopes", []) { scope in input.principal.scopes }
}

fits_database(grant) if not grant.databases

fits_database(grant) if matches_one(grant.databases, input.database.name)

fits_environment(grant) if not grant.environments

fits_environment(grant) if input.database.environment in grant.environments

matches_one(allowed, value) if {
	some pattern in allowed
	patterns.matches(pattern, "/", value)
}
