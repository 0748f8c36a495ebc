//! Whether one statement is another one with other schemas: by the trees of both, name by name.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use sqlparser::ast::{Ident, Statement, Visit, VisitMut, Visitor, VisitorMut};
use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::parser::{Parser, ParserOptions};
use sqlparser::tokenizer::Token;

/// The tree of a text, read as the analysis reads it; nothing if it is not one statement.
pub fn parse(sql: &str) -> Option<Statement> {
    let dialect = PostgreSqlDialect {};
    let options = ParserOptions::new().with_unescape(false);
    let mut parser = Parser::new(&dialect).with_options(options).try_with_sql(sql).ok()?;
    while parser.consume_token(&Token::SemiColon) {}
    parser.parse_statement().ok()
}

struct Names(Vec<Ident>);

impl Visitor for Names {
    type Break = ();

    fn pre_visit_ident(&mut self, ident: &Ident) -> ControlFlow<()> {
        self.0.push(ident.clone());
        ControlFlow::Continue(())
    }
}

/// Gives the names of a tree those of another one, in order, where a schema was redirected.
struct Back<'a> {
    names: std::vec::IntoIter<Ident>,
    schemas: &'a BTreeMap<String, String>,
}

impl VisitorMut for Back<'_> {
    type Break = ();

    fn pre_visit_ident(&mut self, ident: &mut Ident) -> ControlFlow<()> {
        let Some(original) = self.names.next() else { return ControlFlow::Break(()) };
        let quoted = original.quote_style.is_some();
        let folded = if quoted { original.value.replace("\"\"", "\"") } else { original.value.to_ascii_lowercase() };
        if self.schemas.get(&folded) == Some(&ident.value) {
            ident.value = original.value;
        }
        ControlFlow::Continue(())
    }
}

/// Whether `sent` is `original` with nothing but schemas renamed.
pub fn is_renamed(original: &str, sent: &str, schemas: &BTreeMap<String, String>) -> bool {
    let (Some(tree), Some(mut back)) = (parse(original), parse(sent)) else { return false };
    let mut names = Names(Vec::new());
    let _ = Visit::visit(&tree, &mut names);
    let mut renamer = Back { names: names.0.into_iter(), schemas };
    VisitMut::visit(&mut back, &mut renamer).is_continue() && renamer.names.next().is_none() && back == tree
}
