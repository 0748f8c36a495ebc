# The question `call`: may this call run now?
#
# Takes: principal, task (with the `carry` that `access` returned), tool, statement and clock (`input`).
# Gives: `call`, always an object: allow, deny or needs-approval, the violations, and the limits to keep.
# Never: matches a pattern, sees the snapshot, or looks at the admin's YAML: everything is a look-up in `carry`.
#
# Read on in: checks.rego (what denies), obligations.rego (the limits of a call), local.rego (your own rules).
package pgteller

import data.pgteller.checks
import data.pgteller.obligations

# What remains if nothing below can be worked out.
default call := {
	"decision": "deny",
	"violations": [{"code": "policy-denied", "message": "the call could not be decided: ask the operator to check the policy"}],
	"obligations": {},
	"approvers": [],
}

# METADATA
# scope: document
# schemas:
#   - input: schema.call_input
call := {
	"decision": "deny",
	"violations": sort(checks.violations),
	"obligations": {},
	"approvers": [],
} if {
	count(checks.violations) > 0
} else := {
	"decision": "needs-approval",
	"violations": [],
	"obligations": obligations.of_this_call,
	"approvers": [],
} if {
	count(checks.violations) == 0
	checks.needs_approval
} else := {
	"decision": "allow",
	"violations": [],
	"obligations": obligations.of_this_call,
	"approvers": [],
} if {
	count(checks.violations) == 0
}
