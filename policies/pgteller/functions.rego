# Functions that the admin allows beside the built-in ones.
#
# Takes: `data.policy.functions`.
# Gives: `allow` and `extensions`, as written.
# Never: passes on a list that is not a list of names.
package pgteller.functions

import data.pgteller.wellformed

default allow := []

allow := data.policy.functions.allow if wellformed.is_list_of_names(data.policy.functions.allow)

default extensions := []

extensions := data.policy.functions.extensions if wellformed.is_list_of_names(data.policy.functions.extensions)
