//! The integration tests: one binary, a module per subject.

#![allow(clippy::disallowed_methods, reason = "a test waits for its tasks itself and may look at the clock")]

mod accounts;
mod admin;
mod broken_lines;
mod cli;
mod config;
mod conformance;
mod content;
mod cors;
mod cost;
mod cross_site;
mod db;
mod delegated;
mod docs;
mod events;
mod faults;
mod floors;
mod gate;
mod gatekeeping;
mod golden;
mod identity;
mod invariants;
mod limits;
mod local;
mod metrics;
mod model;
mod native;
mod pages;
mod patience;
mod proofs;
mod proxies;
mod raw;
mod realms;
mod recent;
mod revalidation;
mod signature_v2;
mod support;
mod tokens;
mod tus;
mod whole_digests;
mod wire;
