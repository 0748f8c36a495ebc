//! Statements of a corpus, changed and put together.
//!
//! Cuts a text into rough tokens (no proof of anything: what comes out may be no SQL at all, and that is a case too), swaps names, constants,
//! operators and bracketed parts between statements, and wraps or joins whole ones.

use super::random::Random;
use super::relations;

/// The statements to start from.
#[derive(Debug)]
pub struct Corpus {
    all: Vec<Vec<String>>,
    queries: Vec<usize>,
    columns: Vec<String>,
    relations: Vec<String>,
    groups: Vec<String>,
}

const OPERATORS: &[&str] =
    &["=", "<>", "<", ">", "<=", ">=", "+", "-", "*", "/", "%", "||", "IS DISTINCT FROM", "LIKE", "~", "->>", "->", "@>", "&&"];
const TEXTS: &[&str] = &[
    "'eu'",
    "'us'",
    "'***'",
    "'SECRET0'",
    "''",
    "'x'",
    "'%'",
    "'1'",
    "'{}'",
    "'2023-01-01'",
    "'id'",
    "E'\\x41'",
    "U&'\\0061'",
    "$$t$$",
    "NULL",
];
const NUMBERS: &[&str] = &["0", "1", "2", "3", "10", "100", "707", "717000", "-1", "1.5", "1e3", "2147483647", "32768"];
const FUNCTIONS: &[&str] = &[
    "lower",
    "length",
    "max",
    "count",
    "md5",
    "coalesce",
    "to_jsonb",
    "array_agg",
    "row_to_json",
    "pg_typeof",
    "concat",
    "quote_literal",
    "sum",
    "ascii",
    "format",
];
/// Words that mutations do not touch, so that most of what comes out still has the shape of a statement.
const KEYWORDS: &[&str] = &[
    "select",
    "from",
    "where",
    "group",
    "order",
    "by",
    "having",
    "limit",
    "offset",
    "with",
    "as",
    "on",
    "join",
    "left",
    "right",
    "full",
    "inner",
    "cross",
    "lateral",
    "union",
    "all",
    "except",
    "intersect",
    "and",
    "or",
    "not",
    "null",
    "is",
    "in",
    "exists",
    "case",
    "when",
    "then",
    "else",
    "end",
    "distinct",
    "values",
    "table",
    "using",
    "between",
    "like",
    "ilike",
    "true",
    "false",
    "asc",
    "desc",
    "over",
    "partition",
    "filter",
    "recursive",
    "insert",
    "into",
    "update",
    "set",
    "delete",
    "create",
    "drop",
    "alter",
    "begin",
    "commit",
    "any",
    "some",
    "array",
    "row",
    "rows",
    "cast",
    "text",
    "int",
    "integer",
    "interval",
    "date",
    "natural",
    "first",
    "fetch",
    "next",
    "only",
    "nulls",
    "last",
    "outer",
    "do",
    "grant",
    "revoke",
    "copy",
    "to",
    "explain",
    "analyze",
    "returning",
    "for",
    "ordinality",
    "within",
    "materialized",
];

impl Corpus {
    pub fn new(texts: &[String]) -> Self {
        let all: Vec<Vec<String>> = texts.iter().map(|text| tokens(text)).collect();
        let queries = (0..all.len()).filter(|&index| is_query(&all[index])).collect();
        let world = || relations::granted().iter().chain(relations::denied());
        let columns = world().flat_map(|relation| relation.columns.iter().map(|column| column.name.clone())).collect();
        let names =
            world().flat_map(|relation| [relation.name.to_owned(), format!("{}.{}", relation.schema, relation.name)]).collect();
        let groups = all
            .iter()
            .flat_map(|statement| groups(statement))
            .map(|group| group.concat())
            .filter(|group| (5..200).contains(&group.len()))
            .collect();
        Self { all, queries, columns, relations: names, groups }
    }

