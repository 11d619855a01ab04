//! What the pages of `proto-docs` promise of the tests: that those which they name are there.

use std::path::Path;

const COMPARISON: &str = include_str!("../../proto-docs/comparison.md");
const COLUMNS: usize = 9;

/// The rows of the table of features, as cells.
fn rows(page: &str) -> Vec<Vec<&str>> {
    let rows = page.lines().filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |"));
    rows.skip(1).map(|row| row.split(" | ").collect()).collect()
}

/// What stands between backticks and is the path of a test.
fn tests(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).filter(|code| code.contains("::")).collect()
}

/// Whether the sources have the test. A path is that of a file, or of a module below `tests/it`.
fn is_there(test: &str) -> bool {
    let (place, name) = test.rsplit_once("::").expect("a path");
    let file =
        if place.ends_with(".rs") { place.to_owned() } else { format!("tests/it/{}.rs", place.replace("::", "/")) };
    let source = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap_or_default();
    source.contains(&format!("fn {name}("))
}

/// What is wrong with a row, if anything.
fn flaw(row: &[&str]) -> Option<String> {
    let [feature, .., verdict, shown] = row else { return Some(format!("no row: {row:?}")) };
    let (tests, reason) =
        (tests(shown), shown.split('`').step_by(2).any(|words| words.contains(' ') && words.len() > 20));
    let missing: Vec<_> = tests.iter().filter(|test| !is_there(test)).collect();
    match *verdict {
        _ if row.len() != COLUMNS => Some(format!("{feature}: {} columns", row.len())),
        _ if !missing.is_empty() => Some(format!("{feature}: there is no {missing:?}")),
        "yes" if !tests.is_empty() => None,
        "partly" if !tests.is_empty() && reason => None,
        "no" if reason => None,
        verdict => Some(format!("{feature}: {verdict} without what belongs to it")),
    }
}

#[test]
fn the_comparison_names_tests_that_are_there() {
    let rows = rows(COMPARISON);
    assert!(rows.len() >= 20, "{} rows", rows.len());
    let flaws: Vec<_> = rows.iter().filter_map(|row| flaw(row)).collect();
    assert!(flaws.is_empty(), "{}", flaws.join("\n"));
}

#[test]
fn what_a_row_lacks_is_found() {
    let row = |verdict, shown| flaw(&["a feature", "no", "no", "no", "no", "no", "no", verdict, shown]);
    let good = "`docs::what_a_row_lacks_is_found`";
    assert_eq!(row("yes", good), None);
    assert_eq!(row("yes", "`src/domain/token.rs::half_a_life`"), None);
    assert_eq!(row("no", "nobody has asked for it until now"), None);
    for (verdict, shown) in [
        ("yes", "it works, nobody doubts that at all"),
        ("yes", "`docs::no_such_test`"),
        ("yes", "`no_such_module::what_a_row_lacks_is_found`"),
        ("partly", good),
        ("no", ""),
        ("perhaps", good),
    ] {
        assert!(row(verdict, shown).is_some(), "{verdict}: {shown}");
    }
    assert!(flaw(&["too", "short", "yes", good]).is_some());
}
