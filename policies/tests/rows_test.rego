# Row filters and the params of a task.
package pgteller_rows_test

import data.pgteller
import data.pgteller_fixtures as given

orders := "sales.orders"

answer_for(filter) := answer if {
	answer := pgteller.access with input as given.ask with data.policy as given.grant_with({"rows": {orders: filter}})
}

rows_for(filter) := answer_for(filter).relations[orders].rows

dropped(filter) if {
	answer := answer_for(filter)
	answer.allow
	object.keys(answer.relations) == {"sales.customers"}
	answer.params == {}
}

test_no_entry_no_filter if {
	answer := pgteller.access with input as given.ask with data.policy as given.policy
	answer.relations[orders] == {"columns": {"id": "clear", "tenant_id": "clear", "amount": "clear"}}
}

test_each_operator if {
	leaf := {"column": "amount", "value": 5}
	rows_for({"amount": {"equals": 5}}) == {"all": [object.union(leaf, {"op": "="})]}
	rows_for({"amount": {"not_equals": 5}}) == {"all": [object.union(leaf, {"op": "<>"})]}
	rows_for({"amount": {"less": 5}}) == {"all": [object.union(leaf, {"op": "<"})]}
	rows_for({"amount": {"less_or_equal": 5}}) == {"all": [object.union(leaf, {"op": "<="})]}
	rows_for({"amount": {"greater": 5}}) == {"all": [object.union(leaf, {"op": ">"})]}
	rows_for({"amount": {"greater_or_equal": 5}}) == {"all": [object.union(leaf, {"op": ">="})]}
	rows_for({"amount": {"in": [1, "b", false]}}) == {"all": [{"column": "amount", "op": "in", "values": [1, "b", false]}]}
	rows_for({"amount": {"is_null": true}}) == {"all": [{"column": "amount", "op": "is-null"}]}
	rows_for({"amount": {"is_null": false}}) == {"all": [{"column": "amount", "op": "is-not-null"}]}
	rows_for({"amount": {"param": "tenant"}}) == {"all": [{"column": "amount", "op": "=", "param": "tenant"}]}
}

test_false_and_empty_text_are_values if {
	rows_for({"amount": {"equals": false}}) == {"all": [{"column": "amount", "op": "=", "value": false}]}
	rows_for({"amount": {"equals": ""}}) == {"all": [{"column": "amount", "op": "=", "value": ""}]}
}

test_all_columns_must_hold_in_a_stable_order if {
	rows_for({"tenant_id": {"param": "tenant"}, "amount": {"less": 9, "greater": 1}}) == {"all": [
		{"column": "amount", "op": ">", "value": 1},
		{"column": "amount", "op": "<", "value": 9},
		{"column": "tenant_id", "op": "=", "param": "tenant"},
	]}
}

test_a_filter_that_is_not_understood_drops_the_relation if {
	every filter in [
		{},
		[],
		null,
		false,
		"eu",
		{"amount": {}},
		{"amount": []},
		{"amount": 5},
		{"amount": null},
		{"amount": {"equals": null}},
		{"amount": {"equals": [5]}},
		{"amount": {"equals": {"param": "tenant"}}},
		{"amount": {"in": []}},
		{"amount": {"in": "eu"}},
		{"amount": {"in": {"x": 1}}},
		{"amount": {"in": [1, null]}},
		{"amount": {"in": [[1]]}},
		{"amount": {"is_null": "yes"}},
		{"amount": {"is_null": null}},
		{"amount": {"like": "5%"}},
		{"amount": {"param": 5}},
		{"amount": {"equals": 5, "smaller": 7}},
	] {
		dropped(filter)
	}
}

test_a_filter_on_a_column_that_is_not_there_drops_the_relation if {
	dropped({"tenant": {"equals": 3}})
	dropped({"amount": {"equals": 3}, "tenant": {"equals": 3}})
}

test_a_filter_on_a_hidden_column_holds if {
	answer := pgteller.access with data.policy as given.grant_with({"rows": {"sales.x": {"key": {"equals": 1}}}})
		with input as given.ask_about({"sales.x": given.table({"id": [], "key": ["secret"]})})
	answer.relations["sales.x"] == {
		"columns": {"id": "clear"},
		"rows": {"all": [{"column": "key", "op": "=", "value": 1}]},
	}
}

test_params_are_given_if_they_are_used if {
	answer_for({"tenant_id": {"param": "tenant"}}).params == {"tenant": 3}
	answer_for({"tenant_id": {"equals": 3}}).params == {}
}

test_params_of_relations_that_are_not_visible_are_not_given if {
	hidden := pgteller.access
		with input as given.ask_about(object.union(
			given.ask.snapshot.relations,
			{"sales.keys": given.table({"key": ["secret"]})},
		))
		with data.policy as given.grant_with({"rows": {"sales.keys": {"key": {"param": "tenant"}}}})
	hidden.allow
	hidden.params == {}
	answer := pgteller.access with input as given.ask
		with data.policy as given.grant_with({"rows": {"sales.payouts": {"id": {"param": "tenant"}}}})
	answer.params == {}
}

claim(name) := object.union(
	given.grant_with({"rows": {orders: {"tenant_id": {"param": "mine"}}}}),
	{"params": {"mine": {"claim": name}}},
)

test_a_claim_may_be_text_number_or_truth_value if {
	every name, value in {"tenant_id": 3, "region": "eu", "vip": false} {
		answer := pgteller.access with input as given.ask with data.policy as claim(name)
		answer.params == {"mine": value}
		answer.relations[orders].rows == {"all": [{"column": "tenant_id", "op": "=", "param": "mine"}]}
	}
}

test_a_claim_that_is_missing_or_no_plain_value_drops_the_relation if {
	every name in ["unheard-of", "teams", "nobody", 5, null, ["region"]] {
		answer := pgteller.access with input as given.ask with data.policy as claim(name)
		object.keys(answer.relations) == {"sales.customers"}
		answer.params == {}
	}
}

test_a_param_that_the_policy_does_not_declare_drops_the_relation if {
	dropped({"tenant_id": {"param": "unheard-of"}})
	every params in [{}, null, ["tenant"], {"tenant": "tenant_id"}, {"tenant": {"from": "tenant_id"}}] {
		answer := pgteller.access with input as given.ask
			with data.policy as json.patch(
				given.grant_with({"rows": {orders: {"tenant_id": {"param": "tenant"}}}}),
				[{"op": "replace", "path": "/params", "value": params}],
			)
		object.keys(answer.relations) == {"sales.customers"}
	}
}

test_without_claims_no_param if {
	answer := pgteller.access with input as json.remove(given.ask, ["principal/claims"])
		with data.policy as given.grant_with({"rows": {orders: {"tenant_id": {"param": "tenant"}}}})
	object.keys(answer.relations) == {"sales.customers"}
}
