# The limits that an allowed call must keep.
#
# Takes: the tool, the rows that were asked for, and the limits in `input.task.carry`.
# Gives: `of_this_call` (the obligations of the answer), `known` (are there limits at all?), and `asked_rows` of an export.
# Never: gives more than the carried limits, whatever was asked for.
#
# METADATA
# scope: package
# schemas:
#   - input: schema.call_input
package pgteller.obligations

import data.pgteller.limits
import data.pgteller.wellformed

carried := input.task.carry.limits

known if {
	is_object(carried)
	every name in object.keys(limits.defaults) { wellformed.is_count(carried[name]) }
}

of_this_call := {
	"max_rows": min([asked, carried.rows]),
	"max_bytes": carried.bytes,
	"max_cell_bytes": carried.cell_bytes,
	"timeout_ms": carried.seconds * 1000,
} if {
	input.tool in {"query", "explain", "explain-plan"}
	asked := asked_or(carried.rows)
} else := {
	"max_rows": min([asked_rows, carried.export_rows]),
	"max_bytes": carried.export_bytes,
	"max_cell_bytes": carried.cell_bytes,
	"timeout_ms": carried.export_seconds * 1000,
} if {
	input.tool == "export"
} else := {} if {
	input.tool == "describe"
}

# An export that names no number asks for all that it may have.
asked_rows := asked_or(carried.export_rows)

asked_or(ceiling) := input.max_rows if {
	wellformed.is_count(input.max_rows)
} else := ceiling
