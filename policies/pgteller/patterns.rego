# Patterns: one reading of globs, the same in OPA and in its WASM.
#
# Takes: a pattern of the policy, the delimiter that `*` does not cross, and a value.
# Gives: `matches` (true or false; undefined = cannot tell), `is_literal`, and `is_readable`.
# Never: leaves what is common to `glob.match`. OPA 1.22 in WASM leaves `(`, `)` and `$` unescaped in the regular
#        expressions that it makes of globs, takes an unclosed `{` for an honest "no", and corrupts its memory once
#        more than a hundred expressions are in use. So a name is compared, a name with `*` or `**` at its end is
#        compared as a prefix, and only what remains is a glob, of a restricted form and number.
package pgteller.patterns

# So many globs may a policy have; names and prefixes do not count.
globs_at_most := 64

matches(pattern, delimiter, value) := value == pattern if {
	is_literal(pattern)
} else := startswith(value, trim_suffix(pattern, "**")) if {
	is_prefix(pattern, "**")
} else := begins_segment(trim_suffix(pattern, "*"), delimiter, value) if {
	is_prefix(pattern, "*")
} else := glob.match(pattern, [delimiter], value)

is_prefix(pattern, star) if {
	endswith(pattern, star)
	is_literal(trim_suffix(pattern, star))
}

begins_segment(prefix, delimiter, value) if {
	startswith(value, prefix)
	not contains(trim_prefix(value, prefix), delimiter)
} else := false

is_literal(text) if regex.match(`^[^*?\\\[\]{}]*$`, text)

is_glob(pattern) if {
	not is_literal(pattern)
	not is_prefix(pattern, "*")
	not is_prefix(pattern, "**")
}

# A glob knows `*`, `**`, `?`, `[abc]`, `[!abc]`, `[a-z]` and `{one,other}`, not nested and without escapes.
is_readable(pattern) if {
	is_string(pattern)
	not is_glob(pattern)
}

is_readable(glob) if regex.match(`^([^$()\\\[\]{}]|\[!?[A-Za-z0-9_-]+\]|\{[^$()\\\[\]{}]*\})*$`, glob)
