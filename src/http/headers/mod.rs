//! Wire grammars of single headers: pure, total, strict where bytes are at stake and tolerant where only looks are.
//!
//! A grammar takes text and answers with a value; it never reads a request, and what a value means for an upload is
//! decided elsewhere.

pub mod dates;
pub mod digests;
pub mod disposition;
pub mod ranges;
pub mod validators;
