//! The lexical proof: every token as we cut it is the token that PostgreSQL would cut.
//!
//! Takes text, gives tokens with byte ranges, or the reason why a cut cannot be trusted. Never decides what the tokens mean.
//! (`reference/sql.md` §1e; PostgreSQL's rules are `src/backend/parser/scan.l`.)

use sha2::{Digest, Sha256};
use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::tokenizer::{Location, Token, TokenWithSpan, Tokenizer, Whitespace};

/// One token and where it stands in the text.
#[derive(Debug, Clone)]
pub struct Piece {
    /// The token, with its span in lines and characters.
    pub token: TokenWithSpan,
    /// Its bytes in the text.
    pub text: String,
    /// Its first byte.
    pub start: usize,
}

/// Why a text could not be proved; for our log and for the hint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unproved(pub &'static str);

/// Cuts a text into tokens and proves the cuts.
pub fn lex(sql: &str) -> Result<Vec<Piece>, Unproved> {
    let dialect = PostgreSqlDialect {};
    let tokens = Tokenizer::new(&dialect, sql)
        .with_unescape(false)
        .tokenize_with_location()
        .map_err(|_| Unproved("it does not end as it began: a quote or comment stays open"))?;
    let pieces = tile(sql, tokens)?;
    for (index, piece) in pieces.iter().enumerate() {
        let before = index.checked_sub(1).and_then(|index| pieces.get(index));
        check(piece, before)?;
    }
    check_unicode_escapes(&pieces)?;
    check_operators(&pieces)?;
    Ok(pieces)
}

/// `U&"…"` and `U&'…'` are one token to PostgreSQL, whose escapes we do not read.
fn check_unicode_escapes(pieces: &[Piece]) -> Result<(), Unproved> {
    let found = pieces.windows(3).any(|three| {
        let [first, second, third] = three else { return false };
        first.text.eq_ignore_ascii_case("u") && second.text == "&" && third.text.starts_with(['"', '\''])
    });
    prove(!found, "it has a `U&` escape; write the characters themselves")
}

/// Maps lines and characters to bytes while making sure that the tokens leave no gap.
fn tile(sql: &str, tokens: Vec<TokenWithSpan>) -> Result<Vec<Piece>, Unproved> {
    let gap = Unproved("it has characters that belong to no token");
    let mut cursor = Cursor { rest: sql, at: Location { line: 1, column: 1 }, byte: 0 };
    let mut pieces = Vec::with_capacity(tokens.len());
    for token in tokens {
        if token.span.start != cursor.at {
            return Err(gap);
        }
        let start = cursor.byte;
        let text = cursor.take_until(token.span.end).ok_or(gap.clone())?;
        if text.is_empty() {
            return Err(gap);
        }
        pieces.push(Piece { token, text: text.to_owned(), start });
    }
    if cursor.rest.is_empty() { Ok(pieces) } else { Err(gap) }
}

struct Cursor<'a> {
    rest: &'a str,
    at: Location,
    byte: usize,
}

impl<'a> Cursor<'a> {
    fn take_until(&mut self, end: Location) -> Option<&'a str> {
        let mut taken = 0_usize;
        for char in self.rest.chars() {
            if self.at >= end {
                break;
            }
            if char == '\n' {
                self.at = Location { line: self.at.line.saturating_add(1), column: 1 };
            } else {
                self.at.column = self.at.column.saturating_add(1);
            }
            taken = taken.saturating_add(char.len_utf8());
        }
        if self.at != end {
            return None;
        }
        let (text, rest) = self.rest.split_at_checked(taken)?;
        self.rest = rest;
        self.byte = self.byte.saturating_add(taken);
        Some(text)
    }
}

