//! From the head of a chunk to the upload that it belongs to.

use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use percent_encoding::percent_decode_str;

use super::wire::Wire;
use crate::{
    domain::{
        Timestamp, UploadId,
        digest::{Algorithm, Wanted},
        names::display_name,
        principal::{Principal, Scope},
        upload::{At, Claim, Refusal, State, Upload},
    },
    http::{
        AppState,
        digested::is_digested,
        headers::{disposition::file_name, ranges::ContentRange},
    },
    uploads::{Append, Body, Compared, Contention, Keep, New, Target, UploadError},
};

/// What the head of a chunk says.
pub(super) struct Sent {
    /// The file's name, harmless. Later chunks may leave it out where the cookie knows it.
    name: Option<String>,
    content_type: Option<String>,
    total: u64,
    /// First byte; the older dialect does not say.
    start: Option<u64>,
    length: u64,
    /// What arrives is kept, unless it has to be held against a digest first.
    keep: Keep,
}

impl Sent {
    /// Reads the head; everything that can be refused for itself is refused here. `length` is that of the body, if it is
    /// known before the body is read.
    pub(super) fn parse(headers: &HeaderMap, length: Option<u64>) -> Result<Self, Wire> {
        let content_type = text(headers, header::CONTENT_TYPE)?.map(str::to_owned);
        let is_form = |kind: &String| kind.trim_start().to_ascii_lowercase().starts_with("multipart/form-data");
        if content_type.as_ref().is_some_and(is_form) {
            return Err(bad("The body is a form; this route takes the bytes of the file alone"));
        }
        let range = text(headers, header::CONTENT_RANGE)?.map(str::parse::<ContentRange>).transpose();
        let range = range.map_err(|error| bad(error.to_string()))?;
        let total = number(headers, HeaderName::from_static("x-file-size"))?;
        let (start, length, total) = match (range, length, total) {
            (Some(range), Some(length), _) if range.length() != length => {
                return Err(bad("Content-Length is not the length of Content-Range"));
            }
            (Some(range), ..) => (Some(range.start), range.length(), range.total),
            (None, None, _) => return Err(Wire::Bad(StatusCode::LENGTH_REQUIRED, "Content-Length is needed".into())),
            (None, Some(length), Some(total)) if length < total => (None, length, total),
            (None, Some(length), Some(total)) if length > total => {
                return Err(bad("The body is longer than X-File-Size"));
            }
            (None, Some(length), _) => (Some(0), length, length),
        };
        let keep = if is_digested(headers) { Keep::Whole } else { Keep::Received };
        Ok(Self { name: name(headers)?, content_type, total, start, length, keep })
    }

    /// Whether it begins where this upload stands.
    fn continues(&self, upload: &Upload, now: Timestamp) -> bool {
        let is_open = upload.size == Some(self.total) && upload.state_at(now) == State::Receiving;
        is_open && self.start.is_none_or(|start| start == upload.offset)
    }

    /// What is claimed of `length` bytes of it.
    fn claim(&self, at: At, length: u64) -> Claim {
        Claim { at, length: Some(length), size: Some(self.total), last: false }
    }
}

/// Takes in a chunk that comes under the token of an upload: it is for that upload, or refused.
pub(super) async fn chunk_of(
    app: &AppState,
    by: &Principal,
    sent: &Sent,
    id: UploadId,
    mut body: Body,
) -> Result<Upload, Wire> {
    let upload = app.uploads.candidate(by, id).await?;
    if sent.name.as_ref().is_some_and(|name| *name != upload.filename) {
        // Another file is another upload, which a token does not begin.
        return Err(UploadError::OutOfScope { scope: Scope::Create }.into());
    }
    let at = sent.start.map_or(At::Tail, At::Exactly);
    let is_open = upload.state_at(app.uploads.now()) == State::Receiving;
    if let Some(start) = sent.start.filter(|start| is_open && *start < upload.offset)
        && upload.size == Some(sent.total)
    {
        body = match replayed(app, by, std::slice::from_ref(&upload), start, sent, body).await? {
            Replayed::Taken(upload) => return Ok(*upload),
            Replayed::Foreign(body) => body,
        };
    }
    append(app, by, Target::Known(id), sent.keep, sent.claim(at, sent.length), body).await
}

