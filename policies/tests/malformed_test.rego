# Policies that are not what they should be: never more rights than were meant.
package pgteller_malformed_test

import data.pgteller
import data.pgteller_fixtures as given

closed(policy) if {
	given.refused(pgteller.access, "no-grant") with input as given.ask with data.policy as policy
	answer := pgteller.access with input as given.ask with data.policy as policy
	startswith(answer.violations[0].message, "the policy is invalid")
}

# The grant with one key replaced as a whole.
replaced(key, value) := json.patch(
	given.policy,
	[{"op": "add", "path": concat("/", ["/grants/support", key]), "value": value}],
)

test_the_policy_as_it_stands_is_open if {
	pgteller.access.allow with input as given.ask with data.policy as given.policy
}

test_no_policy_no_access if {
	given.refused(pgteller.access, "no-grant") with input as given.ask
	every policy in [null, [], "policy", 5, true, {}] { closed(policy) }
}

test_a_policy_without_grants_is_not_malformed if {
	answer := pgteller.access with input as given.ask with data.policy as {"version": 1, "grants": {}}
	startswith(answer.violations[0].message, "nothing is granted")
}

test_versions_that_we_do_not_know_are_closed if {
	pgteller.access.allow with input as given.ask with data.policy as json.remove(given.policy, ["version"])
	every version in [0, 2, "1", null] { closed(given.policy_with({"version": version})) }
}

test_grants_must_be_an_object_of_grants if {
	every grants in [null, [], [given.grant], "support", {"support": null}, {"support": [given.grant]}] {
		closed(json.patch(given.policy, [{"op": "replace", "path": "/grants", "value": grants}]))
	}
}

test_a_malformed_key_closes if {
	every key, values in {
		"agents": [null, "support-bot", {"support-bot": true}, {"x": "support-bot"}, [["support-bot"]], [5], ["support-bot", "{a"], false],
		"subjects": [null, "maria", ["maria", null]],
		"groups": [null, "support", ["support", 5]],
		"issuers": [null, "https://id.example.org", {}],
		"scopes": [null, "db.read", [["db.read"]]],
		"purposes": [null, "ticket", [true]],
		"databases": [null, "shop", {"shop": {}}],
		"environments": [null, "production", [1]],
		"ambient": [null, "false", 0],
		"opens": [null, "true", 1],
		"tools": [null, "query", [null]],
		"rows": [null, [], "all", ["sales.orders"]],
		"clear": [null, "pii.email", {"pii.email": true}, {"x": "pii.email"}],
		"read": [
			null,
			["sales.*"],
			"sales.*",
			{},
			{"allow": "sales.*"},
			{"deny": []},
			{"allow": ["sales.*", 5]},
			{"allow": ["sales.*"], "deny": "sales.payouts"},
			{"allow": ["sales.*"], "deny": null},
			{"allow": ["sales.*"], "denied": ["sales.payouts"]},
			{"allow": ["sales.*"], "deny": ["sales.{payouts"]},
			{"allow": ["sales.*"], "deny": ["*.pay$outs"]},
		],
		"limits": [
			null,
			[],
			1000,
			{"rows": "1000"},
			{"rows": null},
			{"rows": -1},
			{"rows": 10.5},
			{"rows": [5]},
			{"row": 10},
			{"rows": 10, "minutes": 5},
		],
		"approval": [
			null,
			"always",
			[],
			{"export": null},
			{"export": true},
			{"export": "Always"},
			{"export": "never"},
			{"export": {}},
			{"export": {"above_max_rows": "1000"}},
			{"export": {"above_max_rows": -1}},
			{"export": {"above": 1000}},
			{"export": {"above_max_rows": 1000, "by": "anybody"}},
			{"exports": "always"},
			{"export": "always", "update": "always"},
			{"export": {"above_max_rows": 10}, "update": "always"},
		],
	} {
		every value in values { closed(replaced(key, value)) }
	}
}

test_agents_and_read_must_be_there if {
	closed(given.grant_without("agents"))
	closed(given.grant_without("read"))
	given.refused(pgteller.access, "no-grant") with input as given.ask
		with data.policy as given.grant_with({"agents": []})
}

test_a_misspelt_key_closes if {
	every key in ["agent", "subject", "purpose", "row", "Rows", "deny", "limit", "approvals"] {
		closed(replaced(key, ["x"]))
	}
}

test_one_malformed_grant_closes_the_others if {
	closed(given.beside({"limits": {"rows": "few"}}))
	closed(given.beside({"agents": ["another-bot"], "limits": {"rows": "few"}}))
}

names(prefix, suffix, number) := [concat("", [prefix, format_int(i, 10), suffix]) | some i in numbers.range(1, number)]

test_names_and_prefixes_are_many_but_globs_are_few if {
	pgteller.access.allow with input as given.ask
		with data.policy as given.grant_with({"agents": array.concat(["support-bot"], names("bot-", "", 500))})
	pgteller.access.allow with input as given.ask
		with data.policy as given.grant_with({"read": {"deny": names("sales.old_", "*", 500)}})
	pgteller.access.allow with input as given.ask
		with data.policy as given.grant_with({"read": {"deny": names("*.old_", "", 64)}})
	closed(given.grant_with({"read": {"deny": names("*.old_", "", 65)}}))
	closed(object.union(
		given.grant_with({"read": {"deny": names("*.old_", "", 40)}}),
		{"grants": {"billing": object.union(given.grant, {"agents": names("*-bot-", "", 40)})}},
	))
}