fn check(piece: &Piece, before: Option<&Piece>) -> Result<(), Unproved> {
    if piece.text.contains('\0') {
        return Err(Unproved("it contains a NUL character"));
    }
    let after_word = before.is_some_and(|piece| touches(&piece.token.token));
    match &piece.token.token {
        Token::Word(word) => check_word(piece, word, after_word),
        Token::SingleQuotedString(value) => {
            untouched(after_word)?;
            quoted(piece, "'", value)
        }
        Token::NationalStringLiteral(value) => {
            untouched(after_word)?;
            quoted(piece, "N'", value).or_else(|_| quoted(piece, "n'", value))
        }
        Token::EscapedStringLiteral(_) => {
            untouched(after_word)?;
            escape_string(&piece.text)
        }
        Token::HexStringLiteral(value) => {
            untouched(after_word)?;
            bits(piece, ["X'", "x'"], value, |digit| digit.is_ascii_hexdigit())
        }
        Token::SingleQuotedByteStringLiteral(value) => {
            untouched(after_word)?;
            bits(piece, ["B'", "b'"], value, |digit| matches!(digit, '0' | '1'))
        }
        Token::DollarQuotedString(string) => {
            untouched(after_word)?;
            let tag = string.tag.as_deref().unwrap_or("");
            let whole = format!("${tag}${}${tag}$", string.value);
            prove(piece.text == whole && !string.value.contains(&format!("${tag}$")), "a dollar quote is cut oddly")
        }
        Token::Number(value, long) => {
            untouched(after_word)?;
            prove(!long && piece.text == *value, "a number is cut oddly")
        }
        Token::Placeholder(value) => {
            untouched(after_word)?;
            let digits = value.strip_prefix('$').unwrap_or("");
            let sound = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
            prove(sound && piece.text == *value, "a placeholder is not `$1`, `$2` …")
        }
        Token::Whitespace(space) => check_space(piece, space),
        other => {
            let same = piece.text == other.to_string() || (piece.text == "!=" && *other == Token::Neq);
            let plain = piece.text.chars().all(|char| is_operator(char) || ",()[].;:".contains(char));
            let comment = piece.text.contains("--") || piece.text.contains("/*");
            prove(same && plain && !comment, "it has a character or operator that PostgreSQL does not know")
        }
    }
}

fn prove(holds: bool, why: &'static str) -> Result<(), Unproved> {
    if holds { Ok(()) } else { Err(Unproved(why)) }
}

fn untouched(after_word: bool) -> Result<(), Unproved> {
    prove(!after_word, "a literal or quoted name touches the word before it; put a space between them")
}

/// Whether a following quote or digit could belong to this token.
fn touches(token: &Token) -> bool {
    matches!(token, Token::Word(_) | Token::Number(..) | Token::Placeholder(_))
}

fn check_word(piece: &Piece, word: &sqlparser::tokenizer::Word, after_word: bool) -> Result<(), Unproved> {
    match word.quote_style {
        Some('"') => {
            untouched(after_word)?;
            quoted(piece, "\"", &word.value)?;
            prove(!word.value.is_empty(), "an identifier is empty")
        }
        Some(_) => Err(Unproved("an identifier is quoted in a way that PostgreSQL does not know")),
        None => {
            untouched(after_word)?;
            let mut chars = piece.text.chars();
            let start = chars.next().is_some_and(|char| char.is_ascii_alphabetic() || char == '_' || !char.is_ascii());
            let rest = chars.all(|char| char.is_ascii_alphanumeric() || "_$".contains(char) || !char.is_ascii());
            let odd = piece.text.chars().any(|char| !char.is_ascii() && (char.is_whitespace() || char.is_control()));
            prove(start && rest && !odd && piece.text == word.value, "a word has characters that do not belong in one")
        }
    }
}

fn quoted(piece: &Piece, open: &str, value: &str) -> Result<(), Unproved> {
    let quote = if open.ends_with('"') { '"' } else { '\'' };
    let inner = piece.text.strip_prefix(open).and_then(|rest| rest.strip_suffix(quote));
    let Some(inner) = inner else { return Err(Unproved("a quoted text is cut oddly")) };
    let mut run = 0_usize;
    for char in inner.chars().chain(std::iter::once('x')) {
        if char == quote {
            run = run.saturating_add(1);
        } else {
            prove(run.is_multiple_of(2), "a quoted text is cut oddly")?;
            run = 0;
        }
    }
    prove(inner == value, "a quoted text is cut oddly")
}

fn escape_string(text: &str) -> Result<(), Unproved> {
    let odd = Unproved("an escape string is cut oddly");
    let inner = text.strip_prefix("E'").or_else(|| text.strip_prefix("e'")).ok_or(odd.clone())?;
    let mut chars = inner.chars().peekable();
    while let Some(char) = chars.next() {
        match char {
            '\\' => {
                chars.next().ok_or(odd.clone())?;
            }
            '\'' if chars.peek() == Some(&'\'') => {
                chars.next();
            }
            '\'' => return prove(chars.next().is_none(), "an escape string is cut oddly"),
            _ => {}
        }
    }
    Err(odd)
}

