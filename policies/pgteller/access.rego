# The question `access`: what may this task ever see?
#
# Takes: principal, task, database and snapshot (`input`), and the admin's YAML (`data.policy`).
# Gives: `access`, always an object: either the grant set of the task, or a refusal that says why.
# Never: looks at a statement, knows the time, or names a grant or a relation in a refusal.
#
# Read on in: grants.rego (who), relations.rego (what), masks.rego (columns), rows.rego (row filters),
# limits.rego (how much), wellformed.rego (what a grant must look like).
package pgteller

import data.pgteller.extension
import data.pgteller.functions
import data.pgteller.grants
import data.pgteller.limits
import data.pgteller.masks
import data.pgteller.rows
import data.pgteller.wellformed

# What remains if nothing below can be worked out.
default access := {
	"allow": false,
	"ttl_seconds": 0,
	"violations": [{"code": "no-grant", "message": "access could not be decided: ask the operator to check the policy"}],
	"relations": {},
	"params": {},
	"functions": {"allow": [], "extensions": []},
	"carry": {},
}

# METADATA
# scope: document
# schemas:
#   - input: schema.access_input
access := {
	"allow": true,
	"ttl_seconds": limits.ttl_seconds,
	"violations": [],
	"relations": visible,
	"params": params,
	"functions": functions.granted,
	"budget": limits.budget,
	"carry": {
		"grants": sort(object.keys(grants.matching)),
		"tools": limits.tools,
		"limits": limits.smallest,
		"approval": limits.approval,
	},
} if {
	count(refusals) == 0
} else := {
	"allow": false,
	"ttl_seconds": 0,
	"violations": sort(refusals),
	"relations": {},
	"params": {},
	"functions": {"allow": [], "extensions": []},
	"carry": {},
}

# A relation without any visible column does not exist for the task.
visible := {name: relation |
	some name, columns in masks.columns
	not name in rows.broken
	count(columns) > 0
	relation := entry(name, columns)
}

entry(name, columns) := {"columns": columns, "rows": rows.filters[name]} if {
	rows.filters[name]
} else := {"columns": columns}

# Only the params that a row filter of the answer uses.
params := {param: value |
	some name, _ in visible
	some param in rows.params_used[name]
	value := rows.params[param]
}

refusals contains violation if some violation in extension.access_violations

refusals contains {
	"code": "no-grant",
	"message": "the policy is invalid and grants nothing: ask the operator to check it",
} if {
	not wellformed.policy
}

refusals contains {
	"code": "task-required",
	"message": "a named task is needed here: ask your orchestrator for a token that carries one",
} if {
	count(grants.matching) == 0
	grants.named_task_would_help
	not grants.own_task_would_help
}

refusals contains {
	"code": "task-required",
	"message": "a named task is needed here: call `open_task` with the purpose of your work, and pass the task that it returns",
} if {
	count(grants.matching) == 0
	grants.own_task_would_help
}

refusals contains {
	"code": "no-grant",
	"message": "nothing is granted to this agent for this purpose on this database: ask the operator for a grant, or name another purpose",
} if {
	wellformed.policy
	count(grants.matching) == 0
	not grants.named_task_would_help
}

refusals contains {
	"code": "no-relation",
	"message": "nothing is readable in this task: ask the operator to review what is granted and labelled",
} if {
	count(grants.matching) > 0
	count(visible) == 0
}
