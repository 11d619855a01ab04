//! The path patterns of the settings: what they may be, and what becomes of them for one upload.

use std::path::{Component, Path, PathBuf};

use super::Settings;
use crate::domain::{Timestamp, UploadId, principal::User};

/// What a path pattern may name.
const PLACEHOLDERS: [&str; 3] = ["upload_id", "user_id", "realm"];
/// The date parts a path pattern may name, as in strftime.
const DATE_PARTS: &str = "YymdHMSj%";

/// What would mix up files or leave the folder: keys and reasons.
pub(super) fn check(settings: &Settings) -> Vec<(&'static str, String)> {
    let (partial, completed) = (&settings.partial_path, &settings.completed_path);
    let keyed = [("storage.local.partial_path", partial), ("storage.local.completed_path", completed)];
    let mut found: Vec<_> =
        keyed.into_iter().filter_map(|(key, pattern)| Some((key, one(pattern).err()?.to_owned()))).collect();
    if !found.is_empty() {
        return found;
    }
    let name = partial.rsplit('/').next().unwrap_or_default();
    let folder = fixed_part(partial);
    if !name.contains("{upload_id}") || name.contains('%') || folder.as_os_str().is_empty() {
        found.push((keyed[0].0, "must be a folder, then a file name made of {upload_id} without date parts".into()));
    } else if fixed_part(completed).starts_with(&folder) {
        found.push((keyed[1].0, "must lie outside the folder of storage.local.partial_path".into()));
    }
    found
}

/// A pattern names a file below the store's folder, one for each upload.
fn one(pattern: &str) -> Result<(), &'static str> {
    if !pattern.contains("{upload_id}") {
        return Err("must contain {upload_id}, or uploads would overwrite each other");
    }
    if pattern.starts_with('/') {
        return Err("must be relative: it lies below storage.local.path");
    }
    // Names with a dot in front are the store's own: its lock and its probes.
    if pattern.split('/').any(|part| part.is_empty() || part.starts_with('.')) {
        return Err("must stay below storage.local.path: no `..`, empty parts or names that begin with a dot");
    }
    if pattern.contains('\\') || pattern.contains(char::is_control) {
        return Err("must not contain backslashes or control characters");
    }
    let known = |named: &str| named.split_once('}').is_some_and(|(name, _)| PLACEHOLDERS.contains(&name));
    if !pattern.split('{').skip(1).all(known) {
        return Err("may name {upload_id}, {user_id} and {realm}, nothing else in braces");
    }
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        if c == '%' && !chars.next().is_some_and(|part| DATE_PARTS.contains(part)) {
            return Err("may name the date parts %Y %y %m %d %H %M %S %j, and %% for a percent sign");
        }
    }
    Ok(())
}

/// Whether a path has nothing but plain names.
pub(super) fn is_below(path: &Path) -> bool {
    path.components().all(|part| matches!(part, Component::Normal(_)))
}

/// The leading folders of a pattern that are the same for every upload.
pub(super) fn fixed_part(pattern: &str) -> PathBuf {
    let folders = pattern.rsplit_once('/').map_or("", |(folders, _)| folders);
    folders.split('/').take_while(|name| !name.contains(['{', '%'])).collect()
}

pub(super) fn render(pattern: &str, id: UploadId, owner: Option<&User>, created: Timestamp) -> String {
    let dated = jiff::fmt::strtime::format(pattern, created).unwrap_or_else(|_| pattern.to_owned());
    let user = owner.map_or_else(|| "anonymous".to_owned(), |user| user.id.to_string());
    let realm = owner.map_or_else(|| "anonymous".to_owned(), |user| as_file_name(&user.realm));
    dated.replace("{upload_id}", &id.to_string()).replace("{user_id}", &user).replace("{realm}", &realm)
}

/// A realm's name with everything replaced that is not plainly harmless in a path.
fn as_file_name(name: &str) -> String {
    let harmless = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' };
    name.chars().map(harmless).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::UserId;

    fn with(partial: &str, completed: &str) -> Vec<(&'static str, String)> {
        check(&Settings { partial_path: partial.into(), completed_path: completed.into(), ..Settings::default() })
    }

    #[test]
    fn patterns_that_are_refused() {
        assert_eq!(check(&Settings::default()), []);
        assert_eq!(with("p/{upload_id}", "{realm}/{user_id}/{upload_id}"), []);
        for (partial, completed) in [
            ("p/x", "c/{upload_id}"),
            ("p/{upload_id}", "c/x"),
            ("../{upload_id}", "c/{upload_id}"),
            ("/p/{upload_id}", "c/{upload_id}"),
            ("p/{upload_id}", "c/../{upload_id}"),
            ("p/{upload_id}", "p/{upload_id}.done"),
            ("{upload_id}", "c/{upload_id}"),
            ("p/{upload_id}", "c/%!/{upload_id}"),
            ("p/{upload_id}", ".lock/{upload_id}"),
            ("p/{upload_id}", "{filename}/{upload_id}"),
        ] {
            assert_eq!(with(partial, completed).len(), 1, "{partial} {completed}");
        }
    }

    #[test]
    fn rendered_paths_have_no_client_text() {
        let owner = User { id: UserId::new(), realm: "../a b".into(), username: "../../x".into(), epoch: 0 };
        let id = UploadId::new();
        let path = render("%Y/%m/{realm}/{user_id}/{upload_id}", id, Some(&owner), Timestamp::UNIX_EPOCH);
        assert_eq!(path, format!("1970/01/___a_b/{}/{id}", owner.id));
    }
}
