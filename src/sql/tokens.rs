//! What tokens alone can say of a text that has no tree of ours (plan mode, `reference/sql.md` §5).
//!
//! Takes proved tokens, gives an [`Unread`] whose relations PostgreSQL will name, or a refusal. Looks at words and their neighbours, so it
//! refuses a little too much (a column called `update` must be quoted) and never too little of what must not run. It is help and a guard
//! against waste; the wall is the task's role, in a read-only transaction that ends in ROLLBACK.
//!
//! ```text
//! select (c).email, sum(x) over (order by id rows 1 preceding exclude ties) from sales.customers c
//!   sent: the same from pgteller_4f…_1.customers c; functions: pg_catalog.sum; relations: whatever locks PostgreSQL takes
//! ```

use std::collections::BTreeSet;

use sqlparser::tokenizer::Token;

use super::functions::{candidates, is_allowed, keyword_current_schema, reachable_schemas, refuse};
use super::proof::{self, Piece, Unproved};
use super::read::not_understood;
use super::rewrite::{self, Redirects};
use super::types::looks_up_names;
use super::walk::Called;
use super::{Names, Unread, words};
use crate::model::names::RelationName;
use crate::model::refusal::{Code, Refusal};
use crate::model::snapshot::CATALOG;
use crate::model::statement::{Analysis, Statement, Verb};

/// Words that write wherever they stand unquoted.
const WRITES: &[&str] = &["into", "insert", "update", "delete", "merge"];

/// What may follow FOR in a row lock.
const LOCKS: &[&str] = &["update", "share", "no", "key"];

/// Functions of the grammar that no row of `pg_proc` stands for and that are refused.
const REFUSED_GRAMMAR: &[&str] = &["xmltable", "xmlparse", "xmlexists", "xmlroot", "xmlpi", "xmlelement", "xmlforest", "xmlconcat"];

/// Types that look names up, or parse what cannot be interrupted.
const REFUSED_TYPES: &[&str] =
    &["aclitem", "regclass", "regnamespace", "regoper", "regoperator", "regproc", "regprocedure", "regrole", "regtype", "xml"];

/// The tokens that mean something, with what stands around each.
struct Tokens<'a>(Vec<&'a Piece>);

impl<'a> Tokens<'a> {
    fn of(pieces: &'a [Piece]) -> Self {
        Self(pieces.iter().filter(|piece| !matches!(piece.token.token, Token::Whitespace(_))).collect())
    }

    fn token(&self, at: usize) -> Option<&'a Token> {
        self.0.get(at).map(|piece| &piece.token.token)
    }

    /// The word at a place, folded; quoted ones too.
    fn name(&self, at: usize) -> Option<String> {
        match self.token(at)? {
            Token::Word(word) => Some(words::fold(&word.value, word.quote_style.is_some())),
            _ => None,
        }
    }

    /// The unquoted word at a place, in lower case.
    fn word(&self, at: usize) -> Option<String> {
        match self.token(at)? {
            Token::Word(word) if word.quote_style.is_none() => Some(word.value.to_ascii_lowercase()),
            _ => None,
        }
    }

    fn is(&self, at: usize, token: &Token) -> bool {
        self.token(at) == Some(token)
    }

    fn before(&self, at: usize) -> Option<&'a Token> {
        self.token(at.checked_sub(1)?)
    }

    /// The name before a dot that stands before this place.
    fn qualifier(&self, at: usize) -> Option<String> {
        (self.before(at)? == &Token::Period).then(|| self.name(at.checked_sub(2)?)).flatten()
    }
}

/// Checks the tokens of a text that our parser does not read.
pub fn check(pieces: &[Piece], names: &Names<'_>, why: &Unproved) -> Result<Unread, Refusal> {
    let tokens = Tokens::of(pieces);
    let reachable = reachable_schemas(names);
    let mut functions = BTreeSet::new();
    let mut redirects = Redirects::new();
    let (mut has_where, mut has_limit, mut may_nest_arrays) = (false, false, false);
    for (at, piece) in tokens.0.iter().enumerate() {
        if let Some(word) = tokens.word(at) {
            reads_only(&tokens, at, &word)?;
            has_where |= word == "where";
            has_limit |= word == "limit" || word == "fetch";
            may_nest_arrays |= word == "array" && may_hold_arrays(&tokens, at.saturating_add(1));
        }
        let Some(name) = tokens.name(at) else { continue };
        check_type(&tokens, at, &name)?;
        functions.extend(check_call(&tokens, at, &name, &reachable, names)?);
        if let Some(target) = redirect(&tokens, at, &name, names) {
            let start = piece.token.span.start;
            redirects.insert((start.line, start.column), target);
        }
    }
    let (text, edits) =
        rewrite::apply(pieces, &redirects).map_err(|_| not_understood(Unproved("a schema name could not be redirected")))?;
    proof::lex(&text).map_err(not_understood)?;
    let statement = Statement {
        verb: Verb::Select,
        analysis: Analysis::Plan,
        relations: Vec::new(),
        catalog: Vec::new(),
        functions: functions.into_iter().collect(),
        has_where,
        has_limit,
        fingerprint: proof::fingerprint(pieces),
    };
    Ok(Unread { statement, text, edits, may_nest_arrays, why: why.0 })
}

