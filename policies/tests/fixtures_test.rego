# What the tests start from: one support agent, one shop, one grant. Each test changes one thing of it.
package pgteller_fixtures

principal := {
	"issuer": "https://id.example.org",
	"subject": "maria",
	"agent": "support-bot",
	"scopes": ["db.read", "db.export"],
	"groups": ["support", "europe"],
	"claims": {"tenant_id": 3, "region": "eu", "vip": false, "teams": ["a"], "nobody": null},
	"dev": false,
}

ask := {
	"principal": principal,
	"task": {"id": "t1", "purpose": "ticket", "ambient": false, "asserted": false, "opened_at_ns": 0},
	"database": {"name": "shop", "environment": "production"},
	"snapshot": {"relations": {
		"sales.customers": table({
			"id": [],
			"email": ["pii.email"],
			"region": [],
		}),
		"sales.orders": table({"id": [], "tenant_id": [], "amount": []}),
		"sales.payouts": table({"id": [], "iban": ["pci.iban"]}),
		"hr.salaries": table({"id": [], "amount": ["money"]}),
	}},
	"now_ns": 0,
}

table(labels) := relation("table", labels, [])

relation(kind, labels, derived_from) := {
	"kind": kind,
	"columns": {column: {"type": "text", "labels": list} | some column, list in labels},
	"key": [],
	"derived_from": derived_from,
}

# The question about these relations alone.
ask_about(relations) := json.patch(ask, [{"op": "replace", "path": "/snapshot/relations", "value": relations}])

# The question with one thing changed, for instance `ask_with({"task": {"purpose": "report"}})`.
ask_with(changes) := object.union(ask, changes)

grant := {
	"agents": ["support-bot"],
	"purposes": ["ticket"],
	"read": {"allow": ["sales.*"], "deny": ["sales.payouts"]},
}

policy := {
	"version": 1,
	"masks": {
		"pii.email": {"mask": "email"},
		"pii.phone": {"mask": "partial", "keep_last": 3},
		"pci.card": {"mask": "partial", "keep_last": 4},
		"pii.person": {"mask": "hash"},
		"money": {"mask": "redact"},
		"noise": {"mask": "null"},
		"public": {"mask": "clear"},
		"secret": {"mask": "hide"},
	},
	"unlabelled": "clear",
	"params": {"tenant": {"claim": "tenant_id"}},
	"grants": {"support": grant},
}

policy_with(changes) := object.union(policy, changes)

grant_with(changes) := policy_with({"grants": {"support": changes}})

grant_without(key) := json.remove(policy, [concat("/", ["grants/support", key])])

# A second grant for the same agent and purpose.
beside(changes) := policy_with({"grants": {"billing": object.union(grant, changes)}})

refused(answer, code) if {
	answer.allow == false
	answer.ttl_seconds == 0
	answer.relations == {}
	answer.params == {}
	answer.functions == {"allow": [], "extensions": []}
	answer.carry == {}
	[violation.code | some violation in answer.violations] == [code]
	every violation in answer.violations { is_sentence(violation.message) }
}

# One line, lower case, no final period.
is_sentence(message) if {
	count(message) > 20
	lower(message) == message
	not contains(message, "\n")
	not endswith(message, ".")
}
