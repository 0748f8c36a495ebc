# How a pattern is read.
package pgteller_patterns_test

import data.pgteller.patterns

test_a_name_is_compared_letter_by_letter if {
	patterns.matches("sales.pay$outs (old)", ".", "sales.pay$outs (old)")
	not patterns.matches("sales.orders", ".", "sales.orders2")
	not patterns.matches("sales.orders", ".", "sales/orders")
}

test_one_star_stays_within_a_segment if {
	patterns.matches("sales.*", ".", "sales.orders")
	not patterns.matches("sales.*", ".", "sales.old.orders")
	not patterns.matches("sales.*", ".", "salesx")
	patterns.matches("*", ".", "sales")
	not patterns.matches("*", ".", "sales.orders")
}

test_two_stars_cross_segments if {
	patterns.matches("sales.**", ".", "sales.old.orders")
	patterns.matches("**", ".", "sales.old\norders")
	not patterns.matches("sales.**", ".", "hr.salaries")
}

test_globs_know_marks_lists_and_choices if {
	patterns.matches("*.orders", ".", "sales.orders")
	not patterns.matches("*.orders", ".", "a.sales.orders")
	patterns.matches("{sales,hr}.*", ".", "hr.x")
	not patterns.matches("{sales,hr}.*", ".", "it.x")
	patterns.matches("sales.order?", ".", "sales.orders")
	not patterns.matches("sales.order?", ".", "sales.order")
	patterns.matches("sales.[!p]*", ".", "sales.orders")
	not patterns.matches("sales.[!p]*", ".", "sales.payouts")
}

test_what_cannot_be_read_is_said_to_be_so if {
	every pattern in [`a\*`, "{a", "[a", "a]*", "{a,{b,c}}", "*(a)", "*$", "[^a]*", 5, null] {
		not patterns.is_readable(pattern)
	}
	every pattern in ["", "a", "*", "**", "a*b", "{a,b}", "[!a-z]", "a$", "a(b)*"] { patterns.is_readable(pattern) }
}

test_names_and_prefixes_are_no_globs if {
	every pattern in ["a", "a*", "a**", "*", "**", ""] { not patterns.is_glob(pattern) }
	every pattern in ["*a", "a*b", "a?", "{a}", "[a]", "***"] { patterns.is_glob(pattern) }
}

test_no_value_no_match if {
	not patterns.matches("*", "/", null)
	not patterns.matches("a*b", "/", 5)
	not patterns.matches("**", "/", ["a"])
}
