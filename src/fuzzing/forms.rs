//! `multipart/form-data`, read as it streams in.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering::SeqCst},
};

use bytes::Bytes;
use futures_util::{FutureExt as _, StreamExt as _, stream};
use memchr::memmem;

use super::text;
use crate::{
    auth::credentials::is_part,
    http::form::{Form, FormError, MAX_FIELDS_BYTES, Prefix},
    uploads::Body,
};

/// Below it, no bound of a part's head depends on where frames end.
const SMALL: usize = 8 * 1024;

type Read = Result<(Prefix, Vec<u8>), FormError>;

/// A line with the content type, a line whose bytes are the lengths of frames, and the body.
///
/// Wherever frames end, the same is read. What is read stands in the body: a name of a field with its value, and the
/// content between two boundaries, whole; a form that breaks off is none, and so is one with a part of a credential or a
/// second file after its file.
pub fn forms(data: &[u8]) {
    let mut pieces = data.splitn(3, |byte| *byte == b'\n');
    let (Some(content_type), Some(cuts), Some(body)) = (pieces.next(), pieces.next(), pieces.next()) else { return };
    let content_type = text(content_type);
    let whole = read(&content_type, framed(body, &[]));
    let cut = read(&content_type, framed(body, cuts));
    if body.len() < SMALL || (whole.is_ok() && cut.is_ok()) {
        assert_eq!(whole.as_ref().ok(), cut.as_ref().ok(), "where frames end matters");
    }
    if let Ok((prefix, content)) = whole {
        judge(body, &prefix, &content);
        assert!(content_type != "multipart/form-data; boundary=Xb" || plain_files(body) < 2, "a second file");
    }
}

fn framed(bytes: &[u8], cuts: &[u8]) -> Body {
    let (mut frames, mut rest) = (Vec::new(), bytes);
    for cut in cuts {
        let (frame, after) = rest.split_at(usize::from(*cut).min(rest.len()));
        frames.push(Ok(Bytes::copy_from_slice(frame)));
        rest = after;
    }
    frames.push(Ok(Bytes::copy_from_slice(rest)));
    stream::iter(frames).boxed()
}

fn read(content_type: &str, body: Body) -> Read {
    let sealed = Arc::new(AtomicBool::new(false));
    let seen = sealed.clone();
    let is_sealed = move |name: &str| {
        let is_sealed = is_part(name) || name == "upload_id";
        seen.fetch_or(is_sealed, SeqCst);
        is_sealed
    };
    let reading = async {
        let mut form = Form::open(content_type, body)?;
        let prefix = form.prefix("file").await?;
        let mut content = form.content(is_sealed);
        let mut bytes = Vec::new();
        while let Some(piece) = content.next().await {
            bytes.extend_from_slice(&piece?);
        }
        Ok((prefix, bytes))
    };
    let read = reading.now_or_never().expect("the frames are all there");
    assert!(read.is_err() || !sealed.load(SeqCst), "a sealed field after the file");
    read
}

fn judge(body: &[u8], prefix: &Prefix, content: &[u8]) {
    let fields: usize = prefix.fields.iter().map(|(name, value)| name.len() + value.len()).sum();
    // What is no UTF-8 is replaced by three bytes for each.
    assert!(fields <= 3 * MAX_FIELDS_BYTES && fields <= 3 * body.len());
    assert!(content.is_empty() || prefix.file.is_some(), "content without a file");
    let Some(file) = &prefix.file else { return };
    assert!(!file.filename.is_empty());
    assert!(memmem::find(body, &[b"\r\n\r\n", content, b"\r\n--"].concat()).is_some(), "not the content that was sent");
    assert!(memmem::rfind(body, b"--").is_some_and(|at| at > content.len()), "no closing boundary");
}

/// How many parts before the closing boundary `Xb` are, in the usual spelling, files under the name that was asked for.
fn plain_files(body: &[u8]) -> usize {
    const HEAD: &[u8] = b"\r\n--Xb\r\nContent-Disposition: form-data; name=\"file\"; filename=\"";
    let body = [b"\r\n", body].concat();
    let parts = &body[..memmem::find(&body, b"\r\n--Xb--").unwrap_or(0)];
    memmem::find_iter(parts, HEAD).filter(|at| parts.get(at + HEAD.len()) != Some(&b'"')).count()
}
