//! The one quoting function for identifiers, and literals where PostgreSQL takes no parameters.
//!
//! Takes any text, gives SQL that means exactly that text. Never trusts that a name is harmless.

/// An identifier, always quoted (PostgreSQL manual §4.1.1).
pub fn identifier(name: &str) -> String {
    let mut quoted = String::with_capacity(name.len().saturating_add(2));
    quoted.push('"');
    for char in name.chars().filter(|char| *char != '\0') {
        if char == '"' {
            quoted.push('"');
        }
        quoted.push(char);
    }
    quoted.push('"');
    quoted
}

/// `schema.name`, both quoted.
pub fn qualified(schema: &str, name: &str) -> String {
    format!("{}.{}", identifier(schema), identifier(name))
}

/// A string literal that means the same whatever `standard_conforming_strings` says.
pub fn literal(text: &str) -> String {
    let escaped: String = text
        .chars()
        .filter(|char| *char != '\0')
        .flat_map(|char| match char {
            '\'' => vec!['\'', '\''],
            '\\' => vec!['\\', '\\'],
            other => vec![other],
        })
        .collect();
    if text.contains('\\') { format!(" E'{escaped}'") } else { format!("'{escaped}'") }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn an_identifier_cannot_end_early(name in "\\PC*") {
            let quoted = super::identifier(&name);
            let inner = quoted.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or("\"");
            prop_assert_eq!(inner.replace("\"\"", ""), name.replace('"', ""));
            prop_assert_eq!(inner.matches('"').count() % 2, 0);
        }

        #[test]
        fn a_literal_cannot_end_early(text in "\\PC*") {
            let quoted = super::literal(&text);
            let inner = quoted.trim_start().trim_start_matches('E').strip_prefix('\'').and_then(|rest| rest.strip_suffix('\'')).unwrap_or("'");
            let unquoted = if text.contains('\\') { inner.replace("\\\\", "\\") } else { inner.to_owned() };
            prop_assert_eq!(unquoted.replace("''", "'"), text);
        }
    }
}
