# The question `call`.
package pgteller_call_test

import data.pgteller
import data.pgteller_fixtures as given

carry := {
	"grants": ["support"],
	"tools": ["describe", "export", "query"],
	"limits": {
		"rows": 1000,
		"bytes": 1000000,
		"cell_bytes": 50000,
		"seconds": 10,
		"task_minutes": 15,
		"export_rows": 20000,
		"export_bytes": 9000000,
		"export_seconds": 60,
	},
	"approval": {},
}

statement := {
	"verb": "select",
	"analysis": "tree",
	"relations": [{
		"schema": "sales",
		"name": "customers",
		"access": "read",
		"columns": ["email", "id"],
		"columns_from": "names",
		"labels": ["pii.email"],
	}],
	"functions": ["pg_catalog.count"],
	"has_where": true,
	"has_limit": false,
	"fingerprint": "f",
}

query := {
	"principal": given.principal,
	"task": {
		"id": "t1",
		"purpose": "ticket",
		"ambient": false,
		"asserted": false,
		"opened_at_ns": 1789000000000000000,
		"expires_at_ns": 1789000900000000000,
		"statements": 12,
		"rows": 340,
		"carry": carry,
	},
	"tool": "query",
	"max_rows": 100,
	"database": {"name": "shop", "environment": "production"},
	"statement": statement,
	"now_ns": 1789000000000000001,
}

describe := json.remove(object.union(query, {"tool": "describe"}), ["statement", "max_rows"])

export := object.union(query, {"tool": "export", "max_rows": 5000, "export": {"format": "csv"}})

query_with(changes) := object.union(query, changes)

export_under(approval) := object.union(export, {"task": {"carry": {"approval": approval}}})

set_to(question, path, value) := json.patch(question, [{"op": "add", "path": path, "value": value}])

answered(question) := answer if answer := pgteller.call with input as question

allowed(question) if {
	answer := answered(question)
	answer.decision == "allow"
	answer.violations == []
	answer.approvers == []
}

denied(question, codes) if {
	answer := answered(question)
	answer.decision == "deny"
	answer.obligations == {}
	answer.approvers == []
	[violation.code | some violation in answer.violations] == codes
	every violation in answer.violations { given.is_sentence(violation.message) }
}

test_a_query_is_allowed_under_its_limits if {
	answered(query) == {
		"decision": "allow",
		"violations": [],
		"obligations": {"max_rows": 100, "max_bytes": 1000000, "max_cell_bytes": 50000, "timeout_ms": 10000},
		"approvers": [],
	}
}

test_describe_has_no_obligations if {
	answered(describe) == {"decision": "allow", "violations": [], "obligations": {}, "approvers": []}
}

test_an_export_is_allowed_under_its_limits if {
	answered(export) == {
		"decision": "allow",
		"violations": [],
		"obligations": {"max_rows": 5000, "max_bytes": 9000000, "max_cell_bytes": 50000, "timeout_ms": 60000},
		"approvers": [],
	}
}

test_nobody_gets_more_rows_than_the_limit if {
	answered(query_with({"max_rows": 5000})).obligations.max_rows == 1000
	answered(query_with({"max_rows": 0})).obligations.max_rows == 0
	answered(json.remove(query, ["max_rows"])).obligations.max_rows == 1000
	answered(object.union(export, {"max_rows": 50000})).obligations.max_rows == 20000
	answered(json.remove(export, ["max_rows"])).obligations.max_rows == 20000
	every odd in [-5, 1.5, "5", null, [5]] {
		answered(set_to(query, "/max_rows", odd)).obligations.max_rows == 1000
	}
}

test_only_carried_tools if {
	allowed(query)
	denied(query_with({"task": {"carry": {"tools": ["describe", "export"]}}}), ["tool-not-allowed"])
	denied(query_with({"task": {"carry": {"tools": []}}}), ["tool-not-allowed"])
	denied(query_with({"task": {"carry": {"tools": "query"}}}), ["tool-not-allowed"])
	denied(json.remove(query, ["task/carry/tools"]), ["tool-not-allowed"])
	denied(json.remove(describe, ["tool"]), ["tool-not-allowed", "verb-not-allowed"])
}

test_a_tool_that_we_do_not_know_is_denied_even_if_carried if {
	denied(query_with({"tool": "update", "task": {"carry": {"tools": ["update"]}}}), ["tool-not-allowed"])
}

test_a_task_ends_at_its_last_nanosecond if {
	allowed(query_with({"now_ns": 1789000899999999999}))
	denied(query_with({"now_ns": 1789000900000000000}), ["task-expired"])
	denied(query_with({"now_ns": 1789000900000000001}), ["task-expired"])
}

