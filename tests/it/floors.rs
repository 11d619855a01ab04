//! The floors of the house, read from the sources.
//!
//! One crate cannot make the compiler hold its layers apart, so this test reads every file below `src/`, collects the
//! paths that begin with `crate::`, and compares them with the table below. `ARCHITECTURE.md` gives the reasons.

use std::{fs, path::Path};

/// Which modules each module may name. The roof names whatever it likes, and nobody names the roof.
const FLOORS: &[(&str, &[&str])] = &[
    ("http", &["auth", "uploads", "domain", "meter", "worker"]),
    ("auth", &["content", "db", "domain", "meter", "worker"]),
    ("uploads", &["content", "db", "domain", "meter", "worker"]),
    ("content", &["domain", "meter", "worker"]),
    ("db", &["domain", "meter", "worker"]),
    ("worker", &["domain"]),
    ("meter", &[]),
    ("domain", &[]),
];
const ROOF: &[&str] = &["main", "lib", "cli", "app", "config", "telemetry", "fuzzing"];
/// Files of `src/http` that are doors; what is not a door is shared by them.
const DOORS: &[&str] = &["multipart", "raw", "tus", "rufh", "api", "downloads", "admin", "site"];
/// Crates and makers of proofs that only these files (by the beginning of their path) may name, with the invariant.
const KEPT_APART: &[(&str, &[&str], &str)] = &[
    (
        "axum",
        &["http/", "app.rs", "cli/identity", "fuzzing/"],
        "Only `http`, `app`, the reference identity server and the properties that fuzzers try know axum, status codes and \
         headers.",
    ),
    ("sqlx", &["db/"], "Only `db` knows sqlx."),
    ("reqwest", &["auth/identity", "cli/"], "Only the identity client and the command line hold an HTTP client."),
    (
        "of_the_shell",
        &["domain/operators.rs", "cli/"],
        "Only the command line, with the database itself in hand, is an operator without a proof.",
    ),
];

#[test]
fn every_module_stays_on_its_floor() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    gather(&root, &root, &mut files);
    assert!(files.len() > 10, "the sources were not found below {}", root.display());
    let wrong: Vec<String> = files.iter().flat_map(|(file, text)| violations(file, text)).collect();
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

