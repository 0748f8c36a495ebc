# How columns leave the database.
package pgteller_masks_test

import data.pgteller
import data.pgteller.masks
import data.pgteller_fixtures as given

# The treatment of one column with these labels; absent if it is hidden.
treatment(labels, policy) := answer.relations["sales.x"].columns.column if {
	answer := pgteller.access with data.policy as policy
		with input as given.ask_about({"sales.x": given.table({"anchor": ["public"], "column": labels})})
}

hidden(labels, policy) if {
	answer := pgteller.access with data.policy as policy
		with input as given.ask_about({"sales.x": given.table({"anchor": ["public"], "column": labels})})
	answer.relations["sales.x"].columns == {"anchor": "clear"}
}

test_each_mask if {
	treatment(["public"], given.policy) == "clear"
	treatment(["pii.email"], given.policy) == {"mask": "email"}
	treatment(["pii.phone"], given.policy) == {"mask": "partial", "keep_last": 3}
	treatment(["pii.person"], given.policy) == {"mask": "hash"}
	treatment(["money"], given.policy) == {"mask": "redact"}
	treatment(["noise"], given.policy) == {"mask": "null"}
	hidden(["secret"], given.policy)
}

test_an_unknown_label_hides if {
	hidden(["pii.emial"], given.policy)
	hidden(["public", "pii.emial"], given.policy)
}

test_unlabelled_is_hidden_unless_the_policy_says_clear if {
	treatment([], given.policy) == "clear"
	hidden([], given.policy_with({"unlabelled": "hide"}))
	hidden([], json.remove(given.policy, ["unlabelled"]))
	hidden([], given.policy_with({"unlabelled": "show"}))
	hidden([], given.policy_with({"unlabelled": true}))
}

test_a_cleared_label_is_clear_and_no_other if {
	policy := given.grant_with({"clear": ["pii.email", "never-heard-of"]})
	treatment(["pii.email"], policy) == "clear"
	treatment(["never-heard-of"], policy) == "clear"
	treatment(["money"], policy) == {"mask": "redact"}
	treatment(["pii.email", "money"], policy) == {"mask": "redact"}
	hidden(["pii.email", "secret"], policy)
}

test_clear_does_not_uncover_what_nobody_labelled if {
	hidden([], object.union(given.grant_with({"clear": ["pii.email"]}), {"unlabelled": "hide"}))
}

test_the_strictest_label_wins if {
	treatment(["public", "pii.email"], given.policy) == {"mask": "email"}
	treatment(["pii.email", "pii.phone"], given.policy) == {"mask": "partial", "keep_last": 3}
	treatment(["pci.card", "pii.phone"], given.policy) == {"mask": "partial", "keep_last": 3}
	treatment(["pii.phone", "pii.person"], given.policy) == {"mask": "hash"}
	treatment(["pii.person", "money"], given.policy) == {"mask": "redact"}
	treatment(["money", "noise"], given.policy) == {"mask": "null"}
	hidden(["noise", "secret"], given.policy)
	treatment(["noise", "money", "pii.person", "pci.card", "pii.email", "public"], given.policy) == {"mask": "null"}
}

coarse := given.policy_with({"masks": {
	"public": {"mask": "clear"},
	"mail": {"mask": "email"},
	"tail": {"mask": "partial", "keep_last": 3},
	"code": {"mask": "hash"},
	"user": {"mask": "pseudonym", "domain": "user"},
	"customer": {"mask": "pseudonym", "domain": "customer"},
	"month": {"mask": "truncate", "to": "month"},
	"week": {"mask": "truncate", "to": "week"},
	"tens": {"mask": "bucket", "width": 10},
	"hundreds": {"mask": "bucket", "width": 100},
	"gone": {"mask": "null"},
}})

