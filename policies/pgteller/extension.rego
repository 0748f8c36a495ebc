# The door to the admin's own rules in `pgteller.local`.
#
# Takes: `deny` (for `call`) and `deny_access` (for `access`) of package `pgteller.local`; either may be missing.
# Gives: `call_violations` and `access_violations`, every one with a code and a message.
# Never: loses a denial. One that is malformed still denies, as `policy-denied`.
package pgteller.extension

import data.pgteller.local as own

unreadable := {
	"code": "policy-denied",
	"message": "a rule of this installation denies this: ask the operator",
}

call_violations contains violation(denial) if some denial in own.deny

call_violations contains unreadable if type_name(own.deny) != "set"

access_violations contains violation(denial) if some denial in own.deny_access

access_violations contains unreadable if type_name(own.deny_access) != "set"

violation(denial) := {"code": denial.code, "message": denial.message} if {
	is_string(denial.code)
	is_string(denial.message)
} else := unreadable
