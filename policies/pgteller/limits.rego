# How much: what the matching grants allow together.
#
# Takes: `limits`, `tools` and `approval` of the matching grants.
# Gives: `smallest` limits, the `budget` of the whole task, `ttl_seconds`, `tools` that every grant allows, and the strictest `approval`.
# Never: lets one grant loosen another.
package pgteller.limits

import data.pgteller.grants

defaults := {
	"rows": 1000,
	"bytes": 1048576,
	"cell_bytes": 262144,
	"seconds": 30,
	"task_minutes": 60,
	"export_rows": 100000,
	"export_bytes": 104857600,
	"export_seconds": 120,
}

smallest := {name: limit |
	some name, fallback in defaults
	limit := min({object.get(grant, ["limits", name], fallback) | some grant in grants.matching})
}

# What a task may use in all; what no grant bounds is not bounded.
budgets := {"task_statements": "statements", "task_rows": "rows", "task_bytes": "bytes"}

budget := {name: most |
	some key, name in budgets
	given := {grant.limits[key] | some grant in grants.matching}
	count(given) > 0
	most := min(given)
}

ttl_seconds := smallest.task_minutes * 60

tools := [tool |
	some tool in ["describe", "explain-plan", "export", "query"]
	every grant in grants.matching { tool in object.get(grant, "tools", usual) }
]

# A grant that names no tools has these.
usual := ["describe", "export", "query"]

approval := {"export": "always"} if {
	some grant in grants.matching
	grant.approval.export == "always"
} else := {"export": {"above_max_rows": min(thresholds)}} if {
	thresholds := {grant.approval.export.above_max_rows | some grant in grants.matching}
	count(thresholds) > 0
} else := {}
