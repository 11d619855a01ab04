//! chunkgate: a gate in front of an upload core.
//!
//! Every request proves who is asking (`auth`, the gate), then one core (`uploads`) receives bytes, keeps them, and
//! knows how far it got. Several wire protocols (the doors, `http`) share that one core.
//!
//! ```text
//! roof      app · cli · config · telemetry     compose; nobody imports them
//! doors     http                               speak HTTP
//! services  auth · uploads                     decide; know no protocol
//! seams     content · db                       keep bytes, keep facts
//! ground    domain · meter · worker            plain data, pure rules, what counts, tasks
//! ```
//!
//! A floor imports only what lies below it; `tests/it/floors.rs` holds the table. The whole picture is in
//! `ARCHITECTURE.md`.

pub mod app;
pub mod auth;
pub mod cli;
pub mod config;
pub mod content;
pub mod db;
pub mod domain;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
pub mod http;
pub mod meter;
pub mod telemetry;
pub mod uploads;
pub mod worker;
