# Whom a grant matches: agents, subjects, issuers, groups, scopes, databases, environments, purposes.
package pgteller_who_test

import data.pgteller
import data.pgteller_fixtures as given

test_the_named_agent_may if {
	answer := pgteller.access with input as given.ask with data.policy as given.policy
	answer.allow
	answer.violations == []
	answer.carry.grants == ["support"]
}

test_another_agent_may_not if {
	given.refused(pgteller.access, "no-grant") with data.policy as given.policy
		with input as given.ask_with({"principal": {"agent": "sales-bot"}})
}

test_a_pattern_of_agents_stays_within_its_segment if {
	policy := given.grant_with({"agents": ["spiffe://example.org/support/*"]})
	pgteller.access.allow with data.policy as policy
		with input as given.ask_with({"principal": {"agent": "spiffe://example.org/support/seven"}})
	given.refused(pgteller.access, "no-grant") with data.policy as policy
		with input as given.ask_with({"principal": {"agent": "spiffe://example.org/support/seven/eight"}})
	given.refused(pgteller.access, "no-grant") with data.policy as policy
		with input as given.ask_with({"principal": {"agent": "spiffe://example.org/sales/seven"}})
}

test_an_agent_is_compared_as_a_whole if {
	given.refused(pgteller.access, "no-grant") with data.policy as given.policy
		with input as given.ask_with({"principal": {"agent": "support-bot-2"}})
	given.refused(pgteller.access, "no-grant") with data.policy as given.policy
		with input as given.ask_with({"principal": {"agent": "Support-Bot"}})
}

test_subjects_absent_is_any_and_given_must_match if {
	pgteller.access.allow with input as given.ask with data.policy as given.grant_with({"subjects": ["mar*"]})
	pgteller.access.allow with input as given.ask with data.policy as given.grant_with({"subjects": ["**"]})
	given.refused(pgteller.access, "no-grant") with input as given.ask
		with data.policy as given.grant_with({"subjects": ["paul"]})
	given.refused(pgteller.access, "no-grant") with input as given.ask
		with data.policy as given.grant_with({"subjects": []})
}

test_one_of_the_groups_is_enough if {
	pgteller.access.allow with input as given.ask
		with data.policy as given.grant_with({"groups": ["sales", "support"]})
	given.refused(pgteller.access, "no-grant") with input as given.ask
		with data.policy as given.grant_with({"groups": ["sales"]})
	given.refused(pgteller.access, "no-grant") with input as given.ask
		with data.policy as given.grant_with({"groups": ["supp*"]})
	given.refused(pgteller.access, "no-grant") with input as given.ask
		with data.policy as given.grant_with({"groups": []})
}

test_all_scopes_are_needed if {
	pgteller.access.allow with input as given.ask
		with data.policy as given.grant_with({"scopes": ["db.read", "db.export"]})
	pgteller.access.allow with input as given.ask with data.policy as given.grant_with({"scopes": []})
	given.refused(pgteller.access, "no-grant") with input as given.ask
		with data.policy as given.grant_with({"scopes": ["db.read", "db.write"]})
}

test_issuers_are_patterns_and_an_empty_list_is_any if {
	pgteller.access.allow with input as given.ask
		with data.policy as given.grant_with({"issuers": ["https://id.example.org"]})
	pgteller.access.allow with input as given.ask
		with data.policy as given.grant_with({"issuers": ["https://*.example.org"]})
	pgteller.access.allow with input as given.ask with data.policy as given.grant_with({"issuers": []})
	given.refused(pgteller.access, "no-grant") with input as given.ask
		with data.policy as given.grant_with({"issuers": ["https://id.example.com"]})
}

test_databases_are_patterns if {
	pgteller.access.allow with input as given.ask with data.policy as given.grant_with({"databases": ["sh*"]})
	given.refused(pgteller.access, "no-grant") with input as given.ask
		with data.policy as given.grant_with({"databases": ["store"]})
}

test_environments_are_names if {
	pgteller.access.allow with input as given.ask
		with data.policy as given.grant_with({"environments": ["test", "production"]})
	given.refused(pgteller.access, "no-grant") with input as given.ask
		with data.policy as given.grant_with({"environments": ["prod*"]})
}

test_a_purpose_must_match if {
	policy := given.grant_with({"purposes": ["ticket", "ticket:*"]})
	pgteller.access.allow with input as given.ask with data.policy as policy
	pgteller.access.allow with data.policy as policy with input as given.ask_with({"task": {"purpose": "ticket:4711"}})
	given.refused(pgteller.access, "no-grant") with data.policy as policy
		with input as given.ask_with({"task": {"purpose": "tickets"}})
	given.refused(pgteller.access, "no-grant") with data.policy as policy
		with input as given.ask_with({"task": {"purpose": ""}})
}

test_purposes_absent_is_any_and_empty_is_none if {
	pgteller.access.allow with data.policy as given.grant_without("purposes")
		with input as given.ask_with({"task": {"purpose": "whatever"}})
	given.refused(pgteller.access, "no-grant") with input as given.ask
		with data.policy as given.grant_with({"purposes": []})
}

test_an_ambient_task_needs_an_ambient_grant if {
	ambient := given.ask_with({"task": {"ambient": true, "purpose": "ide"}})
	pgteller.access.allow with input as ambient with data.policy as given.grant_with({"ambient": true})
	given.refused(pgteller.access, "task-required") with input as ambient with data.policy as given.policy
	given.refused(pgteller.access, "task-required") with input as ambient
		with data.policy as given.grant_with({"ambient": false})
}

