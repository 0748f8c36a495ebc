//! Characters that change how the text around them is read without being seen.
//!
//! Takes text from a database, gives text in which such characters are visible. Never drops anything silently.

/// Characters that change or carry text without being seen: control (ANSI escapes begin with one), bidirectional, zero-width and filler
/// characters, line separators, the tag block and variation selectors (both can carry a whole message). What everybody sees stays: white
/// space, and U+FE0F, which only asks for an emoji's colour.
pub fn is_hidden(char: char) -> bool {
    let control = char.is_control() && !matches!(char, '\n' | '\t' | '\r');
    control
        || matches!(char,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}'
            | '\u{fe00}'..='\u{fe0e}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}'
            | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
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

/// The same for every string of a JSON value; keys are ours.
pub fn visible_json(value: &mut serde_json::Value) {
    use serde_json::Value;
    match value {
        Value::String(text) if text.chars().any(is_hidden) => *text = visible(text),
        Value::Array(items) => items.iter_mut().for_each(visible_json),
        Value::Object(object) => object.values_mut().for_each(visible_json),
        Value::String(_) | Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// JSON text with hidden characters as JSON's own escapes: it means the same, and does nothing to a terminal.
pub fn escape_json(json: String) -> String {
    use std::fmt::Write;
    if !json.chars().any(|char| is_hidden(char) && !char.is_ascii()) {
        return json;
    }
    json.chars().fold(String::with_capacity(json.len()), |mut escaped, char| {
        // JSON text of serde_json holds no ASCII control characters.
        if is_hidden(char) && !char.is_ascii() {
            for unit in char.encode_utf16(&mut [0; 2]) {
                let _ = write!(escaped, "\\u{unit:04x}");
            }
        } else {
            escaped.push(char);
        }
        escaped
    })
}

#[cfg(test)]
mod tests {
    use super::{escape_json, is_hidden, visible};

    #[test]
    fn escaped_json_means_the_same() {
        let text = "a\u{202e}b\u{e0041}c\u{7f}é";
        let escaped = escape_json(serde_json::to_string(text).unwrap());
        assert!(escaped.chars().filter(|char| !char.is_ascii()).all(|char| char == 'é'));
        assert_eq!(serde_json::from_str::<String>(&escaped).unwrap(), text);
    }

    #[test]
    fn what_is_not_seen_is_shown_and_what_is_seen_stays() {
        for hidden in
            ["\u{1b}[31m", "\u{202e}", "\u{200b}", "\u{e0041}", "\u{fe01}", "\u{e0100}", "\u{2028}", "\u{3164}", "\u{9b}", "\u{7f}"]
        {
            assert!(hidden.chars().any(is_hidden) && !visible(hidden).chars().any(is_hidden), "{hidden:?}");
        }
        for seen in ["a b\tc\n", "äöü 漢字 「」，：", "👍\u{fe0f}", "naïve", "e\u{301}", "مرحبا", "שלום"] {
            assert_eq!(visible(seen), seen);
        }
    }
}
