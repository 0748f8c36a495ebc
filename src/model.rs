//! The words of the product as types (the glossary is DESIGN §2). Layer 1: uses nothing of ours but `clock`.
//!
//! Takes nothing. Gives the values that every layer hands to the next. Never does I/O.

pub mod call;
pub mod decision;
pub mod ending;
pub mod entry;
pub mod grants;
pub mod mask;
pub mod names;
pub mod principal;
pub mod refusal;
pub mod snapshot;
pub mod statement;
pub mod task;
pub mod text;
