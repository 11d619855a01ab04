//! A body that is held against its `Content-Digest` (RFC 9530) while somebody reads it.
//!
//! At every door, signed or not: a digest that is there is checked, over the bytes as they came, before any door takes
//! them apart. A body that does not have it fails at its end, so whoever admits nothing before the end admits nothing.
//! Doors that keep what arrives must therefore not do so where a digest was sent ([`is_digested`]).
//!
//! Hashed on the spot, frame by frame: a frame is a read buffer at most, and only who asks for it pays.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use axum::{
    body::{Body, HttpBody},
    extract::Request,
    http::{HeaderMap, HeaderName},
    middleware::Next,
    response::Response,
};
use bytes::Bytes;
use hyper::body::{Frame, SizeHint};

use crate::{
    domain::{
        content_digest,
        digest::{Digest, Running},
    },
    uploads::BodyError,
};

const CONTENT_DIGEST: HeaderName = HeaderName::from_static("content-digest");

/// Whether the request says what its body hashes to.
pub fn is_digested(headers: &HeaderMap) -> bool {
    headers.contains_key(CONTENT_DIGEST)
}

/// The layer: has the request's body held against its digest, if there is one.
pub async fn digested(request: Request, next: Next) -> Response {
    if !is_digested(request.headers()) {
        return next.run(request).await;
    }
    let check = Expected::of(request.headers());
    next.run(request.map(|body| Body::new(Held::new(body, check)))).await
}

/// What is expected of the bytes, and what they were so far; `None`: nobody can say what is expected.
struct Expected(Option<Vec<(Digest, Running)>>);

impl Expected {
    fn of(headers: &HeaderMap) -> Self {
        let lines = headers.get_all(CONTENT_DIGEST).iter().map(|line| line.to_str().ok());
        let field = lines.collect::<Option<Vec<_>>>().map(|lines| lines.join(", "));
        let expected = field.and_then(|field| content_digest::read(&field));
        let begun = |digest: Digest| {
            let running = Running::new(digest.algorithm);
            (digest, running)
        };
        Self(expected.map(|digests| digests.into_iter().map(begun).collect()))
    }
}

impl Check for Expected {
    fn flaw(&self) -> Option<BodyError> {
        self.0.is_none().then(unreadable)
    }

    fn update(&mut self, bytes: &[u8]) {
        self.0.iter_mut().flatten().for_each(|(_, running)| running.update(bytes));
    }

    fn verdict(self, _: Option<&HeaderMap>) -> Result<(), BodyError> {
        let mut digests = self.0.into_iter().flatten();
        match digests.find(|(expected, running)| !expected.matches(&running.clone().finish())) {
            Some((expected, _)) => Err(BodyError::WrongDigest { algorithm: expected.algorithm }),
            None => Ok(()),
        }
    }
}

fn unreadable() -> BodyError {
    BodyError::Malformed("Content-Digest is not a dictionary of digests (RFC 9530)".into())
}

/// What the bytes of a body are held against.
pub(super) trait Check: Send + Unpin + 'static {
    /// Why nobody can say what is expected, so that no byte need be read.
    fn flaw(&self) -> Option<BodyError>;

    /// Takes note of the next bytes.
    fn update(&mut self, bytes: &[u8]);

    /// Whether they are what was expected.
    fn verdict(self, trailers: Option<&HeaderMap>) -> Result<(), BodyError>;
}

/// A body that fails at its end if it is not what was expected.
pub(super) struct Held<C> {
    body: Body,
    /// Absent once the verdict was given.
    check: Option<C>,
}

impl<C: Check> Held<C> {
    pub(super) fn new(body: Body, check: C) -> Self {
        Self { body, check: Some(check) }
    }

    fn verdict(&mut self, trailers: Option<&HeaderMap>) -> Result<(), axum::Error> {
        self.check.take().map_or(Ok(()), |check| check.verdict(trailers)).map_err(axum::Error::new)
    }
}

impl<C: Check> HttpBody for Held<C> {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = &mut *self;
        let Some(check) = &mut this.check else { return Poll::Ready(None) };
        if let Some(flaw) = check.flaw() {
            this.check = None;
            return Poll::Ready(Some(Err(axum::Error::new(flaw))));
        }
        let frame = ready!(Pin::new(&mut this.body).poll_frame(cx));
        Poll::Ready(match frame {
            Some(Ok(frame)) => match frame.trailers_ref() {
                // Nothing follows them (RFC 9110 §6.5).
                Some(trailers) => Some(this.verdict(Some(trailers)).map(|()| frame)),
                None => {
                    check.update(frame.data_ref().map_or(&[], |bytes| &bytes[..]));
                    Some(Ok(frame))
                }
            },
            Some(Err(error)) => {
                this.check = None;
                Some(Err(error))
            }
            None => this.verdict(None).err().map(Err),
        })
    }

    fn is_end_stream(&self) -> bool {
        self.check.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;
    use futures_util::{StreamExt as _, stream};

    use super::*;
    use crate::{domain::digest::Algorithm, http::body::incoming};

    async fn read(field: &str, pieces: &'static [&'static str]) -> Result<String, BodyError> {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_DIGEST, HeaderValue::from_str(field).expect("text"));
        let body = Body::from_stream(stream::iter(pieces.iter().map(|piece| Ok::<_, std::io::Error>(*piece))));
        let mut body = incoming(Body::new(Held::new(body, Expected::of(&headers))));
        let mut text = String::new();
        while let Some(piece) = body.next().await {
            text.push_str(std::str::from_utf8(&piece?).expect("text"));
        }
        Ok(text)
    }

    #[tokio::test]
    async fn a_body_has_its_digest_or_fails_at_its_end() {
        let right = content_digest::of(b"hello");
        assert_eq!(read(&right, &["he", "llo"]).await.as_deref(), Ok("hello"));
        assert_eq!(read("unixsum=1", &["hello"]).await.as_deref(), Ok("hello"));
        let wrong = Err(BodyError::WrongDigest { algorithm: Algorithm::Sha256 });
        assert_eq!(read(&right, &["hello", "!"]).await, wrong);
        assert_eq!(read(&right, &[]).await, wrong);
        assert_eq!(read(&content_digest::of(b""), &[]).await.as_deref(), Ok(""));
        let both = format!("{right}, md5=:1B2M2Y8AsgTpgAmY7PhCfg==:");
        assert_eq!(read(&both, &["hello"]).await, Err(BodyError::WrongDigest { algorithm: Algorithm::Md5 }));
        assert!(matches!(read("sha-256=hello", &["hello"]).await, Err(BodyError::Malformed(_))));
    }
}