fn bits(piece: &Piece, open: [&str; 2], value: &str, digit: impl Fn(char) -> bool) -> Result<(), Unproved> {
    let inner = open.iter().find_map(|open| piece.text.strip_prefix(open)).and_then(|rest| rest.strip_suffix('\''));
    prove(inner == Some(value) && value.chars().all(digit), "a bit string holds something else")
}

fn check_space(piece: &Piece, space: &Whitespace) -> Result<(), Unproved> {
    match space {
        Whitespace::SingleLineComment { prefix, .. } => {
            let line = piece.text.strip_suffix('\n').unwrap_or(&piece.text);
            let line = line.strip_suffix('\r').unwrap_or(line);
            prove(prefix == "--" && line.starts_with("--") && !line.contains(['\n', '\r']), "a comment ends oddly")
        }
        Whitespace::MultiLineComment(_) => prove(is_balanced_comment(&piece.text), "a comment ends oddly"),
        Whitespace::Space | Whitespace::Newline | Whitespace::Tab => prove(
            piece.text.chars().all(|char| matches!(char, ' ' | '\t' | '\n' | '\r' | '\u{c}')),
            "it has white space that PostgreSQL does not know",
        ),
    }
}

fn is_balanced_comment(text: &str) -> bool {
    let mut depth = 0_usize;
    let mut rest = text;
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix("/*") {
            depth = depth.saturating_add(1);
            rest = after;
        } else if let Some(after) = rest.strip_prefix("*/") {
            let Some(less) = depth.checked_sub(1) else { return false };
            depth = less;
            rest = after;
            if depth == 0 {
                return rest.is_empty();
            }
        } else {
            let mut chars = rest.chars();
            chars.next();
            rest = chars.as_str();
        }
    }
    false
}

fn is_operator(char: char) -> bool {
    "+-*/<>=~!@#%^&|`?".contains(char)
}

/// Adjacent operator characters must be cut where `scan.l` cuts them (longest run; no trailing `+` or `-` unless it holds one of `~!@#%^&|?` or a backtick).
fn check_operators(pieces: &[Piece]) -> Result<(), Unproved> {
    let mut index = 0_usize;
    while let Some(piece) = pieces.get(index) {
        index = index.saturating_add(1);
        // A comment like `/**/` has the characters of an operator, and is none.
        let operates = |piece: &&Piece| !matches!(piece.token.token, Token::Whitespace(_)) && piece.text.chars().all(is_operator);
        if !operates(&piece) {
            continue;
        }
        let run: String =
            std::iter::once(piece).chain(pieces.iter().skip(index)).take_while(operates).map(|piece| piece.text.as_str()).collect();
        prove(cut(&run) == piece.text.len(), "an operator would be cut elsewhere; put a space into it")?;
    }
    Ok(())
}

fn cut(run: &str) -> usize {
    let mut end = run.len();
    for comment in ["--", "/*"] {
        end = run.find(comment).map_or(end, |at| at.min(end));
    }
    let mut operator = run.get(..end).unwrap_or("");
    let strange = operator.contains(['~', '!', '@', '#', '^', '&', '|', '`', '?', '%']);
    while !strange && operator.len() > 1 && operator.ends_with(['+', '-']) {
        operator = operator.get(..operator.len().saturating_sub(1)).unwrap_or("");
    }
    operator.len()
}

/// SHA-256 of the tokens: comments and spaces dropped, unquoted words lower-cased, literals `?`.
pub fn fingerprint(pieces: &[Piece]) -> String {
    let mut hash = Sha256::new();
    for piece in pieces {
        let text = match &piece.token.token {
            Token::Whitespace(_) => continue,
            Token::Word(word) if word.quote_style.is_none() => piece.text.to_ascii_lowercase(),
            Token::Number(..)
            | Token::SingleQuotedString(_)
            | Token::NationalStringLiteral(_)
            | Token::EscapedStringLiteral(_)
            | Token::HexStringLiteral(_)
            | Token::SingleQuotedByteStringLiteral(_)
            | Token::DollarQuotedString(_) => "?".to_owned(),
            _ => piece.text.clone(),
        };
        hash.update(text.as_bytes());
        hash.update([0]);
    }
    crate::clock::hex(&hash.finalize())
}
