//! Forms: `multipart/form-data` (RFC 7578) read as it streams in, and `application/x-www-form-urlencoded`.
//!
//! [`Form`] hands out what precedes the file part, then the file part's bytes as slices of the frames they arrived in.
//! Everything that is held has a bound of its own; the file part alone is unbounded, and it is never held. The reader
//! is our own because `multer` 3.1 copies every frame that is ready into one growing buffer and bounds no part head.
//!
//! Deliberately not here: base64 parts, nested `multipart/mixed`, `_charset_`. No client of this century sends them.

mod disposition;
mod parts;
#[cfg(test)]
mod tests;

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};

use self::parts::Parts;
use crate::uploads::{Body, BodyError};

/// All text fields of a form together, names and values, in bytes.
pub const MAX_FIELDS_BYTES: usize = 16 * 1024;
/// Parts before the file part, itself included.
const MAX_PARTS: usize = 64;
/// What may precede the first boundary, in bytes.
const MAX_PREAMBLE: usize = 4 * 1024;
/// Contents of parts that are skipped before the file part. Nobody is authenticated yet, so it is little.
const MAX_SKIPPED: usize = 1024 * 1024;
/// Everything after the file part, in bytes.
const MAX_AFTER_FILE: u64 = 64 * 1024;

/// Why a body is not a form.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FormError {
    /// The content type does not announce a form, or announces a boundary that cannot be one.
    #[error("the content type is not multipart/form-data with a boundary")]
    NotAForm,
    /// The body broke off, or is not what the content type announces.
    #[error(transparent)]
    Body(#[from] BodyError),
}

/// What precedes the content of the file part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prefix {
    /// Text fields, names and values, in order, repetitions included.
    pub fields: Vec<(String, String)>,
    /// The file part; absent if the form ended without one.
    pub file: Option<FilePart>,
}

/// The head of the file part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilePart {
    /// The client's name for it, as sent; see [`crate::domain::names::display_name`].
    pub filename: String,
    /// Its content type, as sent.
    pub content_type: Option<String>,
}

/// A form that is being read.
pub struct Form {
    parts: Parts,
    file_field: Option<String>,
}

impl Form {
    /// A form over `body`, with the boundary that `content_type` names.
    ///
    /// # Errors
    /// [`FormError::NotAForm`].
    pub fn open(content_type: &str, body: Body) -> Result<Self, FormError> {
        let boundary = disposition::boundary(content_type).ok_or(FormError::NotAForm)?;
        Ok(Self { parts: Parts::new(&boundary, body), file_field: None })
    }

    /// Reads up to and including the head of the file part named `file_field`. Files of other names and file inputs in
    /// which nothing was chosen are skipped.
    ///
    /// # Errors
    /// [`FormError::Body`], also for a form that is beyond its bounds.
    pub async fn prefix(&mut self, file_field: &str) -> Result<Prefix, FormError> {
        let (fields, file) = self.read(|name| name == file_field).await?;
        self.file_field = file.is_some().then(|| file_field.to_owned());
        Ok(Prefix { fields, file })
    }

    /// Reads the whole form for its text fields; files are skipped.
    ///
    /// # Errors
    /// As [`Form::prefix`].
    pub async fn fields(mut self) -> Result<Vec<(String, String)>, FormError> {
        let (fields, _) = self.read(|_| false).await?;
        let start = self.parts.consumed();
        self.parts.epilogue(|consumed| consumed - start <= MAX_AFTER_FILE).await?;
        Ok(fields)
    }

    /// The content of the file part that [`Form::prefix`] found, as it arrives; empty if it found none.
    ///
    /// At its end the rest of the form is read: a second file under the same name, a later part whose name is `sealed`,
    /// a missing closing boundary and more than 64 KiB make the body [`BodyError::Malformed`]; other parts are ignored.
    pub fn content(self, sealed: impl Fn(&str) -> bool + Send + 'static) -> Body {
        let Some(file_field) = self.file_field else { return stream::empty().boxed() };
        let content = Content { parts: self.parts, file_field, sealed };
        stream::try_unfold(
            content,
            |mut content| async move { Ok(content.piece().await?.map(|piece| (piece, content))) },
        )
        .boxed()
    }