test_pseudonyms_buckets_and_periods if {
	treatment(["user"], coarse) == {"mask": "pseudonym", "domain": "user"}
	treatment(["month"], coarse) == {"mask": "truncate", "to": "month"}
	treatment(["tens"], coarse) == {"mask": "bucket", "width": 10}
	treatment(["public", "user"], coarse) == {"mask": "pseudonym", "domain": "user"}
	treatment(["public", "month"], coarse) == {"mask": "truncate", "to": "month"}
	treatment(["public", "tens"], coarse) == {"mask": "bucket", "width": 10}
}

test_of_one_kind_the_coarser_wins if {
	treatment(["week", "month"], coarse) == {"mask": "truncate", "to": "month"}
	treatment(["tens", "hundreds"], coarse) == {"mask": "bucket", "width": 100}
}

test_codes_of_two_keys_agree_with_neither if {
	treatment(["user", "customer"], coarse) == {"mask": "hash"}
	treatment(["user", "code"], coarse) == {"mask": "hash"}
	treatment(["user", "tail"], coarse) == {"mask": "pseudonym", "domain": "user"}
	treatment(["user", "mail"], coarse) == {"mask": "pseudonym", "domain": "user"}
}

test_buckets_and_periods_beside_other_masks_redact if {
	every other in ["mail", "tail", "code", "user", "month"] { treatment(["tens", other], coarse) == {"mask": "redact"} }
	every other in ["mail", "tail", "code", "user", "tens"] { treatment(["month", other], coarse) == {"mask": "redact"} }
	treatment(["tens", "gone"], coarse) == {"mask": "null"}
	hidden(["tens", "nobody knows"], coarse)
}

test_a_mask_that_we_do_not_know_hides if {
	every mask in [
		{"mask": "shuffle"},
		{"mask": null},
		{"mask": true},
		{"mask": "Email"},
		{"mask": "email", "keep": 3},
		{"mask": "clear", "keep_last": 3},
		{"mask": "partial"},
		{"mask": "partial", "keep_last": "3"},
		{"mask": "partial", "keep_last": -1},
		{"mask": "partial", "keep_last": 1.5},
		{"mask": "partial", "keep_last": null},
		{"mask": "partial", "keep_last": 3, "keep_first": 1},
		{"keep_last": 3},
		{},
		{"mask": "pseudonym"},
		{"mask": "pseudonym", "domain": 5},
		{"mask": "pseudonym", "domain": "user", "keep_last": 3},
		{"mask": "hash", "domain": "user"},
		{"mask": "truncate"},
		{"mask": "truncate", "to": "decade"},
		{"mask": "truncate", "to": 0},
		{"mask": "truncate", "to": "year", "width": 10},
		{"mask": "bucket"},
		{"mask": "bucket", "width": "10"},
		{"mask": "bucket", "width": 0.5},
		{"mask": "bucket", "width": -10},
		{"mask": "bucket", "to": "year"},
		"email",
		"clear",
		null,
		["email"],
	] {
		hidden(["odd"], given.policy_with({"masks": {"odd": mask}}))
		hidden(["public", "odd"], given.policy_with({"masks": {"odd": mask}}))
	}
}

test_partial_may_keep_nothing if {
	policy := given.policy_with({"masks": {"odd": {"mask": "partial", "keep_last": 0}}})
	treatment(["odd", "pii.phone"], policy) == {"mask": "partial", "keep_last": 0}
}

test_without_masks_every_label_hides if {
	every policy in [json.remove(given.policy, ["masks"]), given.policy_with({"masks": ["email"]})] {
		answer := pgteller.access with input as given.ask with data.policy as policy
		answer.relations["sales.customers"].columns == {"id": "clear", "region": "clear"}
	}
}

test_labels_that_are_not_names_hide if {
	every labels in [null, "public", {"public": true}, {"x": "public"}, [5], [["public"]], [null], true] {
		hidden(labels, given.policy)
	}
}

test_a_treatment_that_we_do_not_know_hides if {
	masks.strictest({"clear", {"mask": "shuffle"}}) == "hide"
	masks.strictest(set()) == "hide"
}
