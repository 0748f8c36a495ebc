//! From text to one parse tree.
//!
//! Takes the agent's text, gives tokens and a query whose every character was consumed. Never accepts a second statement or another root.
//! What the tokens alone forbid is refused here; what our parser cannot read is [`Misread::Unproved`], and PostgreSQL will judge it.

use sqlparser::ast::{LimitClause, Query, SetExpr, Statement as Tree};
use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::parser::{Parser, ParserError, ParserOptions};
use sqlparser::tokenizer::Token;

use super::proof::{self, Piece, Unproved};
use super::words;
use super::{MAX_CHAIN, MAX_DEPTH, MAX_SQL_BYTES};
use crate::model::refusal::{Code, Refusal};

/// Why a text has no tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Misread {
    /// It must not run, whoever reads it.
    Refused(Refusal),
    /// Our parser, or a proof, gave up: that is not the agent's mistake.
    Unproved(Unproved),
}

impl From<Refusal> for Misread {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// Cuts a text into proved tokens that have the shape of one query.
pub fn lex(sql: &str) -> Result<Vec<Piece>, Refusal> {
    if sql.len() > MAX_SQL_BYTES {
        return Err(Refusal::new(Code::StatementTooLong, format!("the statement is longer than {MAX_SQL_BYTES} bytes"))
            .hint("pass long lists as a bind parameter, for instance `= any($1::int[])`"));
    }
    let pieces = proof::lex(sql).map_err(not_understood)?;
    check_shape(&pieces)?;
    Ok(pieces)
}

/// The refusal for text whose very tokens could not be proved.
pub fn not_understood(why: Unproved) -> Refusal {
    Refusal::new(Code::StatementNotUnderstood, format!("the statement could not be read with certainty: {}", why.0))
        .hint("write it in plainer SQL: one SELECT, standard quoting, spaces around operators and names")
}

/// Counts and first words: what can be said without parsing, and said better than a parser would.
fn check_shape(pieces: &[Piece]) -> Result<(), Refusal> {
    let mut words = pieces.iter().filter(|piece| !matches!(piece.token.token, Token::Whitespace(_)));
    let first = words.find(|piece| !matches!(piece.token.token, Token::LParen | Token::SemiColon));
    let Some(first) = first else {
        if pieces.iter().any(|piece| piece.token.token == Token::LParen) {
            return Err(not_understood(Unproved("there is nothing but parentheses")));
        }
        return Err(Refusal::new(Code::StatementEmpty, "there is no SQL statement in the text"));
    };
    let chain = pieces.iter().filter(|piece| deepens(&piece.token.token)).count();
    if chain > MAX_CHAIN {
        return Err(Refusal::new(Code::StatementTooLong, format!("the statement has more than {MAX_CHAIN} operators"))
            .hint("use IN, `= any($1::int[])` or a join on VALUES instead of a long chain"));
    }
    if semicolon_inside(pieces) {
        return Err(Refusal::new(Code::SeveralStatements, "there is more than one statement in the text")
            .hint("send one statement per call"));
    }
    let word = match &first.token.token {
        Token::Word(word) if word.quote_style.is_none() => word.value.to_ascii_lowercase(),
        _ => return Err(not_understood(Unproved("it does not begin like a query"))),
    };
    if words::starts_query(&word) { Ok(()) } else { Err(not_a_query(&word)) }
}

fn not_a_query(word: &str) -> Refusal {
    let refusal = Refusal::new(Code::NotAQuery, "only a query (SELECT, WITH … SELECT, VALUES) is run here");
    match word {
        "explain" => refusal
            .hint("a plan counts hidden rows and is not shown; the tool `explain` says what a statement reads and why it may run"),
        "show" | "describe" | "desc" => refusal.hint("use the tool `describe`"),
        word if words::starts_other(word) => refusal.hint("nothing can be written, set or defined through this tool"),
        _ => refusal.hint("begin with SELECT, WITH or VALUES"),
    }
}

fn deepens(token: &Token) -> bool {
    match token {
        Token::Word(word) => {
            word.quote_style.is_none()
                && ["and", "or", "union", "intersect", "except", "not", "is", "like", "ilike", "collate", "at"]
                    .iter()
                    .any(|keyword| word.value.eq_ignore_ascii_case(keyword))
        }
        Token::Whitespace(_)
        | Token::Number(..)
        | Token::SingleQuotedString(_)
        | Token::Comma
        | Token::Period
        | Token::LParen
        | Token::RParen
        | Token::SemiColon => false,
        _ => true,
    }
}

fn semicolon_inside(pieces: &[Piece]) -> bool {
    pieces
        .iter()
        .map(|piece| &piece.token.token)
        .filter(|token| !matches!(token, Token::Whitespace(_)))
        .skip_while(|token| **token == Token::SemiColon)
        .skip_while(|token| **token != Token::SemiColon)
        .any(|token| *token != Token::SemiColon)
}

/// Parses proved tokens into one query; nothing else passes.
pub fn parse(pieces: &[Piece]) -> Result<Box<Query>, Misread> {
    let dialect = PostgreSqlDialect {};
    let tokens = pieces.iter().map(|piece| piece.token.clone()).collect();
    let mut parser = Parser::new(&dialect)
        .with_options(ParserOptions::new().with_unescape(false))
        .with_recursion_limit(MAX_DEPTH)
        .with_tokens_with_locations(tokens);
    while parser.consume_token(&Token::SemiColon) {}
    let tree = parser.parse_statement().map_err(|error| refuse_parse(&error))?;
    while parser.consume_token(&Token::SemiColon) {}
    if parser.peek_token().token != Token::EOF {
        return Err(Misread::Unproved(Unproved("it goes on after what looks like its end")));
    }
    match tree {
        Tree::Query(query) if is_query(&query.body) => Ok(query),
        Tree::Query(_) => Err(not_a_query("insert").into()),
        _ => Err(not_a_query("").into()),
    }
}

fn refuse_parse(error: &ParserError) -> Misread {
    match error {
        ParserError::RecursionLimitExceeded => {
            Refusal::new(Code::StatementTooLong, format!("the statement is nested deeper than {MAX_DEPTH} levels"))
                .hint("use WITH to flatten it")
                .into()
        }
        ParserError::TokenizerError(_) | ParserError::ParserError(_) => {
            Misread::Unproved(Unproved("it is not SQL that our own parser reads"))
        }
    }
}

/// Whether the body of the root query only reads.
fn is_query(body: &SetExpr) -> bool {
    match body {
        SetExpr::Select(_) | SetExpr::Values(_) | SetExpr::Table(_) => true,
        SetExpr::Query(query) => is_query(&query.body),
        SetExpr::SetOperation { left, right, .. } => is_query(left) && is_query(right),
        SetExpr::Insert(_) | SetExpr::Update(_) | SetExpr::Delete(_) | SetExpr::Merge(_) => false,
    }
}

/// Whether the outermost query is limited.
pub fn has_limit(query: &Query) -> bool {
    let limited = match &query.limit_clause {
        Some(LimitClause::LimitOffset { limit, .. }) => limit.is_some(),
        Some(LimitClause::OffsetCommaLimit { .. }) => true,
        None => false,
    };
    limited || query.fetch.is_some()
}
