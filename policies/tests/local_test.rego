# The admin's own rules beside the library.
package pgteller_local_test

import data.pgteller
import data.pgteller_call_test as calls
import data.pgteller_fixtures as given

own := {"code": "not-on-sundays", "message": "nothing is read on sundays: come back tomorrow"}

unreadable := {"code": "policy-denied", "message": "a rule of this installation denies this: ask the operator"}

test_as_shipped_it_denies_nothing if {
	data.pgteller.local.deny == set()
	data.pgteller.local.deny_access == set()
}

test_deny_is_heard_by_call if {
	answer := pgteller.call with input as calls.query with data.pgteller.local.deny as {own}
	answer.decision == "deny"
	answer.violations == [own]
	pgteller.call.decision == "allow" with input as calls.query with data.pgteller.local.deny_access as {own}
}

test_deny_access_is_heard_by_access if {
	answer := pgteller.access with input as given.ask with data.policy as given.policy
		with data.pgteller.local.deny_access as {own}
	answer.allow == false
	answer.violations == [own]
	answer.relations == {}
	answer.carry == {}
	pgteller.access.allow with input as given.ask with data.policy as given.policy
		with data.pgteller.local.deny as {own}
}

test_own_violations_stand_among_the_others_in_order if {
	answer := pgteller.call with input as object.union(calls.query, {"now_ns": 1789000900000000000})
		with data.pgteller.local.deny as {own, {"code": "a", "message": "first of all"}, {"code": "z", "message": "last"}}
	[violation.code | some violation in answer.violations] == ["a", "not-on-sundays", "task-expired", "z"]
}

test_a_denial_that_we_cannot_read_still_denies if {
	every odd in ["no", 5, null, {}, {"code": "x"}, {"code": 5, "message": "y"}, {"code": "x", "message": 5}, {"message": "y"}] {
		answer := pgteller.call with input as calls.query with data.pgteller.local.deny as {odd}
		answer.decision == "deny"
		answer.violations == [unreadable]
		refusal := pgteller.access with input as given.ask with data.policy as given.policy
			with data.pgteller.local.deny_access as {odd}
		refusal.allow == false
		refusal.violations == [unreadable]
	}
}

test_only_code_and_message_leave if {
	answer := pgteller.call with input as calls.query
		with data.pgteller.local.deny as {object.union(own, {"secret": "detail"})}
	answer.violations == [own]
}

test_what_is_not_a_set_denies if {
	every odd in [true, false, "no", [], {}, 5] {
		answer := pgteller.call with input as calls.query with data.pgteller.local.deny as odd
		answer.decision == "deny"
		refusal := pgteller.access with input as given.ask with data.policy as given.policy
			with data.pgteller.local.deny_access as odd
		refusal.allow == false
	}
}
