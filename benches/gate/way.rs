//! The four ways past the gate, and somebody who goes one of them.
//!
//! Each names its upload so that the door finds it with one look by its id: a token by itself, the others by the cookie, as
//! a page sends it. So what differs between two ways is what the gate does, and nothing behind it.

use chunkgate::domain::{
    Clock as _, SystemClock,
    message_signature::{self, Message, Terms},
};

use crate::{
    Fault,
    service::{API_KEY, SECRET, sign_v1},
    stage::Stage,
    wire::{Answer, Fields, Request},
};

/// What a chunk presents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// Nothing: there is no gate.
    Anonymous,
    /// One v1 signature for all chunks of a file; its verdict is remembered.
    Cached,
    /// The upload's token.
    Token,
    /// A v2 signature of its own, about which the identity server is asked.
    V2,
}

impl Way {
    /// In the order of the table; the first is what the others are compared with.
    pub(crate) const ALL: [Self; 4] = [Self::Anonymous, Self::Cached, Self::Token, Self::V2];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Anonymous => "anonymous",
            Self::Cached => "cached",
            Self::Token => "token",
            Self::V2 => "v2",
        }
    }

    /// How often the identity server is asked for so many chunks, after the first.
    pub(crate) fn questions(self, chunks: usize) -> usize {
        if self == Self::V2 { chunks } else { 0 }
    }
}

/// Somebody who sends one file.
pub(crate) struct Sender<'a> {
    way: Way,
    stage: &'a Stage,
    /// The same for the whole file, as the clients of django-chunked-uploads send it.
    v1: Fields,
    known: Option<Known>,
}

/// What the answer to the first chunk told.
struct Known {
    id: String,
    token: String,
}

impl<'a> Sender<'a> {
    pub(crate) fn new(way: Way, stage: &'a Stage) -> Self {
        Self { way, stage, v1: named(sign_v1()), known: None }
    }

    /// Takes note of the answer to the first chunk; the upload's id.
    pub(crate) fn learn(&mut self, answer: &Answer) -> Result<String, Fault> {
        let body: serde_json::Value = serde_json::from_slice(&answer.body)?;
        let id = body[0]["upload_uuid"].as_str().ok_or("no id in the answer")?.to_owned();
        let token = answer.field("upload-token").ok_or("no token in the answer")?.to_owned();
        self.known = Some(Known { id: id.clone(), token });
        Ok(id)
    }

    /// The request, written down with what the way presents.
    pub(crate) fn written(&self, request: Request<'_>) -> Result<Vec<u8>, Fault> {
        let cookie = |known: &Known| ("cookie".to_owned(), format!("chunkgate_session={}", known.id));
        let presented = match (self.way, &self.known) {
            (Way::Anonymous, known) => known.iter().map(cookie).collect(),
            (Way::Cached, known) => self.v1.iter().cloned().chain(known.as_ref().map(cookie)).collect(),
            (Way::Token, None) => self.v1.clone(),
            (Way::Token, Some(known)) => named([("upload-token", known.token.clone())]),
            (Way::V2, known) => self.v2(&request)?.into_iter().chain(known.as_ref().map(cookie)).collect(),
        };
        let fields = [request.fields, presented].concat();
        Ok(Request { fields, ..request }.written(self.stage.service))
    }

    fn v2(&self, request: &Request<'_>) -> Result<Fields, Fault> {
        let authority = self.stage.service.to_string();
        let Request { method, path, fields, .. } = request;
        let message = Message { method, scheme: "http", authority: &authority, path, query: None, fields };
        let nonce = Some(uuid::Uuid::new_v4().to_string());
        let terms = Terms { keyid: API_KEY.to_owned(), created: SystemClock.now(), nonce, more: Vec::new() };
        let (input, signature) = message_signature::sign(SECRET.as_bytes(), &message, &terms)?;
        Ok(named([("signature-input", input), ("signature", signature)]))
    }
}

fn named<const N: usize>(fields: [(&str, String); N]) -> Fields {
    fields.map(|(name, value)| (name.to_owned(), value)).to_vec()
}
