//! Properties of the parsers that read what strangers send: each a function of bytes that panics where one does not hold.
//!
//! Fuzzers look for such bytes (`fuzz/`), and a test below gives every kept seed to the same functions. Compiled for
//! those two alone, so it stands on the roof and sees whatever it likes. What holds is said by the plainest rule that can
//! be written down, and never by the code that is judged. Whatever stands for a secret carries the text `S3CR3T`, and no
//! refusal may repeat that.

mod authorization;
mod credentials;
mod forms;
mod headers;
mod identity_answer;
mod message_signature;
mod origins;
mod upload_token;

pub use authorization::authorization;
pub use credentials::credentials;
pub use forms::forms;
pub use headers::headers;
pub use identity_answer::identity_answer;
pub use message_signature::message_signature;
pub use origins::origins;
pub use upload_token::upload_token;

/// Stands in what is secret.
const MARK: &str = "S3CR3T";
/// Lines of an input that are read. More would only be slower.
const MAX_LINES: usize = 32;

/// The lines of an input, each a letter that says what it is, a blank, and the rest.
fn lines(data: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    data.split(|byte| *byte == b'\n').take(MAX_LINES).filter_map(|line| match line {
        [what, b' ', rest @ ..] => Some((*what, rest)),
        [what] => Some((*what, &[][..])),
        _ => None,
    })
}

/// As `http::extract` reads bytes.
fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Name and value of a line `name=value`.
fn pair(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = line.iter().position(|byte| *byte == b'=')?;
    Some((&line[..at], &line[at + 1..]))
}

#[cfg(test)]
mod tests {
    use std::{
        collections::{BTreeMap, BTreeSet},
        fs,
        path::{Path, PathBuf},
    };

    use super::*;

    type Target = (&'static str, fn(&[u8]));

    const TARGETS: [Target; 8] = [
        ("authorization", authorization),
        ("credentials", credentials),
        ("forms", forms),
        ("headers", headers),
        ("identity_answer", identity_answer),
        ("message_signature", message_signature),
        ("origins", origins),
        ("upload_token", upload_token),
    ];

    fn folder(name: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz").join(name)
    }

    fn entries(folder: &Path) -> Vec<PathBuf> {
        let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        entries.map(|entry| entry.expect("an entry").path()).collect()
    }

    fn stems(folder: &Path) -> BTreeSet<String> {
        entries(folder).iter().filter_map(|path| path.file_stem()?.to_str().map(str::to_owned)).collect()
    }

    fn seeds() -> BTreeMap<&'static str, Vec<PathBuf>> {
        TARGETS.map(|(name, _)| (name, entries(&folder("seeds").join(name)))).into()
    }

    #[test]
    fn every_kept_seed_holds() {
        let holds = |property: fn(&[u8]), seed: &Path| {
            let bytes = fs::read(seed).expect("a seed");
            std::panic::catch_unwind(|| property(&bytes)).is_ok()
        };
        let mut broken = Vec::new();
        for (name, property) in TARGETS {
            let seeds = &seeds()[name];
            assert!(!seeds.is_empty(), "{name} has no seeds");
            broken.extend(seeds.iter().filter(|seed| !holds(property, seed)).cloned());
        }
        assert!(broken.is_empty(), "see above how these break a property: {broken:#?}");
    }

    #[test]
    fn every_target_is_built_and_has_seeds_and_a_dictionary() {
        let targets: BTreeSet<String> = TARGETS.map(|(name, _)| name.to_owned()).into();
        for kind in ["fuzz_targets", "seeds", "dictionaries"] {
            assert_eq!(stems(&folder(kind)), targets, "fuzz/{kind}");
        }
        let manifest = fs::read_to_string(folder("Cargo.toml")).expect("fuzz/Cargo.toml");
        let built =
            manifest.lines().filter_map(|line| line.strip_prefix("path = \"fuzz_targets/")?.strip_suffix(".rs\""));
        assert_eq!(built.map(str::to_owned).collect::<BTreeSet<_>>(), targets, "fuzz/Cargo.toml");
    }

    #[test]
    fn the_seeds_stay_few_and_small() {
        let sizes: Vec<u64> = seeds().values().flatten().map(|path| path.metadata().expect("a file").len()).collect();
        assert!(sizes.len() < 300, "{} seeds", sizes.len());
        assert!(sizes.iter().sum::<u64>() < 300 * 1024, "{} bytes of seeds", sizes.iter().sum::<u64>());
    }
}
