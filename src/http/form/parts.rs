//! The parts of a multipart body (RFC 2046 §5.1), as slices of the frames they arrived in.
//!
//! Promises: content is never copied except the few bytes around a boundary that is split over two frames; nothing is
//! held beyond the current frame and one part head. Deliberately not here: what a part means, and how many are allowed.

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;
use memchr::memmem::Finder;

use super::{disposition::PartHead, malformed};
use crate::uploads::{Body, BodyError};

/// Largest head of one part, in bytes.
pub(super) const MAX_PART_HEAD: usize = 8 * 1024;

/// How many bytes of a new frame join what is held of a head.
const HEAD_STEP: usize = 1024;

/// A reader that stands somewhere in a multipart body.
pub(super) struct Parts {
    body: Body,
    window: Window,
    delimiter: Finder<'static>,
    at: At,
    consumed: u64,
}

/// Where the reader stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    /// Before a delimiter: in the preamble or in a part's content.
    Content,
    /// Just behind a delimiter.
    Delimiter,
    /// Behind the closing delimiter.
    End,
}

impl Parts {
    /// Reads `body`, whose parts are separated by `boundary`.
    pub(super) fn new(boundary: &str, body: Body) -> Self {
        let delimiter = Finder::new(format!("\r\n--{boundary}").as_bytes()).into_owned();
        // The first delimiter may stand at the very start; a line end before it makes it like all others.
        Self { body, window: Window::starting_with(b"\r\n"), delimiter, at: At::Content, consumed: 0 }
    }

    /// Bytes read so far.
    pub(super) fn consumed(&self) -> u64 {
        self.consumed
    }

    /// The next slice of the content before the next delimiter; `None` once that delimiter is consumed.
    pub(super) async fn piece(&mut self) -> Result<Option<Bytes>, BodyError> {
        while self.at == At::Content {
            match content_ahead(self.window.view(), &self.delimiter) {
                Ahead::Delimiter => {
                    self.take(self.delimiter.needle().len());
                    self.at = At::Delimiter;
                }
                Ahead::Content(length) => return Ok(Some(self.take(length))),
                Ahead::Unclear => self.more(self.delimiter.needle().len()).await?,
            }
        }
        Ok(None)
    }

    /// The head of the next part; `None` behind the closing delimiter. Content must have been read to its end.
    pub(super) async fn head(&mut self) -> Result<Option<PartHead>, BodyError> {
        while self.at == At::Delimiter {
            match head_ahead(self.window.view())? {
                HeadAhead::Closing => {
                    self.take(2);
                    self.at = At::End;
                }
                HeadAhead::Head { padding, length } => {
                    let line_end_and_head = self.take(padding + length).slice(padding..);
                    self.at = At::Content;
                    return PartHead::parse(&line_end_and_head[2..]).map(Some);
                }
                HeadAhead::Unclear => self.more(HEAD_STEP).await?,
            }
        }
        Ok(None)
    }

    /// Discards what follows the closing delimiter, up to the end of the body or as long as `within(consumed)`.
    pub(super) async fn epilogue(&mut self, within: impl Fn(u64) -> bool) -> Result<(), BodyError> {
        loop {
            self.take(self.window.view().len());
            if !within(self.consumed) {
                return Err(malformed("too much after the file part"));
            }
            if self.window.is_empty() {
                match self.body.next().await {
                    None => return Ok(()),
                    Some(frame) => self.window.refill(frame?),
                }
            }
        }
    }

    fn take(&mut self, length: usize) -> Bytes {
        self.consumed += length as u64;
        self.window.take(length)
    }

    /// Makes the view longer: by `step` bytes where it is a piece held from an earlier frame, else by a frame.
    async fn more(&mut self, step: usize) -> Result<(), BodyError> {
        while !self.window.grow(step) {
            let frame = self.body.next().await.ok_or_else(|| malformed("the form is truncated"))??;
            if self.window.is_empty() {
                self.window.refill(frame);
                return Ok(());
            }
            self.window.refill(frame);
        }
        Ok(())
    }

    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        self.window.held.len()
    }
}

