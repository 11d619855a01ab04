//! Too little space, for the service alone: a disk of 8 MiB, or files that may not grow.
//!
//! The disk is a tmpfs in a mount namespace of the service's own. Root may mount one; anybody else may where the kernel
//! gives plain users a user namespace.

use std::{path::Path, process::Command};

use super::say;

/// Mounts the folder `$1`, then becomes the command after it.
const MOUNTS: &str = r#"mount -t tmpfs -o size=8m tmpfs "$1" && shift && exec "$@""#;
/// Limits files to 3 MiB (in blocks of 512 bytes), then becomes the command. The signal would end the service.
const LIMITS: &str = r#"trap "" XFSZ; ulimit -f 6144; exec "$@""#;

/// The command below which the disk is at `folder`, if anybody permits it.
pub(super) fn small_disk(folder: &Path) -> Option<Vec<String>> {
    let folder = folder.display().to_string();
    let ways: [&[&str]; 2] = [&["--mount"], &["--map-root-user", "--mount"]];
    let below = |way: &&[&str]| words(&[&["unshare"], *way, &["sh", "-c", MOUNTS, "sh", &folder]].concat());
    ways.iter().map(below).find(|below| is_permitted(below))
}

/// The command below which no file may be longer than 3 MiB.
pub(super) fn short_files() -> Vec<String> {
    words(&["sh", "-c", LIMITS, "sh"])
}

/// Says that a proof cannot run without the disk, and fails where `CI=true`.
pub(super) fn skipped(proof: &str) {
    say(&format!("SKIPPED {proof}: neither root nor a user namespace may mount a tmpfs here"));
    assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "{proof} must run where CI=true");
}

fn is_permitted(below: &[String]) -> bool {
    let tried = Command::new(&below[0]).args(&below[1..]).arg("true").output();
    tried.is_ok_and(|tried| tried.status.success())
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}