    /// One statement.
    pub fn mutation(&self, random: &mut Random) -> String {
        if self.queries.is_empty() {
            return "SELECT 1".to_owned();
        }
        let sql = match random.below(10) {
            0..=2 => self.wrap(random),
            3 => self.join(random),
            _ => {
                let mut statement =
                    if random.once_in(4) { random.of(&self.all).clone() } else { self.all[*random.of(&self.queries)].clone() };
                for _ in 0..=random.below(2) {
                    self.change(&mut statement, random);
                }
                statement.concat()
            }
        };
        if random.once_in(10) { disguise(&sql, random) } else { sql }
    }

    fn query(&self, random: &mut Random) -> String {
        let text = self.all[*random.of(&self.queries)].concat();
        text.trim().trim_end_matches(';').to_owned()
    }

    fn wrap(&self, random: &mut Random) -> String {
        let inner = self.query(random);
        match random.below(16) {
            0 => format!("SELECT * FROM ({inner}) AS w"),
            1 => format!("WITH w AS ({inner}) SELECT * FROM w"),
            2 => format!("WITH w AS MATERIALIZED ({inner}) SELECT count(*) FROM w"),
            3 => format!("SELECT EXISTS ({inner})"),
            4 => format!("SELECT w::text FROM ({inner}) AS w"),
            5 => format!("SELECT to_jsonb(w) FROM ({inner}) AS w"),
            6 => format!("SELECT count(DISTINCT w::text) FROM ({inner}) AS w"),
            7 => format!("SELECT (w).* FROM ({inner}) AS w"),
            8 => format!("SELECT w.* FROM ({inner}) AS w ORDER BY w::text"),
            9 => format!("SELECT x.* FROM crm.tickets AS t CROSS JOIN LATERAL ({inner}) AS x WHERE t.id < 3"),
            10 => format!("SELECT ARRAY({inner})"),
            11 => format!("SELECT id FROM customers WHERE EXISTS ({inner})"),
            12 => format!("SELECT CASE WHEN EXISTS ({inner}) THEN 1 ELSE 0 END AS a, (SELECT count(*) FROM ({inner}) AS v)"),
            13 => format!("SELECT max(md5(w::text)) FROM ({inner}) AS w GROUP BY length(w::text) ORDER BY 1"),
            14 => format!("({inner})"),
            _ => format!("SELECT string_agg(w::text, '|' ORDER BY w::text) FROM ({inner}) AS w"),
        }
    }

    fn join(&self, random: &mut Random) -> String {
        let (one, other) = (self.query(random), self.query(random));
        match random.below(6) {
            0 => format!("({one}) UNION ALL ({other})"),
            1 => format!("({one}) EXCEPT ({one})"),
            2 => format!("WITH a AS ({one}), b AS ({other}) SELECT (SELECT count(*) FROM a), (SELECT count(*) FROM b)"),
            3 => {
                format!("SELECT to_jsonb(a) = to_jsonb(b) AS same FROM ({one}) AS a FULL JOIN ({other}) AS b ON a::text = b::text")
            }
            4 => format!("WITH a AS ({one}) SELECT a::text FROM a WHERE EXISTS ({other})"),
            _ => format!("SELECT (SELECT min(a::text) FROM ({one}) AS a), (SELECT max(b::text) FROM ({other}) AS b)"),
        }
    }

    /// Changes one token, or one bracketed part.
    fn change(&self, statement: &mut Vec<String>, random: &mut Random) {
        if random.once_in(5) && !self.groups.is_empty() {
            let parts = places_of_groups(statement);
            if !parts.is_empty() {
                let (from, to) = *random.of(&parts);
                let group = random.of(&self.groups).clone();
                statement.splice(from..=to, [group]);
                return;
            }
        }
        let places: Vec<usize> = (0..statement.len()).filter(|&place| changes(&statement[place])).collect();
        if places.is_empty() {
            return;
        }
        let place = *random.of(&places);
        let called = statement.get(place + 1).is_some_and(|next| next == "(");
        let token = &statement[place];
        let other = if token.starts_with('\'') {
            random.word(TEXTS).to_owned()
        } else if token.starts_with(|char: char| char.is_ascii_digit()) {
            random.word(NUMBERS).to_owned()
        } else if !token.starts_with(|char: char| char.is_alphanumeric() || char == '_' || char == '"') {
            random.word(OPERATORS).to_owned()
        } else if called {
            random.word(FUNCTIONS).to_owned()
        } else if self.relations.iter().any(|name| name == token) {
            random.of(&self.relations).clone()
        } else if random.once_in(6) {
            format!("({token})")
        } else {
            random.of(&self.columns).clone()
        };
        statement[place] = other;
    }
}

