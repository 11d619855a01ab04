//! The integration tests: one binary, a module per subject.

mod cli;
mod config;
mod db;
mod gate;
mod golden;
mod identity;
mod invariants;
mod model;
mod support;
mod wire;
