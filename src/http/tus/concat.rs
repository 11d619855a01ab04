//! The concatenation extension: what `Upload-Concat` says of a new upload.
//!
//! A URL in the list leads here if its path is one that this entrance gives away; the host is not looked at, since behind
//! proxies a service has several names, and an id that is not the client's own leads nowhere anyway. Nothing is ever
//! fetched.

use axum::http::{HeaderMap, HeaderName, HeaderValue};

use super::wire::{Wire, once};
use crate::domain::{
    UploadId,
    concat::{MOST_PARTS, Role},
    upload::Upload,
};

pub(super) const UPLOAD_CONCAT: HeaderName = HeaderName::from_static("upload-concat");
const PARTIAL: &str = "partial";

/// What a new upload is to be.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Concat {
    /// A partial upload.
    Part,
    /// A final upload.
    Joined {
        /// The header, as it was sent.
        listed: String,
        /// What the URLs name; `None`: nothing of ours.
        parts: Option<Vec<UploadId>>,
    },
}

/// Reads the header. `prefixes`: what may stand before an id in a path.
pub(super) fn concat(headers: &HeaderMap, prefixes: &[&str]) -> Result<Option<Concat>, Wire> {
    const FAULT: &str =
        "Upload-Concat is partial, or final; and the URLs of 1 to 1024 partial uploads, each once, with blanks between";
    let Some(sent) = once(headers, &UPLOAD_CONCAT, FAULT)? else { return Ok(None) };
    if sent == PARTIAL {
        return Ok(Some(Concat::Part));
    }
    let urls = sent.strip_prefix("final;").ok_or(Wire::Bad(FAULT))?.split_ascii_whitespace();
    let parts: Vec<_> = urls.map(|url| id_in(url, prefixes)).collect();
    if parts.is_empty() || parts.len() > MOST_PARTS {
        return Err(Wire::Bad(FAULT));
    }
    let parts: Option<Vec<UploadId>> = parts.into_iter().collect();
    let distinct = |parts: &Vec<UploadId>| parts.iter().collect::<std::collections::HashSet<_>>().len() == parts.len();
    match parts.as_ref().is_none_or(distinct) {
        true => Ok(Some(Concat::Joined { listed: sent.to_owned(), parts })),
        false => Err(Wire::Bad(FAULT)),
    }
}

/// The id that a URL names, absolute or beginning with its path.
fn id_in(url: &str, prefixes: &[&str]) -> Option<UploadId> {
    let path = match url.split_once("://") {
        Some((_, rest)) => &rest[rest.find(['/', '?', '#'])?..],
        None => url,
    };
    let id = prefixes.iter().find_map(|prefix| path.strip_prefix(prefix)?.strip_prefix('/'))?;
    id.strip_suffix('/').unwrap_or(id).parse().ok()
}

/// The header as it was sent.
pub(super) fn said(upload: &Upload) -> Option<HeaderValue> {
    match &upload.role {
        Some(Role::Part { .. }) => Some(HeaderValue::from_static(PARTIAL)),
        Some(Role::Joined { listed, .. }) => HeaderValue::from_str(listed).ok(),
        None => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(sent: &str) -> Result<Option<Concat>, Wire> {
        let headers = HeaderMap::from_iter([(UPLOAD_CONCAT, HeaderValue::from_str(sent).expect("a value"))]);
        concat(&headers, &["/files", "/acme/files"])
    }

    #[test]
    fn urls_are_judged_by_their_path_alone() {
        let id = UploadId::new();
        for (url, is_ours) in [
            (format!("/files/{id}"), true),
            (format!("/files/{}/", id.simple()), true),
            (format!("/acme/files/{id}"), true),
            (format!("http://elsewhere.example:81/files/{id}"), true),
            (format!("/other/files/{id}"), false),
            (format!("/files/{id}/content"), false),
            (format!("/files//{id}"), false),
            (format!("/files/../files/{id}"), false),
            (format!("/files{id}"), false),
            (format!("/files/{id}?a"), false),
            (format!("http://host?/files/{id}"), false),
            (format!("{id}"), false),
            ("/files/x".into(), false),
            ("http://".into(), false),
        ] {
            let parts = is_ours.then(|| vec![id]);
            let listed = format!("final;{url}");
            assert_eq!(read(&listed).expect("a list"), Some(Concat::Joined { listed: listed.clone(), parts }), "{url}");
        }
    }

    #[test]
    fn what_is_no_list_is_told() {
        let id = UploadId::new();
        assert_eq!(read("partial").ok(), Some(Some(Concat::Part)));
        assert_eq!(concat(&HeaderMap::new(), &[]).ok(), Some(None));
        let twice = format!("final;/files/{id} http://a/files/{}", id.simple());
        let many = format!("final;{}", "/files/x ".repeat(MOST_PARTS + 1));
        for sent in ["", "final", "final;", "final; ", "Partial", "partial;", &twice, &many] {
            assert!(read(sent).is_err(), "{sent}");
        }
        assert!(read(&format!("final; /files/{id}\t/files/{} ", UploadId::new())).is_ok());
    }

    proptest! {
        #[test]
        fn never_panics(sent in "(final;)?[ -~]{0,60}") {
            let _ = read(&sent);
        }
    }
}