/// Finds the upload of a chunk, and takes the chunk in.
pub(super) async fn chunk(
    app: &AppState,
    by: &Principal,
    sent: &Sent,
    hinted: Option<Upload>,
    body: Body,
) -> Result<Upload, Wire> {
    let known = hinted.as_ref().filter(|upload| upload.size == Some(sent.total));
    let name = match sent.name.as_deref().or(known.map(|upload| upload.filename.as_str())) {
        Some(name) => name.to_owned(),
        None => return Err(bad("Content-Disposition with the name of the file is needed")),
    };
    if sent.start != Some(0) && !by.scopes.contain(Scope::Write) {
        return Err(UploadError::OutOfScope { scope: Scope::Write }.into());
    }
    let now = app.uploads.now();
    let hinted = hinted.filter(|upload| upload.filename == name);
    // The upload that the cookie names is judged before any other. Nearly every chunk of a page goes on in it, and needs no
    // search.
    if let Some(upload) = hinted.as_ref().filter(|upload| sent.continues(upload, now)) {
        let at = sent.start.map_or(At::Tail, At::Exactly);
        return append(app, by, Target::Known(upload.id), sent.keep, sent.claim(at, sent.length), body).await;
    }
    let mut candidates = app.uploads.candidates(by, &name, sent.total).await?;
    if let Some(upload) = hinted.as_ref().filter(|upload| upload.size == Some(sent.total)) {
        candidates.retain(|other| other.id != upload.id);
        candidates.insert(0, upload.clone());
    }
    let (open, over): (Vec<_>, Vec<_>) =
        candidates.into_iter().partition(|upload| upload.state_at(now) == State::Receiving);
    let Some(start) = sent.start else {
        return match open.first() {
            Some(upload) => {
                append(app, by, Target::Known(upload.id), sent.keep, sent.claim(At::Tail, sent.length), body).await
            }
            None => append(app, by, new(&name, sent), sent.keep, sent.claim(At::Exactly(0), sent.length), body).await,
        };
    };
    // The one that the cookie names comes first here too, and a repetition before a continuation: a chunk that was sent again
    // must not go on in another file of the same name and size that happens to stand where it begins.
    let is_hinted = |upload: &&Upload| hinted.as_ref().is_some_and(|hinted| hinted.id == upload.id);
    let (hint, others) = open.split_at(open.iter().take(1).filter(is_hinted).count());
    let mut body = body;
    for group in [hint, others] {
        body = match replayed(app, by, group, start, sent, body).await? {
            Replayed::Taken(upload) => return Ok(*upload),
            Replayed::Foreign(body) => body,
        };
    }
    if let Some(upload) = open.iter().find(|upload| upload.offset == start) {
        return append(app, by, Target::Known(upload.id), sent.keep, sent.claim(At::Exactly(start), sent.length), body)
            .await;
    }
    if start == 0 {
        return append(app, by, new(&name, sent), sent.keep, sent.claim(At::Exactly(0), sent.length), body).await;
    }
    Err(UploadError::Refused(nowhere(app, &open, &over, hinted.as_ref())).into())
}

/// What became of a chunk that begins below where an upload stands.
enum Replayed {
    /// It was there already, or its beginning was and the rest now is.
    Taken(Box<Upload>),
    /// Its bytes are not those of any upload.
    Foreign(Body),
}

