# The question `tools`: which tools may this principal ever use?
#
# Takes: the principal (`input`), and the admin's YAML (`data.policy`).
# Gives: `tools`, the sorted names of what is worth listing to it, over all databases and purposes.
# Never: permits anything. A call of a listed tool is judged like any other, and so is one of a tool that is not listed.
package pgteller

import data.pgteller.grants
import data.pgteller.limits

default tools := []

# METADATA
# scope: document
# schemas:
#   - input: schema.tools_input
tools := sort(listed) if count(grants.for_this_caller) > 0

listed contains tool if {
	some tool in tools_of_grants
	tool in {"query", "describe", "export"}
}

# Whoever may query may know what a query would read.
listed contains "explain" if "query" in tools_of_grants

tools_of_grants contains tool if {
	some grant in grants.for_this_caller
	some tool in object.get(grant, "tools", limits.usual)
}

# A token that names its task leaves nothing to open.
listed contains tool if {
	some grant in grants.for_this_caller
	grant.opens == true
	not input.task_named
	some tool in {"open_task", "close_task"}
}

listed contains "close_task" if {
	input.task_named
	count(grants.for_this_caller) > 0
}
