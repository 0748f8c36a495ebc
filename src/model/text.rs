//! Characters that change how the text around them is read without being seen.
//!
//! Takes text from a database, gives text in which such characters are visible. Never drops anything silently.

/// Control, bidirectional and zero-width characters, less the white space that everybody sees.
pub fn is_hidden(char: char) -> bool {
    let control = char.is_control() && !matches!(char, '\n' | '\t' | '\r');
    control
        || matches!(char, '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2064}'
            | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// The text with hidden characters as `\u{…}`.
pub fn visible(text: &str) -> String {
    use std::fmt::Write;
    text.chars().fold(String::with_capacity(text.len()), |mut shown, char| {
        if is_hidden(char) {
            let _ = write!(shown, "\\u{{{:x}}}", u32::from(char));
        } else {
            shown.push(char);
        }
        shown
    })
}