async fn replayed(
    app: &AppState,
    by: &Principal,
    open: &[Upload],
    start: u64,
    sent: &Sent,
    mut body: Body,
) -> Result<Replayed, Wire> {
    let end = start + sent.length;
    for upload in open.iter().filter(|upload| upload.offset > start) {
        let stored = end.min(upload.offset) - start;
        body = match app.uploads.compare(upload, start, stored, body).await? {
            Compared::Other(whole) => whole,
            Compared::Same(_) if end <= upload.offset => {
                return Ok(Replayed::Taken(Box::new(app.uploads.candidate(by, upload.id).await?)));
            }
            Compared::Same(rest) => {
                let claim = sent.claim(At::Exactly(upload.offset), end - upload.offset);
                let taken = append(app, by, Target::Known(upload.id), sent.keep, claim, rest).await?;
                return Ok(Replayed::Taken(Box::new(taken)));
            }
        };
    }
    Ok(Replayed::Foreign(body))
}

/// Why a chunk that does not begin a file belongs nowhere.
fn nowhere(app: &AppState, open: &[Upload], over: &[Upload], hinted: Option<&Upload>) -> Refusal {
    if let Some(upload) = open.first() {
        return Refusal::WrongOffset { offset: upload.offset };
    }
    let now = app.uploads.now();
    if let Some(upload) = over.first() {
        return match upload.state_at(now) {
            State::Receiving => Refusal::WrongOffset { offset: upload.offset },
            State::Complete => Refusal::Complete,
            State::Cancelled => Refusal::Cancelled,
            State::Expired => Refusal::Expired,
        };
    }
    match hinted.filter(|upload| upload.state_at(now) == State::Receiving).and_then(|upload| upload.size) {
        Some(size) => Refusal::WrongSize { size },
        None => Refusal::WrongOffset { offset: 0 },
    }
}

fn new(name: &str, sent: &Sent) -> Target {
    let digest = Some(Wanted::Told(Algorithm::Md5));
    let (filename, content_type) = (name.to_owned(), sent.content_type.clone());
    Target::New(New { filename, content_type, digest, metadata: None, completes: false, is_part: false })
}

async fn append(
    app: &AppState,
    by: &Principal,
    target: Target,
    keep: Keep,
    claim: Claim,
    body: Body,
) -> Result<Upload, Wire> {
    let append = Append { target, claim, keep, contention: Contention::Wait, body };
    Ok(app.uploads.append(by, append).await?)
}

// ---- single headers ------------------------------------------------------------------------------------------------

fn bad(detail: impl Into<String>) -> Wire {
    Wire::Bad(StatusCode::BAD_REQUEST, detail.into())
}

/// The one value of a header. Browsers send names as UTF-8 or percent-encoded.
fn text(headers: &HeaderMap, name: HeaderName) -> Result<Option<&str>, Wire> {
    let mut values = headers.get_all(&name).iter();
    match (values.next(), values.next()) {
        (_, Some(_)) => Err(bad(format!("{name} was given more than once"))),
        (None, None) => Ok(None),
        (Some(value), None) => {
            std::str::from_utf8(value.as_bytes()).map(Some).map_err(|_| bad(format!("{name} is not UTF-8")))
        }
    }
}

fn number(headers: &HeaderMap, name: HeaderName) -> Result<Option<u64>, Wire> {
    let parse = |text: &str| text.parse::<i64>().ok().and_then(|number| u64::try_from(number).ok());
    let value = text(headers, name.clone())?;
    value.map(|text| parse(text.trim()).ok_or_else(|| bad(format!("{name} is not a length")))).transpose()
}

/// The file's name from `Content-Disposition`, or from the older dialect's `X-File-Name`.
fn name(headers: &HeaderMap) -> Result<Option<String>, Wire> {
    let sent = match text(headers, header::CONTENT_DISPOSITION)? {
        Some(value) => Some(file_name(value).ok_or_else(|| bad("Content-Disposition does not name a file"))?),
        None => text(headers, HeaderName::from_static("x-file-name"))?
            .map(|name| percent_decode_str(name).decode_utf8_lossy().into_owned()),
    };
    match sent.map(|name| display_name(&name)) {
        Some(name) if name.is_empty() => Err(bad("The name of the file is empty")),
        name => Ok(name),
    }
}
