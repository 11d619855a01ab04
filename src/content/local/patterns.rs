//! The path patterns of the settings: what they may be, and what becomes of them for one upload.

use std::path::{Component, Path, PathBuf};

use super::Settings;
use crate::domain::{Timestamp, UploadId, principal::User};

/// Refuses patterns that would mix up files or leave the folder.
pub(super) fn check(settings: &Settings) -> Result<(), String> {
    let (partial, completed) = (&settings.partial_path, &settings.completed_path);
    for (key, pattern) in [("partial_path", partial), ("completed_path", completed)] {
        if !pattern.contains("{upload_id}") {
            return Err(format!("storage.local.{key} must contain {{upload_id}}"));
        }
        if !is_below(Path::new(pattern)) || pattern.contains(char::is_control) {
            return Err(format!("storage.local.{key} must be a path below storage.local.path, without `..`"));
        }
        if jiff::fmt::strtime::format(pattern, Timestamp::UNIX_EPOCH).is_err() {
            return Err(format!("storage.local.{key} has a date part that strftime does not know"));
        }
    }
    let name = partial.rsplit('/').next().unwrap_or_default();
    let folder = fixed_part(partial);
    if !name.contains("{upload_id}") || name.contains('%') || folder.as_os_str().is_empty() {
        return Err("storage.local.partial_path must be a folder, then a file name made of {upload_id}".into());
    }
    if fixed_part(completed).starts_with(&folder) {
        return Err("storage.local.completed_path must lie outside the folder of partial_path".into());
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

    fn with(partial: &str, completed: &str) -> Result<(), String> {
        check(&Settings { partial_path: partial.into(), completed_path: completed.into(), ..Settings::default() })
    }

    #[test]
    fn patterns_that_are_refused() {
        assert_eq!(check(&Settings::default()), Ok(()));
        assert_eq!(with("p/{upload_id}", "{realm}/{user_id}/{upload_id}").err(), None);
        for (partial, completed) in [
            ("p/x", "c/{upload_id}"),
            ("p/{upload_id}", "c/x"),
            ("../{upload_id}", "c/{upload_id}"),
            ("/p/{upload_id}", "c/{upload_id}"),
            ("p/{upload_id}", "c/../{upload_id}"),
            ("p/{upload_id}", "p/{upload_id}.done"),
            ("{upload_id}", "c/{upload_id}"),
            ("p/{upload_id}", "c/%!/{upload_id}"),
        ] {
            assert!(with(partial, completed).is_err(), "{partial} {completed}");
        }
    }

    #[test]
    fn rendered_paths_have_no_client_text() {
        let owner = User { id: UserId::new(), realm: "../a b".into(), username: "../../x".into() };
        let id = UploadId::new();
        let path = render("%Y/%m/{realm}/{user_id}/{upload_id}", id, Some(&owner), Timestamp::UNIX_EPOCH);
        assert_eq!(path, format!("1970/01/___a_b/{}/{id}", owner.id));
    }
}