/// What lies at the start of a view of content.
enum Ahead {
    Delimiter,
    Content(usize),
    Unclear,
}

fn content_ahead(view: &[u8], delimiter: &Finder<'_>) -> Ahead {
    match delimiter.find(view) {
        Some(0) => Ahead::Delimiter,
        Some(length) => Ahead::Content(length),
        None => match view.len() - begun(view, delimiter.needle()) {
            0 => Ahead::Unclear,
            length => Ahead::Content(length),
        },
    }
}

/// How many bytes at the end of `view` may be the beginning of `needle`, which begins with a carriage return.
fn begun(view: &[u8], needle: &[u8]) -> usize {
    let tail = &view[view.len().saturating_sub(needle.len() - 1)..];
    memchr::memchr_iter(needle[0], tail)
        .map(|at| &tail[at..])
        .find(|rest| needle.starts_with(rest))
        .map_or(0, <[u8]>::len)
}

/// What lies at the start of a view behind a delimiter.
enum HeadAhead {
    Closing,
    /// Padding, then a line end, header lines and an empty line: `length` bytes in all.
    Head {
        padding: usize,
        length: usize,
    },
    Unclear,
}

/// Looks at what follows a delimiter: `--`, or optional blanks and the head (RFC 2046 §5.1.1).
fn head_ahead(view: &[u8]) -> Result<HeadAhead, BodyError> {
    let view = &view[..view.len().min(MAX_PART_HEAD + 4)];
    let padding = view.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
    let found = match &view[padding..] {
        [b'-', b'-', ..] if padding == 0 => return Ok(HeadAhead::Closing),
        [b'-'] if padding == 0 => None,
        [b'\r', b'\n', ..] => memchr::memmem::find(&view[padding..], b"\r\n\r\n"),
        [] | [b'\r'] => None,
        _ => return Err(malformed("a boundary is followed by something else than a line end")),
    };
    match found {
        Some(at) => Ok(HeadAhead::Head { padding, length: at + 4 }),
        None if view.len() > MAX_PART_HEAD => Err(malformed("the head of a part is too long")),
        None => Ok(HeadAhead::Unclear),
    }
}

/// The bytes at hand: a short piece held from earlier frames, then the current frame. They are looked at one after the
/// other, and joined only as far as needed.
struct Window {
    held: BytesMut,
    frame: Bytes,
    /// The frame as it came, while `held` has bytes of it.
    whole: Bytes,
}

impl Window {
    fn starting_with(held: &[u8]) -> Self {
        Self { held: BytesMut::from(held), frame: Bytes::new(), whole: Bytes::new() }
    }

    fn is_empty(&self) -> bool {
        self.view().is_empty()
    }

    fn view(&self) -> &[u8] {
        if self.held.is_empty() { &self.frame } else { &self.held }
    }

    fn take(&mut self, length: usize) -> Bytes {
        if self.held.is_empty() {
            return self.frame.split_to(length);
        }
        let taken = self.held.split_to(length).freeze();
        self.give_back();
        taken
    }

    /// Lengthens the held piece from the frame; `false` if a new frame is needed for that.
    fn grow(&mut self, step: usize) -> bool {
        if self.held.is_empty() {
            self.held = BytesMut::from(&*std::mem::take(&mut self.frame));
        }
        let joined = self.frame.split_to(step.min(self.frame.len()));
        self.held.extend_from_slice(&joined);
        !joined.is_empty()
    }

    /// The next frame; the current one is used up.
    fn refill(&mut self, frame: Bytes) {
        debug_assert!(self.frame.is_empty());
        if !self.held.is_empty() {
            self.whole = frame.clone();
        }
        self.frame = frame;
    }

    /// Once what is held is of the current frame alone, the frame itself is looked at again. The second handle is let
    /// go as soon as it can be, so that the connection may reuse its read buffer.
    fn give_back(&mut self) {
        let joined = self.whole.len().saturating_sub(self.frame.len());
        if self.held.len() <= joined {
            let whole = std::mem::take(&mut self.whole);
            if !self.held.is_empty() {
                self.frame = whole.slice(joined - self.held.len()..);
                self.held.clear();
            }
        }
    }
}
