# Columns: how each one leaves the database.
#
# Takes: the labels in `input.snapshot`, `data.policy.masks` and `data.policy.unlabelled`, and `clear` of the grants.
# Gives: `columns` (relation -> column -> "clear" or {"mask": …}); a hidden column is not there.
# Never: shows a column whose label or mask it does not understand.
#
# A treatment is "clear", "hide", or an object {"mask": kind}, with "keep_last" (`partial`), "domain" (`pseudonym`),
# "to" (`truncate`) or "width" (`bucket`).
#
# METADATA
# scope: package
# schemas:
#   - input: schema.access_input
package pgteller.masks

import data.pgteller.grants
import data.pgteller.relations
import data.pgteller.wellformed

columns := {name: visible |
	some name, granting in relations.granted_by
	cleared := cleared_by_all(granting)
	plain := unlabelled(name)
	visible := {column: treatment |
		some column, properties in input.snapshot.relations[name].columns
		treatment := treat(properties.labels, cleared, plain)
		treatment != "hide"
	}
}

treat(labels, cleared, plain) := plain if {
	labels == []
} else := strictest(treatments) if {
	is_array(labels)
	treatments := {treatment | some label in labels; treatment := treat_label(label, cleared)}
} else := "hide"

treat_label(label, cleared) := "clear" if {
	label in cleared
} else := treatment if {
	treatment := treatment_of[label]
} else := "hide"

# Strictest over grants: a label is clear only if every grant that opens the relation clears it.
cleared_by_all(granting) := {label |
	some name in granting
	some label in grants.matching[name].clear
	every other in granting { label in grants.matching[other].clear }
}

# A guarded relation shows nothing that nobody has labelled, whatever the policy says for the others.
unlabelled(name) := "clear" if {
	data.policy.unlabelled == "clear"
	not name in relations.guarded
} else := "hide"

# label -> treatment, for the masks that we understand; all others hide.
treatment_of := {label: treatment |
	some label, mask in data.policy.masks
	treatment := treatment_by(mask)
}

treatment_by(mask) := "clear" if {
	mask == {"mask": "clear"}
} else := mask if {
	mask in {{"mask": "email"}, {"mask": "hash"}, {"mask": "redact"}, {"mask": "null"}}
} else := mask if {
	mask == {"mask": "partial", "keep_last": mask.keep_last}
	wellformed.is_count(mask.keep_last)
} else := mask if {
	mask == {"mask": "pseudonym", "domain": mask.domain}
	is_string(mask.domain)
} else := mask if {
	mask == {"mask": "truncate", "to": mask.to}
	mask.to in coarsest_first
} else := mask if {
	mask == {"mask": "bucket", "width": mask.width}
	wellformed.is_count(mask.width)
}

coarsest_first := ["year", "quarter", "month", "week", "day", "hour"]

strictest(treatments) := "hide" if {
	"hide" in treatments
} else := {"mask": "null"} if {
	{"mask": "null"} in treatments
} else := {"mask": "redact"} if {
	{"mask": "redact"} in treatments
} else := {"mask": "redact"} if {
	shows_what_others_hide(treatments)
} else := {"mask": "hash"} if {
	{"mask": "hash"} in treatments
} else := {"mask": "hash"} if {
	count({treatment.domain | some treatment in treatments}) > 1
} else := pseudonym if {
	some pseudonym in treatments
	pseudonym.mask == "pseudonym"
} else := {"mask": "partial", "keep_last": min(kept)} if {
	kept := {treatment.keep_last | some treatment in treatments}
	count(kept) > 0
} else := {"mask": "email"} if {
	{"mask": "email"} in treatments
} else := {"mask": "truncate", "to": coarsest_first[min(places)]} if {
	places := {place | some treatment in treatments; some place, period in coarsest_first; period == treatment.to}
	count(places) > 0
} else := {"mask": "bucket", "width": max(widths)} if {
	widths := {treatment.width | some treatment in treatments}
	count(widths) > 0
} else := "clear" if {
	treatments == {"clear"}
} else := "hide"

# `truncate` and `bucket` show of dates and numbers what no other mask shows, and redact what others show.
shows_what_others_hide(treatments) if {
	kinds := {treatment.mask | some treatment in treatments}
	count(kinds) > 1
	some kind in {"truncate", "bucket"}
	kind in kinds
}
