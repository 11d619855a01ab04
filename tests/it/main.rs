//! The integration tests: one binary, a module per subject.

mod config;
mod db;
mod golden;
mod model;
mod support;
