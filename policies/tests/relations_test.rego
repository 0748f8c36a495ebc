# Which relations a grant opens, derived ones among them.
package pgteller_relations_test

import data.pgteller
import data.pgteller_fixtures as given

visible(answer) := object.keys(answer.relations)

test_allowed_relations_and_no_others if {
	answer := pgteller.access with input as given.ask with data.policy as given.policy
	visible(answer) == {"sales.customers", "sales.orders"}
}

test_deny_wins_over_allow if {
	answer := pgteller.access with input as given.ask
		with data.policy as given.grant_with({"read": {
			"allow": ["sales.*", "sales.orders"],
			"deny": ["sales.orders", "sales.pay*"],
		}})
	visible(answer) == {"sales.customers"}
}

test_a_denied_name_is_taken_letter_by_letter if {
	answer := pgteller.access with data.policy as given.grant_with({"read": {"deny": ["sales.pay$outs"]}})
		with input as given.ask_about({
			"sales.pay$outs": given.table({"id": []}),
			"sales.payouts": given.table({"id": []}),
		})
	visible(answer) == {"sales.payouts"}
}

test_a_line_break_does_not_slip_past_a_denial if {
	given.refused(pgteller.access, "no-relation") with input as given.ask_about({"sales.a\nb": given.table({"id": []})})
		with data.policy as given.grant_with({"read": {"deny": ["{sales,hr}.b"]}})
}

test_allow_of_nothing_opens_nothing if {
	given.refused(pgteller.access, "no-relation") with input as given.ask
		with data.policy as given.grant_with({"read": {"allow": []}})
}

test_a_pattern_does_not_cross_schemas if {
	given.refused(pgteller.access, "no-relation") with input as given.ask
		with data.policy as given.grant_with({"read": {"allow": ["*"]}})
	answer := pgteller.access with input as given.ask
		with data.policy as given.grant_with({"read": {"allow": ["*.*"]}})
	visible(answer) == {"sales.customers", "sales.orders", "hr.salaries"}
}

test_every_kind_we_know_and_no_other if {
	kinds := ["table", "view", "materialized-view", "partitioned-table", "partition", "foreign-table"]
	every kind in kinds {
		pgteller.access.allow with data.policy as given.policy
			with input as given.ask_about({"sales.x": given.relation(kind, {"id": []}, [])})
	}
	given.refused(pgteller.access, "no-relation") with data.policy as given.policy
		with input as given.ask_about({"sales.x": given.relation("sequence", {"id": []}, [])})
}

test_a_relation_without_visible_columns_does_not_exist if {
	given.refused(pgteller.access, "no-relation") with data.policy as given.policy
		with input as given.ask_about({"sales.keys": given.table({"key": ["secret"]})})
	given.refused(pgteller.access, "no-relation") with data.policy as given.policy
		with input as given.ask_about({"sales.nothing": given.table({})})
}

# The customers carry a label; the orders do not.
shop(derived) := object.union(given.ask.snapshot.relations, derived)

report_of(source, labels) := shop({"sales.report": given.relation("view", labels, [source])})

test_a_view_of_open_relations_is_like_any_other if {
	answer := pgteller.access with data.policy as given.policy
		with input as given.ask_about(report_of("sales.orders", {"total": []}))
	answer.relations["sales.report"].columns == {"total": "clear"}
}

test_a_view_of_labelled_relations_needs_its_exact_name if {
	ask := given.ask_about(report_of("sales.customers", {"contact": ["pii.email"]}))
	by_pattern := pgteller.access with input as ask with data.policy as given.policy
	not by_pattern.relations["sales.report"]
	by_name := pgteller.access with input as ask
		with data.policy as given.grant_with({"read": {"allow": ["sales.*", "sales.report"]}})
	by_name.relations["sales.report"].columns == {"contact": {"mask": "email"}}
}

test_even_a_harmless_label_guards_what_is_derived if {
	answer := pgteller.access with data.policy as given.policy with input as given.ask_about({
		"sales.open": given.table({"id": ["public"]}),
		"sales.report": given.relation("view", {"total": []}, ["sales.open"]),
	})
	visible(answer) == {"sales.open"}
}

test_a_guarded_relation_hides_what_nobody_labelled if {
	answer := pgteller.access with data.policy as given.grant_with({"read": {"allow": ["sales.report"]}})
		with input as given.ask_about(report_of("sales.customers", {"contact": [], "city": ["public"]}))
	answer.relations["sales.report"].columns == {"city": "clear"}
}

test_deny_wins_over_an_exact_name if {
	given.refused(pgteller.access, "no-relation")
		with data.policy as given.grant_with({"read": {"allow": ["sales.report"], "deny": ["*.report"]}})
		with input as given.ask_about(report_of("sales.customers", {"city": ["public"]}))
}