/// Comments, other letters, quotes around plain names.
fn disguise(sql: &str, random: &mut Random) -> String {
    let mut out = String::new();
    let how = random.below(3);
    for token in tokens(sql) {
        let plain = token.starts_with(|char: char| char.is_ascii_lowercase()) && !KEYWORDS.contains(&token.as_str());
        match how {
            0 if token == " " => out.push_str(random.word(&[" ", "/**/", "\n", " -- x\n", "\t"])),
            1 if plain && random.once_in(3) => out.push_str(&format!("\"{token}\"")),
            2 if token.starts_with(|char: char| char.is_ascii_alphabetic()) => out.push_str(&token.to_uppercase()),
            _ => out.push_str(&token),
        }
    }
    out
}

fn changes(token: &str) -> bool {
    let word = token.starts_with(|char: char| char.is_alphanumeric() || matches!(char, '_' | '\'' | '"'));
    let operator = matches!(token, "=" | "<" | ">" | "+" | "-" | "*" | "/" | "%");
    (word && !KEYWORDS.contains(&token.to_lowercase().as_str())) || operator
}

fn is_query(statement: &[String]) -> bool {
    let first = statement.iter().find(|token| token.starts_with(|char: char| char.is_alphabetic()));
    let bare = !statement.iter().any(|token| token == ";" || token.starts_with('$'));
    bare && first.is_some_and(|word| ["select", "with", "values"].contains(&word.to_lowercase().as_str()))
}

fn groups(statement: &[String]) -> Vec<&[String]> {
    places_of_groups(statement).into_iter().map(|(from, to)| &statement[from..=to]).collect()
}

/// Where brackets open and close, without those around arguments of a column list or a call alone.
fn places_of_groups(statement: &[String]) -> Vec<(usize, usize)> {
    let mut open = Vec::new();
    let mut found = Vec::new();
    for (place, token) in statement.iter().enumerate() {
        match token.as_str() {
            "(" => open.push(place),
            ")" => {
                if let Some(from) = open.pop() {
                    found.push((from, place));
                }
            }
            _ => {}
        }
    }
    found
}

/// Rough tokens; together they are the text.
fn tokens(sql: &str) -> Vec<String> {
    let chars: Vec<char> = sql.chars().collect();
    let mut out = Vec::new();
    let mut at = 0;
    while at < chars.len() {
        let end = match chars[at] {
            '\'' => after(&chars, at, '\''),
            '"' => after(&chars, at, '"'),
            '-' if chars.get(at + 1) == Some(&'-') => (at..chars.len()).find(|&end| chars[end] == '\n').unwrap_or(chars.len()),
            char if is_word(char) => (at..chars.len()).find(|&end| !is_word(chars[end])).unwrap_or(chars.len()),
            _ => at + 1,
        };
        out.push(chars[at..end].iter().collect());
        at = end;
    }
    out
}

fn is_word(char: char) -> bool {
    char.is_alphanumeric() || matches!(char, '_' | '$')
}

fn after(chars: &[char], at: usize, quote: char) -> usize {
    (at + 1..chars.len()).find(|&end| chars[end] == quote).map_or(chars.len(), |end| end + 1)
}

#[cfg(test)]
mod tests {
    #[test]
    fn tokens_make_the_text_again() {
        for text in ["select 'a''b', \"x\"\"y\" from t -- z\nwhere $1 = 1.5e3", "'open", "\u{e4}\u{f6} \"open"] {
            assert_eq!(super::tokens(text).concat(), text);
        }
    }
}
