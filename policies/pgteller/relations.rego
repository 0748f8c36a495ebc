# What: the relations that the matching grants open.
#
# Takes: `input.snapshot`, and `read` and `rows` of the matching grants.
# Gives: `granted_by` (relation -> names of the grants that open it) and `guarded` (relations that only an exact
#        name opens).
# Never: opens by a pattern what could show, by another way, what is labelled or filtered elsewhere.
#
# Patterns (patterns.rego) have the delimiter ".": `sales.*` is every relation of the schema `sales`.
#
# METADATA
# scope: package
# schemas:
#   - input: schema.access_input
package pgteller.relations

import data.pgteller.grants
import data.pgteller.patterns

kinds := {"table", "view", "materialized-view", "partitioned-table", "partition", "foreign-table"}

granted_by := {name: granting |
	some name, relation in input.snapshot.relations
	relation.kind in kinds
	is_object(relation.columns)
	not contains(name, "\n") # for a glob in WASM, `**` ends at a line break
	granting := {grant | some grant, _ in grants.matching; opens(grant, name)}
	count(granting) > 0
}

opens(grant, name) if {
	not name in guarded
	allows(grant, name)
	not_denied(grant, name)
}

opens(grant, name) if {
	name in guarded
	names_exactly(grant, name)
	not_denied(grant, name)
	filters_like_its_sources(grant, name)
}

allows(grant, name) if {
	some pattern in grants.matching[grant].read.allow
	patterns.matches(pattern, ".", name)
}

# Proven by every pattern saying "no": one that cannot tell denies.
not_denied(grant, name) if {
	denied := object.get(grants.matching[grant].read, "deny", [])
	every pattern in denied { patterns.matches(pattern, ".", name) == false }
}

# A relation whose own name reads like a pattern cannot be named exactly.
names_exactly(grant, name) if {
	name in grants.matching[grant].read.allow
	patterns.is_literal(name)
}

# A grant that filters a source of this relation must say how it filters the relation itself.
filters_like_its_sources(grant, name) if name in filtered_by[grant]

filters_like_its_sources(grant, name) if {
	every source in input.snapshot.relations[name].derived_from {
		input.snapshot.relations[source]
		not source in filtered_by[grant]
	}
}

# Derived from a source that is labelled, filtered, or unknown to us.
guarded contains name if {
	some name, relation in input.snapshot.relations
	not only_open_sources(relation)
}

only_open_sources(relation) if {
	is_array(relation.derived_from)
	every source in relation.derived_from { source in open_relations }
}

open_relations contains name if {
	some name, relation in input.snapshot.relations
	not name in filtered
	without_labels(relation)
}

without_labels(relation) if {
	is_object(relation.columns)
	every column in relation.columns { column.labels == [] }
}

filtered contains name if {
	some names in filtered_by
	some name in names
}

# grant -> the relations for which it has a filter, sound or not.
filtered_by := {name: object.keys(object.get(grant, "rows", {})) | some name, grant in grants.matching}
