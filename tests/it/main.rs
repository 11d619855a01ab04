//! The integration tests: one binary, a module per subject.

mod golden;
mod model;
mod support;
