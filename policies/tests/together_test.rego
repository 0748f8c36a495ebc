# Several grants that match at once, and what comes with them: limits, tools, approvals, functions.
package pgteller_together_test

import data.pgteller
import data.pgteller_fixtures as given

asked(policy) := answer if answer := pgteller.access with input as given.ask with data.policy as policy

test_relations_of_all_grants_add_up if {
	answer := asked(given.beside({"read": {"allow": ["hr.salaries"]}}))
	object.keys(answer.relations) == {"sales.customers", "sales.orders", "hr.salaries"}
	answer.carry.grants == ["billing", "support"]
}

test_a_grant_denies_for_itself_only if {
	answer := asked(given.beside({"read": {"allow": ["sales.payouts"], "deny": ["sales.orders"]}}))
	object.keys(answer.relations) == {"sales.customers", "sales.orders", "sales.payouts"}
	alone := asked(given.policy)
	not alone.relations["sales.payouts"]
}

test_a_grant_that_does_not_match_adds_nothing if {
	answer := asked(given.beside({"agents": ["billing-bot"], "read": {"allow": ["hr.*"]}, "limits": {"rows": 1}}))
	object.keys(answer.relations) == {"sales.customers", "sales.orders"}
	answer.carry.grants == ["support"]
	answer.carry.limits.rows == 1000
}

test_columns_are_the_strictest_over_the_grants_that_open_the_relation if {
	one_clears := given.beside({"clear": ["pii.email"]})
	asked(one_clears).relations["sales.customers"].columns.email == {"mask": "email"}
	both_clear := object.union(one_clears, {"grants": {"support": {"clear": ["pii.email"]}}})
	asked(both_clear).relations["sales.customers"].columns.email == "clear"
	only_it_opens := object.union(one_clears, {"grants": {"support": {"read": {"allow": ["sales.orders"]}}}})
	asked(only_it_opens).relations["sales.customers"].columns.email == "clear"
}

eu := {"sales.customers": {"region": {"equals": "eu"}}}

us := {"sales.customers": {"region": {"equals": "us"}}}

test_one_filter_of_several_is_enough if {
	policy := object.union(given.beside({"rows": us}), {"grants": {"support": {"rows": eu}}})
	asked(policy).relations["sales.customers"].rows == {"any": [
		{"all": [{"column": "region", "op": "=", "value": "eu"}]},
		{"all": [{"column": "region", "op": "=", "value": "us"}]},
	]}
}

test_equal_filters_are_one if {
	policy := object.union(given.beside({"rows": eu}), {"grants": {"support": {"rows": eu}}})
	asked(policy).relations["sales.customers"].rows == {"all": [{"column": "region", "op": "=", "value": "eu"}]}
}

test_a_grant_without_filter_opens_every_row if {
	policy := object.union(given.beside({}), {"grants": {"support": {"rows": eu}}})
	not asked(policy).relations["sales.customers"].rows
}

test_a_grant_that_does_not_open_the_relation_does_not_unfilter_it if {
	policy := object.union(
		given.beside({"read": {"allow": ["sales.*"], "deny": ["sales.customers"]}}),
		{"grants": {"support": {"rows": eu}}},
	)
	asked(policy).relations["sales.customers"].rows == {"all": [{"column": "region", "op": "=", "value": "eu"}]}
}

test_a_broken_filter_of_one_grant_drops_the_relation_for_all if {
	policy := given.beside({"rows": {"sales.customers": {"region": {"equals": null}}}})
	object.keys(asked(policy).relations) == {"sales.orders"}
}

test_params_of_filters_that_no_longer_count_are_not_given if {
	policy := given.beside({"rows": {"sales.orders": {"tenant_id": {"param": "tenant"}}}})
	answer := asked(policy)
	not answer.relations["sales.orders"].rows
	answer.params == {}
}

test_limits_have_defaults if {
	answer := asked(given.policy)
	answer.ttl_seconds == 3600
	answer.carry.limits == {
		"rows": 1000,
		"bytes": 1048576,
		"cell_bytes": 262144,
		"seconds": 30,
		"task_minutes": 60,
		"export_rows": 100000,
		"export_bytes": 104857600,
		"export_seconds": 120,
	}
}

test_limits_of_a_grant_replace_the_defaults if {
	answer := asked(given.grant_with({"limits": {"rows": 5000, "task_minutes": 15}}))
	answer.ttl_seconds == 900
	answer.carry.limits.rows == 5000
	answer.carry.limits.task_minutes == 15
	answer.carry.limits.seconds == 30
}