test_an_ambient_task_cannot_borrow_a_purpose if {
	given.refused(pgteller.access, "task-required") with data.policy as given.policy
		with input as given.ask_with({"task": {"ambient": true, "purpose": "ticket"}})
}

test_an_ambient_grant_still_asks_named_tasks_for_their_purpose if {
	given.refused(pgteller.access, "no-grant") with data.policy as given.grant_with({"ambient": true})
		with input as given.ask_with({"task": {"purpose": "report"}})
}

test_task_required_is_said_only_where_a_purpose_would_help if {
	given.refused(pgteller.access, "no-grant") with data.policy as given.policy
		with input as given.ask_with({"task": {"ambient": true}, "principal": {"agent": "sales-bot"}})
}

test_a_purpose_of_the_callers_own_needs_a_grant_that_opens if {
	own := given.ask_with({"task": {"asserted": true}})
	pgteller.access.allow with input as own with data.policy as given.grant_with({"opens": true})
	given.refused(pgteller.access, "no-grant") with input as own with data.policy as given.policy
	given.refused(pgteller.access, "no-grant") with input as own with data.policy as given.grant_with({"opens": false})
	given.refused(pgteller.access, "no-grant") with input as own with data.policy as given.grant_with({"ambient": true})
	other := given.ask_with({"task": {"asserted": true, "purpose": "other"}})
	given.refused(pgteller.access, "no-grant") with input as other with data.policy as given.grant_with({"opens": true})
}

test_a_task_that_does_not_say_whose_word_its_purpose_is_gets_nothing if {
	given.refused(pgteller.access, "no-grant") with input as json.remove(given.ask, ["task/asserted"])
		with data.policy as given.grant_with({"opens": true})
	given.refused(pgteller.access, "no-grant") with input as given.ask_with({"task": {"asserted": "true"}})
		with data.policy as given.grant_with({"opens": true})
}

test_an_agent_that_may_open_a_task_is_told_so if {
	ambient := given.ask_with({"task": {"ambient": true, "purpose": "ide"}})
	some told in pgteller.access.violations with input as ambient with data.policy as given.grant_with({"opens": true})
	contains(told.message, "open_task")
}

test_budgets_are_the_smallest_of_what_grants_give if {
	pgteller.access.budget == {} with input as given.ask with data.policy as given.policy
	given_one := given.grant_with({"limits": {"task_rows": 500, "task_statements": 7}})
	pgteller.access.budget == {"rows": 500, "statements": 7} with input as given.ask with data.policy as given_one
}

test_a_task_that_does_not_say_whether_it_is_ambient_gets_nothing if {
	given.refused(pgteller.access, "no-grant") with data.policy as given.grant_with({"ambient": true})
		with input as json.remove(given.ask, ["task/ambient"])
	given.refused(pgteller.access, "no-grant") with data.policy as given.grant_with({"ambient": true})
		with input as given.ask_with({"task": {"ambient": "true"}})
}

test_an_incomplete_principal_matches_nothing if {
	every key in {"agent", "subject", "issuer", "groups", "scopes"} {
		given.refused(pgteller.access, "no-grant") with input as json.remove(given.ask, [concat("/", ["principal", key])])
			with data.policy as given.grant_with({
				"subjects": ["*"],
				"issuers": ["**"],
				"groups": ["support"],
				"scopes": ["db.read"],
			})
	}
}

test_an_empty_question_is_refused if {
	given.refused(pgteller.access, "no-grant") with input as {} with data.policy as given.policy
	given.refused(pgteller.access, "no-grant") with input as null with data.policy as given.policy
}

test_a_refusal_names_no_grant_and_no_relation if {
	every ask in [
		given.ask_with({"principal": {"agent": "sales-bot"}}),
		given.ask_with({"task": {"ambient": true}}),
		given.ask_about({"hr.salaries": given.table({"id": []})}),
	] {
		answer := pgteller.access with input as ask with data.policy as given.policy
		answer.allow == false
		text := json.marshal(answer)
		not contains(text, "support")
		not contains(text, "sales")
		not contains(text, "salaries")
	}
}

test_what_nobody_foresaw_is_refused if {
	given.refused(pgteller.access, "no-grant") with input as given.ask with data.policy as given.policy
		with data.pgteller.refusals as "not a set"
}

test_tools_are_those_of_the_callers_own_grants if {
	caller := {"principal": given.ask.principal, "task_named": false, "now_ns": 0}
	pgteller.tools == ["describe", "explain", "export", "query"] with input as caller with data.policy as given.policy
	pgteller.tools == ["describe"] with input as caller with data.policy as given.grant_with({"tools": ["describe"]})
	opening := given.grant_with({"opens": true, "tools": ["query"]})
	pgteller.tools == ["close_task", "explain", "open_task", "query"] with input as caller with data.policy as opening
	named := object.union(caller, {"task_named": true})
	pgteller.tools == ["close_task", "explain", "query"] with input as named with data.policy as opening
}

test_nobody_in_particular_is_listed_nothing if {
	pgteller.tools == [] with input as {} with data.policy as given.policy
	stranger := {"principal": object.union(given.ask.principal, {"agent": "stranger"}), "task_named": true, "now_ns": 0}
	pgteller.tools == [] with input as stranger with data.policy as given.policy
	caller := {"principal": given.ask.principal, "task_named": false, "now_ns": 0}
	pgteller.tools == [] with input as caller with data.policy as {"version": 1, "grants": {"a": {"agents": "x"}}}
}