#[test]
fn what_breaks_a_floor_is_found() {
    for (file, text) in [
        ("uploads/mod.rs", "use crate::http::AppState;"),
        ("uploads/mod.rs", "use crate::{domain::upload::{At, Claim}, auth::AuthError};"),
        ("auth/mod.rs", "fn f() { crate::uploads::go() }"),
        ("http/api.rs", "use crate::{\n    db::{self, Page},\n    domain::UploadId,\n};"),
        ("http/api.rs", "use crate::{content::ContentError};"),
        ("http/api.rs", "use super::multipart::Settings;"),
        ("http/api.rs", "use super::{AppState, multipart::{self}};"),
        ("http/api.rs", "use crate::http::multipart;"),
        ("content/local.rs", "use crate::db;"),
        ("content/local.rs", "use crate::*;"),
        ("db/mod.rs", r#"#[serde(with = "crate::config::size")] struct S;"#),
        ("domain/mod.rs", "use crate::worker::Tasks;"),
        ("attic.rs", "use crate::domain;"),
        ("uploads/mod.rs", "let s = axum::http::StatusCode::OK;"),
        ("uploads/mod.rs", r#"let url = "http://x"; use axum::Router;"#),
        ("auth/mod.rs", "use sqlx::Row;"),
        ("http/site.rs", "use reqwest::Client;"),
        ("http/admin/users.rs", "let by = Operator::of_the_shell();"),
        ("uploads/mod.rs", "let home = std::env::var(\"HOME\");"),
        ("uploads/mod.rs", "use std::{env, time::Duration};"),
    ] {
        assert!(!violations(file, text).is_empty(), "not found in {file}: {text}");
    }
}

#[test]
fn what_keeps_its_floor_is_left_alone() {
    for (file, text) in [
        ("app.rs", "use crate::{config::Config, db, http, uploads::Uploads}; use axum::Router; use std::env;"),
        ("http/multipart.rs", "use super::{AppState, headers::ContentRange}; use crate::uploads::Append;"),
        ("http/mod.rs", "mod multipart; use crate::http::multipart::Settings; use axum::Router;"),
        ("uploads/mod.rs", "use crate::{content::ContentStore, db::{self}, domain::{Clock}, worker::Tasks};"),
        ("uploads/mod.rs", "// crate::http, axum, std::env\n/* sqlx /* nested */ reqwest */\nfn f<'a>(x: &'a str) {}"),
        ("uploads/mod.rs", r##"let s = "\"axum"; let c = '"'; let r = r#"sqlx " reqwest"#; let axum_like = 1;"##),
        ("uploads/mod.rs", r#"let version = env!("CARGO_PKG_VERSION");"#),
        ("auth/identity.rs", "use reqwest::Client;"),
        ("cli/identity.rs", "use axum::Router; use crate::auth;"),
        ("domain/upload.rs", "use super::digest::Digest; use crate::domain::UploadId;"),
    ] {
        assert_eq!(violations(file, text), Vec::<String>::new(), "{file}: {text}");
    }
}

// ---- the rules -----------------------------------------------------------------------------------------------------

/// What is wrong with a file, a line each. `file` is its path below `src`.
fn violations(file: &str, text: &str) -> Vec<String> {
    let code = without_comments(text);
    let mut wrong = foreign_crates(file, &code.without_strings);
    let module = module_of(file);
    if ROOF.contains(&module) {
        return wrong;
    }
    let Some((_, allowed)) = FLOORS.iter().find(|(name, _)| *name == module) else {
        wrong.push(format!("src/{file}: every module stands on a floor; put `{module}` into the table of this test."));
        return wrong;
    };
    for path in paths(&code.with_strings, "crate") {
        let top = path.first().map_or("", String::as_str);
        if top != module && !allowed.contains(&top) {
            wrong.push(format!(
                "src/{file} names crate::{top}: a floor imports only what lies below it; `{module}` may name {allowed:?}."
            ));
        }
    }
    if paths(&code.without_strings, "std").iter().any(|path| path.first().is_some_and(|name| name == "env")) {
        wrong.push(format!("src/{file} names std::env: nothing below the roof reads the environment."));
    }
    wrong.extend(other_doors(file, &code.without_strings));
    wrong
}

fn foreign_crates(file: &str, code: &str) -> Vec<String> {
    let words: Vec<&str> = code.split(|c: char| !is_word(c)).collect();
    let broken = |(name, homes, _): &&(&str, &[&str], &str)| {
        words.contains(name) && !homes.iter().any(|home| file.starts_with(home))
    };
    KEPT_APART.iter().filter(broken).map(|(name, _, why)| format!("src/{file} names {name}: {why}")).collect()
}

/// No door imports a door.
fn other_doors(file: &str, code: &str) -> Vec<String> {
    let Some(name) = file.strip_prefix("http/").and_then(|rest| rest.split(['/', '.']).next()) else { return vec![] };
    if !DOORS.contains(&name) {
        return vec![];
    }
    let absolute =
        paths(code, "crate").into_iter().filter(|path| path[0] == "http").filter_map(|path| path.get(1).cloned());
    let beside = paths(code, "super").into_iter().filter_map(|path| path.first().cloned());
    absolute
        .chain(beside)
        .filter(|other| other != name && DOORS.contains(&other.as_str()))
        .map(|other| format!("src/{file} names the door `{other}`: no door imports a door."))
        .collect()
}

fn module_of(file: &str) -> &str {
    file.split(['/', '.']).next().unwrap_or(file)
}

// ---- reading Rust, as far as this takes --------------------------------------------------------------------------

/// Every path that follows `root::`, with the groups of `use` spelled out.
fn paths(code: &str, root: &str) -> Vec<Vec<String>> {
    let start = format!("{root}::");
    let mut found = Vec::new();
    for (at, _) in code.match_indices(&start) {
        let before = code[..at].chars().next_back();
        if !before.is_some_and(|c| is_word(c) || c == ':') {
            tree(&mut code[at + start.len()..].chars().peekable(), &[], &mut found);
        }
    }
    found
}

/// Reads one tree of a `use`: a name, a name and a tree, or a group of trees.
fn tree(code: &mut std::iter::Peekable<std::str::Chars<'_>>, above: &[String], found: &mut Vec<Vec<String>>) {
    skip_space(code);
    if code.next_if_eq(&'{').is_some() {
        loop {
            skip_space(code);
            match code.peek() {
                Some(',') => _ = code.next(),
                Some('}') | None => {
                    code.next();
                    return;
                }
                Some(_) => tree(code, above, found),
            }
        }
    }
    let mut name = String::new();
    while let Some(c) = code.next_if(|c| is_word(*c)) {
        name.push(c);
    }
    if name.is_empty() {
        // A glob, or something that is no path.
        name.extend(code.next());
    }
    let path = [above, &[name]].concat();
    let mut ahead = code.clone();
    if ahead.next() == Some(':') && ahead.next() == Some(':') {
        *code = ahead;
        return tree(code, &path, found);
    }
    found.push(path);
    // `a as b`
    while code.next_if(|c| *c == ' ' || is_word(*c)).is_some() {}
}

fn skip_space(code: &mut std::iter::Peekable<std::str::Chars<'_>>) {
    while code.next_if(|c| c.is_whitespace()).is_some() {}
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

struct Code {
    with_strings: String,
    without_strings: String,
}

/// The source without comments; attributes name modules in strings, so both ways are kept.
fn without_comments(text: &str) -> Code {
    let mut code = Code { with_strings: String::new(), without_strings: String::new() };
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let after_word = code.without_strings.chars().next_back().is_some_and(is_word);
        let (length, is_string) = match comment(rest) {
            Some(length) => {
                code.with_strings.push(' ');
                code.without_strings.push(' ');
                rest = &rest[length..];
                continue;
            }
            None => match string(rest, after_word) {
                Some(length) => (length, true),
                None => (first.len_utf8(), false),
            },
        };
        code.with_strings.push_str(&rest[..length]);
        code.without_strings.push_str(if is_string { "\"\"" } else { &rest[..length] });
        rest = &rest[length..];
    }
    code
}

/// Length of the comment that begins here.
fn comment(text: &str) -> Option<usize> {
    if text.starts_with("//") {
        return Some(text.find('\n').unwrap_or(text.len()));
    }
    if !text.starts_with("/*") {
        return None;
    }
    let (mut depth, mut at) = (0, 0);
    while at < text.len() {
        match &text.as_bytes()[at..] {
            [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
            [b'*', b'/', ..] if depth == 1 => return Some(at + 2),
            [b'*', b'/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
    }
    Some(text.len())
}

/// Length of the string or character literal that begins here.
fn string(text: &str, after_word: bool) -> Option<usize> {
    if let Some(inner) = text.strip_prefix('"') {
        return Some(1 + closing(inner, '"'));
    }
    if let Some(inner) = text.strip_prefix('\'') {
        let mut chars = inner.chars();
        return match (chars.next(), chars.next()) {
            (Some('\\'), _) => Some(1 + closing(inner, '\'')),
            (Some(c), Some('\'')) => Some(1 + c.len_utf8() + 1),
            // A lifetime.
            _ => None,
        };
    }
    let inner = text.strip_prefix('r').filter(|_| !after_word)?;
    let hashes = inner.len() - inner.trim_start_matches('#').len();
    let content = inner[hashes..].strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(hashes));
    Some(1 + hashes + 1 + content.find(&end).map_or(content.len(), |at| at + end.len()))
}

/// Length up to and with the closing quote; a backslash takes the next character along.
fn closing(inner: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in inner.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if c == quote => return at + c.len_utf8(),
            _ => {}
        }
    }
    inner.len()
}

/// Every `.rs` file below `folder`, with its path below `root`.
fn gather(root: &Path, folder: &Path, files: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(folder).expect("a folder of sources") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            gather(root, &path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let file = path.strip_prefix(root).expect("below the root").to_string_lossy().replace('\\', "/");
            files.push((file, fs::read_to_string(&path).expect("a source file")));
        }
    }
}
