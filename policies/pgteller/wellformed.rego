# What a grant must look like.
#
# Takes: `data.policy`.
# Gives: `policy`, true only if every grant is well-formed.
# Never: repairs. One malformed grant closes the whole policy, because leaving it out could loosen what the
#        others give together (columns are the strictest, limits the smallest over all matching grants).
#
# Not judged here, since they only ever hide: masks and `unlabelled` (masks.rego), `rows` of a relation and
# params (rows.rego), functions (functions.rego).
package pgteller.wellformed

import data.pgteller.limits
import data.pgteller.patterns

grant_keys := {
	"agents",
	"subjects",
	"groups",
	"issuers",
	"scopes",
	"purposes",
	"databases",
	"environments",
	"ambient",
	"opens",
	"tools",
	"read",
	"rows",
	"clear",
	"limits",
	"approval",
}

name_lists := {"groups", "scopes", "environments", "tools", "clear"}

pattern_lists := {"agents", "subjects", "issuers", "purposes", "databases"}

policy if {
	object.get(data.policy, "version", 1) == 1
	is_object(data.policy.grants)
	is_list_of_names(object.get(data.policy, ["functions", "deny"], []))
	every grant in data.policy.grants { is_grant(grant) }
	count(globs) <= patterns.globs_at_most
}

is_grant(grant) if {
	only_keys(grant, grant_keys)
	grant.agents
	every key in pattern_lists { is_list_of_patterns(object.get(grant, key, [])) }
	every key in name_lists { is_list_of_names(object.get(grant, key, [])) }
	is_boolean(object.get(grant, "ambient", false))
	is_boolean(object.get(grant, "opens", false))
	is_read(grant.read)
	is_object(object.get(grant, "rows", {}))
	is_limits(object.get(grant, "limits", {}))
	is_approval(object.get(grant, "approval", {}))
}

is_read(read) if {
	only_keys(read, {"allow", "deny"})
	is_list_of_patterns(read.allow)
	is_list_of_patterns(object.get(read, "deny", []))
}

is_limits(given) if {
	only_keys(given, object.keys(limits.defaults) | object.keys(limits.budgets))
	every limit in given { is_count(limit) }
}

is_approval(approval) if approval == {}

is_approval(approval) if approval == {"export": "always"}

is_approval(approval) if {
	only_keys(approval, {"export"})
	only_keys(approval.export, {"above_max_rows"})
	is_count(approval.export.above_max_rows)
}

# A misspelt key must not pass for one that was left out.
only_keys(value, allowed) if {
	is_object(value)
	object.keys(value) - allowed == set()
}

is_list_of_names(list) if {
	is_array(list)
	every name in list { is_string(name) }
}

is_list_of_patterns(list) if {
	is_array(list)
	every pattern in list { patterns.is_readable(pattern) }
}

globs contains pattern if {
	some grant in data.policy.grants
	some key in pattern_lists
	some pattern in grant[key]
	patterns.is_glob(pattern)
}

globs contains pattern if {
	some grant in data.policy.grants
	some list in grant.read
	some pattern in list
	patterns.is_glob(pattern)
}

is_count(value) if {
	is_number(value)
	value >= 0
	floor(value) == value
}