    async fn read(
        &mut self,
        is_file_field: impl Fn(&str) -> bool,
    ) -> Result<(Vec<(String, String)>, Option<FilePart>), BodyError> {
        let mut fields = Vec::new();
        let mut room = Room { fields: MAX_FIELDS_BYTES, skipped: MAX_SKIPPED };
        let mut preamble = MAX_PREAMBLE;
        self.skip(&mut preamble, "too much before the first boundary").await?;
        for _ in 0..=MAX_PARTS {
            let Some(head) = self.parts.head().await? else { return Ok((fields, None)) };
            match (head.name, head.filename) {
                (Some(name), Some(filename)) if !filename.is_empty() && is_file_field(&name) => {
                    return Ok((fields, Some(FilePart { filename, content_type: head.content_type })));
                }
                (Some(name), None) => fields.push(self.text(name, &mut room.fields).await?),
                _ => self.skip(&mut room.skipped, "too much before the file part").await?,
            }
        }
        Err(malformed("too many parts"))
    }

    async fn text(&mut self, name: String, room: &mut usize) -> Result<(String, String), BodyError> {
        let too_long = || malformed("the fields before the file part are too long");
        *room = room.checked_sub(name.len()).ok_or_else(too_long)?;
        let mut value = Vec::new();
        while let Some(piece) = self.parts.piece().await? {
            *room = room.checked_sub(piece.len()).ok_or_else(too_long)?;
            value.extend_from_slice(&piece);
        }
        // Not UTF-8: what replaces it is in no credential and no id, so the field is refused where it matters.
        Ok((name, String::from_utf8_lossy(&value).into_owned()))
    }

    async fn skip(&mut self, room: &mut usize, beyond: &str) -> Result<(), BodyError> {
        while let Some(piece) = self.parts.piece().await? {
            *room = room.checked_sub(piece.len()).ok_or_else(|| malformed(beyond))?;
        }
        Ok(())
    }
}

/// How many bytes may still come before the file part.
struct Room {
    fields: usize,
    skipped: usize,
}

/// The file part's content, then the rest of the form.
struct Content<S> {
    parts: Parts,
    file_field: String,
    sealed: S,
}

impl<S: Fn(&str) -> bool> Content<S> {
    async fn piece(&mut self) -> Result<Option<Bytes>, BodyError> {
        match self.parts.piece().await? {
            Some(piece) => Ok(Some(piece)),
            None => self.rest().await.map(|()| None),
        }
    }

    async fn rest(&mut self) -> Result<(), BodyError> {
        let end = self.parts.consumed() + MAX_AFTER_FILE;
        while let Some(head) = self.parts.head().await? {
            let name = head.name.as_deref().unwrap_or_default();
            if name == self.file_field && head.filename.is_some() {
                return Err(malformed("there is a second file part"));
            }
            if (self.sealed)(name) {
                return Err(malformed(&format!("the field {name} stands after the file part")));
            }
            while self.parts.piece().await?.is_some() {
                self.within(end)?;
            }
            self.within(end)?;
        }
        self.parts.epilogue(|consumed| consumed <= end).await
    }

    fn within(&self, end: u64) -> Result<(), BodyError> {
        if self.parts.consumed() > end { Err(malformed("too much after the file part")) } else { Ok(()) }
    }
}

/// The pairs of `application/x-www-form-urlencoded` text. Tolerant, as browsers and Django are: everything is a form.
pub fn urlencoded(text: &[u8]) -> Vec<(String, String)> {
    form_urlencoded::parse(text).into_owned().collect()
}

/// Reads a small form of either kind for its text fields; a body of another content type has none.
///
/// # Errors
/// [`FormError::Body`], also for a form beyond [`MAX_FIELDS_BYTES`].
pub async fn small(content_type: Option<&str>, body: Body) -> Result<Vec<(String, String)>, FormError> {
    let content_type = content_type.unwrap_or_default();
    match content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase().as_str() {
        "multipart/form-data" => Form::open(content_type, body)?.fields().await,
        "application/x-www-form-urlencoded" => Ok(urlencoded(&gather(body, MAX_FIELDS_BYTES).await?)),
        _ => Ok(Vec::new()),
    }
}

/// The whole of a body of at most `max` bytes.
///
/// # Errors
/// What the body fails with; [`BodyError::Malformed`] beyond `max`.
pub async fn gather(mut body: Body, max: usize) -> Result<Bytes, BodyError> {
    let mut all = bytes::BytesMut::new();
    while let Some(frame) = body.next().await {
        let frame = frame?;
        if all.len() + frame.len() > max {
            return Err(malformed(&format!("the body is longer than {max} bytes")));
        }
        all.extend_from_slice(&frame);
    }
    Ok(all.freeze())
}

fn malformed(how: &str) -> BodyError {
    BodyError::Malformed(how.to_owned())
}
