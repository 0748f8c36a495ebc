//! Pointing the schema names of a statement at a profile, inside the agent's own text.
//!
//! Takes text, tree and the places of schema names; gives the text to send and how to map places in it back.
//! Never changes anything but schema tokens (and the schema inside a literal that is cast to `regclass`), and sends nothing whose tree differs from the agent's by more than these names.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use sqlparser::ast::{Ident, Query, Value, ValueWithSpan, VisitMut, VisitorMut};

use super::proof::{Piece, Unproved};
use super::read::{self, Misread};
use super::walk::Walk;

/// What stands instead of a token: by line and column of the token, the name or the literal's content that is sent.
pub type Redirects = BTreeMap<(u64, u64), String>;

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
pub fn splice(pieces: &[Piece], tree: &Query, walk: &Walk) -> Result<(String, Edits), Misread> {
    let (text, edits) = apply(pieces, &walk.redirects)?;
    if walk.redirects.is_empty() {
        return Ok((text, edits));
    }
    let mut renamed = tree.clone();
    let mut renamer = Renamer { redirects: &walk.redirects };
    let _ = VisitMut::visit(&mut renamed, &mut renamer);
    let reread = read::parse(&read::lex(&text)?)?;
    if *reread == renamed { Ok((text, edits)) } else { Err(broken()) }
}

fn broken() -> Misread {
    Misread::Unproved(Unproved("a schema name could not be redirected"))
}

/// Puts each redirect in the place of its token.
pub fn apply(pieces: &[Piece], redirects: &Redirects) -> Result<(String, Edits), Misread> {
    let mut text = String::new();
    let mut edits = Vec::with_capacity(redirects.len());
    let mut chars = 0_usize;
    for piece in pieces {
        let start = piece.token.span.start;
        let replacement = redirects.get(&(start.line, start.column));
        let piece_text = match (replacement, piece.text.chars().next()) {
            // Our names hold no quotes, and literals keep what the agent wrote around them.
            (Some(target), Some(quote @ ('"' | '\''))) => format!("{quote}{target}{quote}"),
            (Some(target), _) => target.clone(),
            (None, _) => piece.text.clone(),
        };
        let sent = piece_text.chars().count();
        if replacement.is_some() {
            edits.push(Edit { at: chars, sent, original: piece.text.chars().count() });
        }
        chars = chars.saturating_add(sent);
        text.push_str(&piece_text);
    }
    if edits.len() == redirects.len() { Ok((text, Edits(edits))) } else { Err(broken()) }
}

struct Renamer<'a> {
    redirects: &'a Redirects,
}

impl VisitorMut for Renamer<'_> {
    type Break = ();

    fn pre_visit_ident(&mut self, ident: &mut Ident) -> ControlFlow<()> {
        let start = ident.span.start;
        if let Some(target) = self.redirects.get(&(start.line, start.column)) {
            ident.value.clone_from(target);
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_value(&mut self, value: &mut ValueWithSpan) -> ControlFlow<()> {
        let start = value.span.start;
        if let (Some(target), Value::SingleQuotedString(text)) = (self.redirects.get(&(start.line, start.column)), &mut value.value)
        {
            text.clone_from(target);
        }
        ControlFlow::Continue(())
    }
}