test_a_task_without_a_readable_end_has_ended if {
	denied(json.remove(query, ["task/expires_at_ns"]), ["task-expired"])
	denied(json.remove(query, ["now_ns"]), ["task-expired"])
	every odd in [null, "1789000900000000000", [1789000900000000000], true] {
		denied(set_to(query, "/task/expires_at_ns", odd), ["task-expired"])
		denied(set_to(query, "/now_ns", odd), ["task-expired"])
	}
}

test_only_selects if {
	every verb in ["insert", "update", "delete", "SELECT", "explain", "", null] {
		denied(set_to(query, "/statement/verb", verb), ["verb-not-allowed"])
		denied(set_to(export, "/statement/verb", verb), ["verb-not-allowed"])
	}
}

test_only_reading_access if {
	read := statement.relations[0]
	allowed(set_to(query, "/statement/relations", []))
	allowed(set_to(query, "/statement/relations", [read, read]))
	every access in ["write", "lock", "", null] {
		denied(set_to(query, "/statement/relations", [read, object.union(read, {"access": access})]), ["verb-not-allowed"])
	}
	denied(json.remove(query, ["statement/relations/0/access"]), ["verb-not-allowed"])
	every odd in [null, "sales.customers", {}, 5] {
		denied(set_to(query, "/statement/relations", odd), ["verb-not-allowed"])
	}
}

test_a_query_or_export_needs_a_statement if {
	denied(json.remove(query, ["statement"]), ["verb-not-allowed"])
	denied(json.remove(export, ["statement"]), ["verb-not-allowed"])
	denied(set_to(query, "/statement", null), ["verb-not-allowed"])
}

test_describe_with_a_statement_must_read_too if {
	allowed(set_to(describe, "/statement", statement))
	denied(set_to(describe, "/statement", object.union(statement, {"verb": "delete"})), ["verb-not-allowed"])
}

test_no_limits_no_call if {
	every path in ["task/carry/limits", "task/carry/limits/rows", "task/carry/limits/export_seconds"] {
		denied(json.remove(query, [path]), ["carry-missing"])
		denied(json.remove(describe, [path]), ["carry-missing"])
		denied(json.remove(export, [path]), ["carry-missing"])
	}
	every odd in [null, "1000", -1, 1.5, [5]] {
		denied(set_to(query, "/task/carry/limits/rows", odd), ["carry-missing"])
	}
	every odd in [null, [], "many"] { denied(set_to(query, "/task/carry/limits", odd), ["carry-missing"]) }
	denied(set_to(query, "/task/carry", {}), ["carry-missing", "tool-not-allowed"])
}

test_all_violations_are_listed_in_order if {
	denied(
		{"task": {"carry": {}}, "tool": "query"},
		["carry-missing", "task-expired", "tool-not-allowed", "verb-not-allowed"],
	)
	denied({}, ["carry-missing", "task-expired", "tool-not-allowed", "verb-not-allowed"])
}

waits(question) if {
	answer := answered(question)
	answer.decision == "needs-approval"
	answer.violations == []
	answer.approvers == []
}

test_an_export_above_the_threshold_needs_an_approval if {
	waits(export_under({"export": {"above_max_rows": 4999}}))
	allowed(export_under({"export": {"above_max_rows": 5000}}))
	answered(export_under({"export": {"above_max_rows": 10}})).obligations.max_rows == 5000
}

test_an_export_that_names_no_number_asks_for_all if {
	open_ended := json.remove(export, ["max_rows"])
	waits(object.union(open_ended, {"task": {"carry": {"approval": {"export": {"above_max_rows": 19999}}}}}))
	allowed(object.union(open_ended, {"task": {"carry": {"approval": {"export": {"above_max_rows": 20000}}}}}))
}

test_always_means_always_and_only_for_exports if {
	waits(object.union(export_under({"export": "always"}), {"max_rows": 1}))
	waits(object.union(export_under({"export": "always"}), {"max_rows": 0}))
	allowed(query_with({"task": {"carry": {"approval": {"export": "always"}}}}))
}

test_an_approval_that_we_cannot_read_is_needed if {
	waits(json.remove(export, ["task/carry/approval"]))
	every odd in [null, "none", [], true] { waits(set_to(export, "/task/carry/approval", odd)) }
	every odd in [null, "never", {}, {"above_max_rows": "9999999"}, {"above_max_rows": null}] {
		waits(set_to(export, "/task/carry/approval", {"export": odd}))
	}
}

test_deny_wins_over_an_approval if {
	denied(
		object.union(export_under({"export": "always"}), {"now_ns": 1789000900000000000}),
		["task-expired"],
	)
}

test_what_nobody_foresaw_is_denied if {
	every question in [query, describe, export, export_under({"export": "always"})] {
		answer := pgteller.call with input as question with data.pgteller.checks.violations as "not a set"
		answer.decision == "deny"
		[violation.code | some violation in answer.violations] == ["policy-denied"]
		answer.obligations == {}
		answer.approvers == []
	}
}
