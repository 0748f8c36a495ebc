# Functions that the admin allows beside the built-in ones, or refuses beside the built-in classes.
#
# Takes: `data.policy.functions`.
# Gives: `granted`: `allow`, `extensions` and, if there is any, `deny`, as written.
# Never: passes on a list that is not a list of names. (A malformed `deny` closes the policy: wellformed.rego.)
package pgteller.functions

import data.pgteller.wellformed

default allow := []

allow := data.policy.functions.allow if wellformed.is_list_of_names(data.policy.functions.allow)

default extensions := []

extensions := data.policy.functions.extensions if wellformed.is_list_of_names(data.policy.functions.extensions)

default deny := []

deny := data.policy.functions.deny if wellformed.is_list_of_names(data.policy.functions.deny)

granted := {"allow": allow, "extensions": extensions} if {
	count(deny) == 0
} else := {"allow": allow, "extensions": extensions, "deny": deny}