test_a_view_of_filtered_relations_needs_a_filter_of_its_own if {
	ask := given.ask_about(report_of("sales.orders", {"tenant_id": ["public"]}))
	only := {"read": {"allow": ["sales.orders", "sales.report"]}}
	filter := {"tenant_id": {"param": "tenant"}}
	without := pgteller.access with input as ask
		with data.policy as given.grant_with(object.union(only, {"rows": {"sales.orders": filter}}))
	visible(without) == {"sales.orders"}
	beside := pgteller.access with input as ask
		with data.policy as given.grant_with(object.union(only, {"rows": {
			"sales.orders": filter,
			"sales.report": filter,
		}}))
	visible(beside) == {"sales.orders", "sales.report"}
	beside.relations["sales.report"].rows == {"all": [{"column": "tenant_id", "op": "=", "param": "tenant"}]}
}

test_a_filter_of_another_grant_guards_too if {
	ask := given.ask_about(report_of("sales.orders", {"total": ["public"]}))
	policy := given.beside({
		"read": {"allow": ["sales.orders"]},
		"rows": {"sales.orders": {"tenant_id": {"param": "tenant"}}},
	})
	by_pattern := pgteller.access with input as ask with data.policy as policy
	not by_pattern.relations["sales.report"]

	# The grant that names it does not filter the orders: no filter is asked of it.
	named := object.union(policy, {"grants": {"support": {"read": {"allow": ["sales.*", "sales.report"]}}}})
	by_name := pgteller.access with input as ask with data.policy as named
	by_name.relations["sales.report"] == {"columns": {"total": "clear"}}
}

test_an_unknown_source_counts_as_labelled_and_filtered if {
	ask := given.ask_about({"sales.report": given.relation("view", {"region": ["public"]}, ["sales.gone"])})
	given.refused(pgteller.access, "no-relation") with input as ask with data.policy as given.policy
	given.refused(pgteller.access, "no-relation") with input as ask
		with data.policy as given.grant_with({"read": {"allow": ["sales.report"]}})
	pgteller.access.allow with input as ask
		with data.policy as given.grant_with({
			"read": {"allow": ["sales.report"]},
			"rows": {"sales.report": {"region": {"equals": "eu"}}},
		})
}

test_a_partition_of_a_labelled_parent_is_guarded if {
	answer := pgteller.access with data.policy as given.policy
		with input as given.ask_about(shop({"sales.customers_eu": given.relation(
			"partition",
			{"id": [], "email": ["pii.email"]},
			["sales.customers"],
		)}))
	visible(answer) == {"sales.customers", "sales.orders"}
}

test_one_closed_source_among_open_ones_guards if {
	answer := pgteller.access with data.policy as given.policy
		with input as given.ask_about(shop({"sales.report": given.relation(
			"materialized-view",
			{"total": []},
			["sales.orders", "hr.salaries"],
		)}))
	visible(answer) == {"sales.customers", "sales.orders"}
}

test_a_name_that_reads_like_a_pattern_is_not_exact if {
	ask := given.ask_about({
		"hr.salaries": given.table({"amount": ["money"]}),
		"sales.*": given.relation("view", {"a": ["public"]}, ["hr.salaries"]),
	})
	given.refused(pgteller.access, "no-relation") with data.policy as given.policy with input as ask
}

test_malformed_relations_are_hidden if {
	table := given.table({"id": []})
	every relation in [
		json.remove(table, ["derived_from"]),
		object.union(table, {"derived_from": "sales.x"}),
		object.union(table, {"derived_from": {"x": "sales.x"}}),
		object.union(table, {"columns": [{"type": "text", "labels": []}]}),
		object.union(table, {"derived_from": null}),
		object.union(table, {"columns": null}),
		object.union(table, {"columns": {"id": {"type": "text", "labels": "none"}}}),
		object.union(table, {"columns": {"id": {"type": "text", "labels": null}}}),
		object.union(table, {"columns": {"id": null}}),
		json.remove(table, ["columns"]),
		null,
		"table",
	] {
		given.refused(pgteller.access, "no-relation") with data.policy as given.policy
			with input as given.ask_about({"sales.x": relation})
	}
}

test_what_derives_from_a_malformed_relation_is_guarded if {
	given.refused(pgteller.access, "no-relation") with data.policy as given.policy with input as given.ask_about({
		"sales.odd": {"kind": "table", "columns": {"id": {"type": "text"}}, "key": [], "derived_from": []},
		"sales.report": given.relation("view", {"total": []}, ["sales.odd"]),
	})
	given.refused(pgteller.access, "no-relation") with data.policy as given.policy with input as given.ask_about({
		"sales.odd": {"kind": "table", "columns": null, "key": [], "derived_from": []},
		"sales.report": given.relation("view", {"total": []}, ["sales.odd"]),
	})
}

test_no_snapshot_no_relation if {
	given.refused(pgteller.access, "no-relation") with input as given.ask_about({}) with data.policy as given.policy
	given.refused(pgteller.access, "no-relation") with input as json.remove(given.ask, ["snapshot"])
		with data.policy as given.policy
}
