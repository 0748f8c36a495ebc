# Rows: the filters of each relation, as structured predicates.
#
# Takes: `rows` of the grants that open a relation, `data.policy.params` and the principal's claims.
# Gives: `filters` (relation -> predicate; absent = every row), `broken` (relations to drop), `params` (name -> value),
#        and `params_used` (relation -> names).
# Never: lets an empty or misunderstood filter pass for none: such a relation is broken.
#
# METADATA
# scope: package
# schemas:
#   - input: schema.access_input
package pgteller.rows

import data.pgteller.grants
import data.pgteller.relations

# The columns of one grant's filter must all hold; of several grants, one filter is enough.
filters := {name: predicate |
	some name, alternatives in conjunctions
	predicate := one_of(alternatives)
}

one_of(alternatives) := {"all": alternatives[0]} if {
	count(alternatives) == 1
} else := {"any": [{"all": conjunction} | some conjunction in alternatives]}

params_used := {name: used |
	some name, alternatives in conjunctions
	used := {leaf.param | some conjunction in alternatives; some leaf in conjunction}
}

# relation -> list of conjunctions, unless one of its grants does not filter it.
conjunctions := {name: alternatives |
	some name, granting in relations.granted_by
	not name in broken
	every grant in granting { name in relations.filtered_by[grant] }
	alternatives := sort({conjunction |
		some grant in granting
		conjunction := leaves(grants.matching[grant].rows[name])
	})
}

leaves(filter) := [leaf |
	some column in sort(object.keys(filter))
	some operator in sort(object.keys(filter[column]))
	leaf := leaf_for(column, operator, filter[column][operator])
]

broken contains name if {
	some name, granting in relations.granted_by
	some grant in granting
	name in relations.filtered_by[grant]
	not is_sound(grant, name)
}

is_sound(grant, name) if {
	filter := grants.matching[grant].rows[name]
	is_object(filter)
	count(filter) > 0
	every column, tests in filter {
		input.snapshot.relations[name].columns[column]
		is_object(tests)
		count(tests) > 0
		every operator, operand in tests { leaf_for(column, operator, operand) }
	}
}

comparisons := {
	"equals": "=",
	"not_equals": "<>",
	"less": "<",
	"less_or_equal": "<=",
	"greater": ">",
	"greater_or_equal": ">=",
}

leaf_for(column, operator, value) := {"column": column, "op": comparisons[operator], "value": value} if {
	is_scalar(value)
}

leaf_for(column, "in", values) := {"column": column, "op": "in", "values": values} if {
	is_array(values)
	count(values) > 0
	every value in values { is_scalar(value) }
}

leaf_for(column, "is_null", true) := {"column": column, "op": "is-null"}

leaf_for(column, "is_null", false) := {"column": column, "op": "is-not-null"}

leaf_for(column, "param", param) := {"column": column, "op": "=", "param": param} if {
	param in object.keys(params)
}

# Params come from verified claims only. A claim that is missing or not a plain value leaves its param undefined.
params := {param: value |
	some param, source in data.policy.params
	value := input.principal.claims[source.claim]
	is_scalar(value)
}

is_scalar(value) if type_name(value) in {"string", "number", "boolean"}
