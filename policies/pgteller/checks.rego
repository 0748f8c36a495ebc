# What stands against a call.
#
# Takes: the input of `call`.
# Gives: `violations`, one for everything that denies, and `needs_approval` for an export that somebody must approve.
# Never: assumes. A violation is the absence of proof: what is missing or of the wrong type denies.
#
# METADATA
# scope: package
# schemas:
#   - input: schema.call_input
package pgteller.checks

import data.pgteller.extension
import data.pgteller.obligations

violations contains violation if some violation in extension.call_violations

violations contains {
	"code": "tool-not-allowed",
	"message": "this task may not use this tool: list the tools again and use one that is listed",
} if {
	not tool_allowed
}

violations contains {
	"code": "task-expired",
	"message": "this task has expired: open a new task and repeat the call",
} if {
	not task_alive
}

violations contains {
	"code": "verb-not-allowed",
	"message": "only reading is allowed: send one `select` that changes and locks nothing",
} if {
	not only_reads
}

violations contains {
	"code": "carry-missing",
	"message": "this task has no limits on record: open a new task and repeat the call",
} if {
	not obligations.known
}

tool_allowed if {
	input.tool in {"query", "describe", "export"}
	input.tool in input.task.carry.tools
}

# What `explain` tells comes from our own reading and this very policy: whoever may query may know it.
tool_allowed if {
	input.tool == "explain"
	"query" in input.task.carry.tools
}

# A real plan counts hidden rows: only where every grant names it.
tool_allowed if {
	input.tool == "explain-plan"
	"explain-plan" in input.task.carry.tools
}

task_alive if {
	is_number(input.now_ns)
	is_number(input.task.expires_at_ns)
	input.now_ns < input.task.expires_at_ns
}

only_reads if {
	input.tool == "describe"
	not input.statement
}

only_reads if {
	input.statement.verb == "select"
	is_array(input.statement.relations)
	every relation in input.statement.relations { relation.access == "read" }
}

needs_approval if {
	input.tool == "export"
	not export_is_free
}

# No grant asks for an approval of exports.
export_is_free if {
	is_object(input.task.carry.approval)
	not "export" in object.keys(input.task.carry.approval)
}

export_is_free if {
	threshold := input.task.carry.approval.export.above_max_rows
	is_number(threshold)
	obligations.asked_rows <= threshold
}