/// Whether `ARRAY[…]` holds anything but literals: then it may hold arrays, which can raise below a row filter (see `walk`).
fn may_hold_arrays(tokens: &Tokens<'_>, open: usize) -> bool {
    if !tokens.is(open, &Token::LBracket) {
        return false;
    }
    let elements = (open.saturating_add(1)..).map_while(|at| tokens.token(at)).take_while(|token| **token != Token::RBracket);
    !elements.into_iter().all(|token| {
        matches!(token, Token::Number(..) | Token::SingleQuotedString(_) | Token::Comma | Token::Minus | Token::Placeholder(_))
    })
}

fn reads_only(tokens: &Tokens<'_>, at: usize, word: &str) -> Result<(), Refusal> {
    if word == "for" && tokens.word(at.saturating_add(1)).is_some_and(|next| LOCKS.contains(&next.as_str())) {
        return Err(Refusal::new(Code::NotAQuery, "rows cannot be locked here").hint("drop FOR UPDATE / FOR SHARE"));
    }
    if WRITES.contains(&word) {
        return Err(Refusal::new(Code::NotAQuery, format!("`{word}` writes"))
            .hint(format!("nothing can be written through this tool; if it is a column's name, quote it: `\"{word}\"`")));
    }
    let operator = word == "operator" && tokens.is(at.saturating_add(1), &Token::LParen);
    if operator
        && tokens.is(at.saturating_add(3), &Token::Period)
        && tokens.name(at.saturating_add(2)).as_deref() != Some("pg_catalog")
    {
        return Err(Refusal::new(Code::FunctionNotAllowed, "operators of other schemas than `pg_catalog` cannot be named"));
    }
    if word == "current_schema" && !tokens.is(at.saturating_add(1), &Token::LParen) {
        return Err(keyword_current_schema());
    }
    Ok(())
}

fn check_type(tokens: &Tokens<'_>, at: usize, name: &str) -> Result<(), Refusal> {
    // After a dot it is a column, unless the name before the dot is a catalog's.
    let a_column = tokens.before(at) == Some(&Token::Period) && tokens.qualifier(at).as_deref() != Some("pg_catalog");
    if REFUSED_TYPES.contains(&name) && !a_column {
        return Err(looks_up_names());
    }
    Ok(())
}

/// A word before a parenthesis may be called; a word after a dot may be called on what stands before the dot.
fn check_call(
    tokens: &Tokens<'_>,
    at: usize,
    name: &str,
    reachable: &BTreeSet<String>,
    names: &Names<'_>,
) -> Result<Vec<String>, Refusal> {
    let before_parenthesis = tokens.is(at.saturating_add(1), &Token::LParen);
    let after_dot = tokens.before(at) == Some(&Token::Period);
    let qualifier = tokens.qualifier(at);
    if before_parenthesis {
        if REFUSED_GRAMMAR.contains(&name) {
            return Err(refuse(&Called { schema: None, name: name.to_owned() }));
        }
        let called = Called { schema: qualifier, name: name.to_owned() };
        return allowed_overloads(&called, reachable, names);
    }
    // `c.email` of a granted column is a column; `(…).email` may be any function of one argument.
    let granted = || names.grants.relations.values().any(|grant| grant.columns.contains_key(name));
    if after_dot && !(qualifier.is_some() && granted()) {
        return allowed_overloads(&Called { schema: None, name: name.to_owned() }, reachable, names);
    }
    Ok(Vec::new())
}

fn allowed_overloads(called: &Called, reachable: &BTreeSet<String>, names: &Names<'_>) -> Result<Vec<String>, Refusal> {
    if names.snapshot.governed.functions.contains(&called.name)
        && called.schema.as_deref().is_none_or(|schema| schema == "pg_catalog")
    {
        return Ok(vec![format!("pg_catalog.{}", called.name)]);
    }
    let mut found = Vec::new();
    for function in candidates(called, reachable, names) {
        if !is_allowed(&called.name, function, names) {
            return Err(refuse(called));
        }
        found.push(format!("{}.{}", function.schema, called.name));
    }
    Ok(found)
}

/// `S . R` leads to the profile if S is a schema in which R is granted, and no dot stands before S; so for the governed catalog.
fn redirect(tokens: &Tokens<'_>, at: usize, schema: &str, names: &Names<'_>) -> Option<String> {
    if tokens.before(at) == Some(&Token::Period) || !tokens.is(at.saturating_add(1), &Token::Period) {
        return None;
    }
    let name = tokens.name(at.saturating_add(2))?;
    if schema == "pg_catalog"
        && names.snapshot.governed.functions.contains(&name)
        && tokens.is(at.saturating_add(3), &Token::LParen)
    {
        return Some(CATALOG.to_owned());
    }
    if let Some(target) = names.snapshot.governed.schema_of(schema, &name) {
        return Some(target.to_owned());
    }
    names.grants.relations.contains_key(&RelationName::new(schema, name)).then(|| names.schemas.get(schema).cloned()).flatten()
}