test_the_smallest_limit_wins if {
	policy := object.union(
		given.beside({"limits": {"rows": 50, "seconds": 60, "task_minutes": 90}}),
		{"grants": {"support": {"limits": {"rows": 500, "seconds": 5}}}},
	)
	answer := asked(policy)
	answer.carry.limits.rows == 50
	answer.carry.limits.seconds == 5
	answer.ttl_seconds == 3600
}

test_tools_are_all_by_default_and_then_those_that_every_grant_has if {
	asked(given.policy).carry.tools == ["describe", "export", "query"]
	asked(given.grant_with({"tools": ["query", "describe"]})).carry.tools == ["describe", "query"]
	policy := object.union(
		given.beside({"tools": ["query", "export"]}),
		{"grants": {"support": {"tools": ["query", "describe"]}}},
	)
	asked(policy).carry.tools == ["query"]
}

test_tools_that_we_do_not_know_are_not_given if {
	asked(given.grant_with({"tools": ["query", "drop_table"]})).carry.tools == ["query"]
	asked(given.grant_with({"tools": []})).carry.tools == []
}

above(rows) := {"approval": {"export": {"above_max_rows": rows}}}

always := {"approval": {"export": "always"}}

test_the_strictest_approval_wins if {
	asked(given.policy).carry.approval == {}
	asked(given.grant_with(above(10))).carry.approval == {"export": {"above_max_rows": 10}}
	asked(given.beside(above(10))).carry.approval == {"export": {"above_max_rows": 10}}
	both := object.union(given.beside(above(10)), {"grants": {"support": above(20)}})
	asked(both).carry.approval == {"export": {"above_max_rows": 10}}
	all := object.union(given.beside(always), {"grants": {"support": above(0)}})
	asked(all).carry.approval == {"export": "always"}
}

test_functions_are_copied_and_only_lists_of_names if {
	functions := {"allow": ["public.similarity"], "extensions": ["pg_trgm"]}
	asked(given.policy_with({"functions": functions})).functions == functions
	asked(given.policy).functions == {"allow": [], "extensions": []}
	asked(given.policy_with({"functions": {"allow": "all", "extensions": [5]}})).functions == {
		"allow": [],
		"extensions": [],
	}
	asked(given.policy_with({"functions": null})).functions == {"allow": [], "extensions": []}
}

test_the_reference_policy_gives_the_reference_answer if {
	answer := pgteller.access with data.policy as {
		"version": 1,
		"masks": {"pii.email": {"mask": "email"}, "pci.card": {"mask": "partial", "keep_last": 4}},
		"unlabelled": "clear",
		"params": {"tenant": {"claim": "tenant_id"}},
		"functions": {"allow": ["public.similarity"], "extensions": ["pg_trgm"]},
		"grants": {"support": {
			"agents": ["support-bot", "spiffe://example.org/support/*"],
			"subjects": ["*"],
			"groups": ["support"],
			"issuers": [],
			"scopes": [],
			"purposes": ["ticket", "ticket:*"],
			"databases": ["shop"],
			"environments": ["production"],
			"ambient": false,
			"opens": false,
			"tools": ["query", "describe", "export"],
			"read": {"allow": ["sales.*"], "deny": ["sales.payouts"]},
			"rows": {"sales.customers": {"region": {"equals": "eu"}, "tenant_id": {"param": "tenant"}}},
			"limits": {"task_minutes": 15, "task_rows": 5000},
			"approval": {"export": {"above_max_rows": 1000}},
		}},
	}
		with input as given.ask_about({"sales.customers": given.table({
			"id": [],
			"email": ["pii.email"],
			"card": ["pci.card"],
			"region": ["unheard-of"],
			"tenant_id": ["unheard-of"],
		})})
	answer == {
		"allow": true,
		"ttl_seconds": 900,
		"violations": [],
		"relations": {"sales.customers": {
			"columns": {"id": "clear", "email": {"mask": "email"}, "card": {"mask": "partial", "keep_last": 4}},
			"rows": {"all": [
				{"column": "region", "op": "=", "value": "eu"},
				{"column": "tenant_id", "op": "=", "param": "tenant"},
			]},
		}},
		"params": {"tenant": 3},
		"functions": {"allow": ["public.similarity"], "extensions": ["pg_trgm"]},
		"budget": {"rows": 5000},
		"carry": {
			"grants": ["support"],
			"tools": ["describe", "export", "query"],
			"limits": {
				"rows": 1000,
				"bytes": 1048576,
				"cell_bytes": 262144,
				"seconds": 30,
				"task_minutes": 15,
				"export_rows": 100000,
				"export_bytes": 104857600,
				"export_seconds": 120,
			},
			"approval": {"export": {"above_max_rows": 1000}},
		},
	}
}
