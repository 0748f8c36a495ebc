//! Pointing the schema names of a statement at a profile, inside the agent's own text.
//!
//! Takes text, tree and the places of schema names; gives the text to send and how to map places in it back.
//! Never changes anything but schema tokens, and sends nothing whose tree differs from the agent's by more than these names.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use sqlparser::ast::{Ident, Query, VisitMut, VisitorMut};

use super::Names;
use super::proof::{Piece, Unproved};
use super::read;
use super::walk::Walk;
use crate::model::refusal::Refusal;

/// Where the sent text differs from the agent's, in characters.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Edits(Vec<Edit>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Edit {
    /// First character of the token in the sent text, from 0.
    at: usize,
    /// Characters there.
    sent: usize,
    /// Characters in the agent's text.
    original: usize,
}

impl Edits {
    /// Maps a place in the sent text (characters from 1) to the agent's text.
    pub fn original_position(&self, position: u32) -> u32 {
        let place = usize::try_from(position).unwrap_or(usize::MAX).saturating_sub(1);
        let mut original = place;
        for edit in self.0.iter().take_while(|edit| edit.at < place) {
            if place < edit.at.saturating_add(edit.sent) {
                // Inside a schema token: its beginning.
                original = original.saturating_sub(place.saturating_sub(edit.at));
            } else {
                original = original.saturating_add(edit.original).saturating_sub(edit.sent);
            }
        }
        u32::try_from(original.saturating_add(1)).unwrap_or(u32::MAX)
    }
}

/// Splices the profile's schemas into the text and proves the result.
pub fn splice(pieces: &[Piece], tree: &Query, walk: &Walk, names: &Names<'_>) -> Result<(String, Edits), Refusal> {
    if walk.schema_tokens.is_empty() {
        return Ok((pieces.iter().map(|piece| piece.text.as_str()).collect(), Edits::default()));
    }
    let broken = || read::not_understood(Unproved("a schema name could not be redirected"));
    let mut text = String::new();
    let mut edits = Vec::with_capacity(walk.schema_tokens.len());
    let mut chars = 0_usize;
    for piece in pieces {
        let start = piece.token.span.start;
        let replacement = walk.schema_tokens.get(&(start.line, start.column)).and_then(|schema| names.schemas.get(schema));
        let piece_text = match replacement {
            Some(schema) if piece.text.starts_with('"') => format!("\"{schema}\""),
            Some(schema) => schema.clone(),
            None => piece.text.clone(),
        };
        let sent = piece_text.chars().count();
        if replacement.is_some() {
            edits.push(Edit { at: chars, sent, original: piece.text.chars().count() });
        }
        chars = chars.saturating_add(sent);
        text.push_str(&piece_text);
    }
    if edits.len() != walk.schema_tokens.len() {
        return Err(broken());
    }
    let mut renamed = tree.clone();
    let mut renamer = Renamer { tokens: &walk.schema_tokens, names };
    if VisitMut::visit(&mut renamed, &mut renamer).is_break() {
        return Err(broken());
    }
    let (_, reread) = read::parse(&text)?;
    if *reread == renamed { Ok((text, Edits(edits))) } else { Err(broken()) }
}

struct Renamer<'a, 'n> {
    tokens: &'a BTreeMap<(u64, u64), String>,
    names: &'a Names<'n>,
}

impl VisitorMut for Renamer<'_, '_> {
    type Break = ();

    fn pre_visit_ident(&mut self, ident: &mut Ident) -> ControlFlow<()> {
        let start = ident.span.start;
        if let Some(schema) = self.tokens.get(&(start.line, start.column)) {
            match self.names.schemas.get(schema) {
                Some(target) => ident.value.clone_from(target),
                None => return ControlFlow::Break(()),
            }
        }
        ControlFlow::Continue(())
    }
}
