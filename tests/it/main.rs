//! The integration tests: one binary, a module per subject.

mod cli;
mod config;
mod db;
mod floors;
mod gate;
mod golden;
mod identity;
mod invariants;
mod model;
mod support;
mod wire;
