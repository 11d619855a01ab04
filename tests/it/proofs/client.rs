//! A client that signs, sends chunks from streams, and takes a broken connection for an answer.

use std::time::Duration;

use bytes::Bytes;
use chunkgate::domain::{
    Timestamp,
    digest::{Algorithm, Running},
    signing,
};
use futures_util::{Stream, StreamExt as _, stream};
use serde_json::Value;

use crate::support::{Answer, form, noise, watch::watch};

/// Key and secret of the one user.
#[derive(Clone)]
pub(super) struct Key {
    pub(super) api_key: String,
    pub(super) secret: String,
}

impl Key {
    pub(super) fn users_file(&self) -> String {
        let Self { api_key, secret } = self;
        let user = "[[users]]\nid = \"subject-ann\"\nusername = \"ann\"\n[[users.keys]]";
        format!("{user}\napi_key = \"{api_key}\"\nsecret = \"{secret}\"\n")
    }

    /// Key, timestamp and signature of this millisecond.
    pub(super) fn proof(&self) -> [(&'static str, String); 3] {
        let timestamp = Timestamp::now().as_millisecond().to_string();
        let signature = signing::sign_v1(self.secret.as_bytes(), &timestamp);
        watch().keep("a signature", &signature);
        [("X-Api-Key", self.api_key.clone()), ("X-Timestamp", timestamp), ("X-Signature", signature)]
    }
}

/// Where a chunk lies in its file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Span {
    pub(super) from: u64,
    pub(super) length: u64,
    pub(super) total: u64,
}

/// Somebody who uploads.
#[derive(Clone)]
pub(super) struct Client {
    base: String,
    key: Key,
    /// What it presents with every request; without it, a new signature each time.
    presents: Option<Vec<(&'static str, String)>>,
    http: reqwest::Client,
}

impl Client {
    pub(super) fn new(base: String, key: Key) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder().no_proxy().tls_certs_only([]).build().expect("a client");
        Self { base, key, presents: None, http }
    }

    /// The same client with these headers for a proof, every time.
    pub(super) fn presenting(&self, proof: impl IntoIterator<Item = (&'static str, String)>) -> Self {
        Self { presents: Some(proof.into_iter().collect()), ..self.clone() }
    }

    /// The same client with the upload token of this answer.
    pub(super) fn with_token_of(&self, begun: &Answer) -> Self {
        self.presenting([("Upload-Token", begun.header("upload-token").expect("a token").to_owned())])
    }

    pub(super) async fn get(&self, path: &str) -> reqwest::Result<Answer> {
        self.send(self.request(reqwest::Method::GET, path)).await
    }

    pub(super) async fn cancel(&self, id: &str) -> reqwest::Result<Answer> {
        self.send(self.request(reqwest::Method::DELETE, &format!("/api/v1/uploads/{id}"))).await
    }

    /// What the native door says of an upload.
    pub(super) async fn status(&self, id: &str) -> Value {
        self.get(&format!("/api/v1/uploads/{id}")).await.expect("an answer").expect(200).json()
    }

    pub(super) async fn offset(&self, id: &str) -> u64 {
        self.status(id).await["offset"].as_u64().expect("an offset")
    }

    /// The uploads in `state`.
    pub(super) async fn list(&self, state: &str) -> Vec<Value> {
        let page = self.get(&format!("/api/v1/uploads?limit=100&state={state}")).await.expect("an answer");
        page.expect(200).json()["uploads"].as_array().expect("a list").clone()
    }

    /// Posts the chunk at `span`, whose bytes come from `content`.
    pub(super) async fn chunk(
        &self,
        upload: Option<&str>,
        span: Span,
        content: impl Stream<Item = Bytes> + Send + 'static,
    ) -> reqwest::Result<Answer> {
        self.send(self.chunk_request(upload, span, content)).await
    }

    /// The request that [`Client::chunk`] sends.
    pub(super) fn chunk_request(
        &self,
        upload: Option<&str>,
        span: Span,
        content: impl Stream<Item = Bytes> + Send + 'static,
    ) -> reqwest::RequestBuilder {
        let (content_type, head, tail) = form_around(upload);
        let length = (head.len() + tail.len()) as u64 + span.length;
        let body = stream::iter([head]).chain(content).chain(stream::iter([tail]));
        let last = span.from + span.length - 1;
        self.request(reqwest::Method::POST, "/chunked_upload/")
            .header("Content-Type", content_type)
            .header("Content-Length", length)
            .header("Content-Range", format!("bytes {}-{last}/{}", span.from, span.total))
            .body(reqwest::Body::wrap_stream(body.map(Ok::<_, std::io::Error>)))
    }

    pub(super) async fn complete(&self, upload: &str, md5: &str) -> reqwest::Result<Answer> {
        let fields = [form::Part::field("upload_id", upload), form::Part::field("md5", md5)];
        let (content_type, body) = form::urlencoded(&fields);
        let request = self.request(reqwest::Method::POST, "/chunked_upload_complete/");
        self.send(request.header("Content-Type", content_type.expect("a form")).body(body)).await
    }

    /// A request with these headers and no other proof.
    pub(super) async fn send_as_is(
        &self,
        method: &str,
        path: &str,
        headers: &[(String, String)],
        body: &[u8],
    ) -> Answer {
        let method = method.parse().expect("a method");
        let request = self.http.request(method, format!("{}{path}", self.base)).body(body.to_vec());
        let request = headers.iter().fold(request, |request, (name, value)| request.header(name, value));
        self.send(request).await.expect("an answer")
    }

    pub(super) fn request(&self, method: reqwest::Method, path: &str) -> reqwest::RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.base));
        let proof = self.presents.clone().unwrap_or_else(|| self.key.proof().into());
        proof.into_iter().fold(request, |request, (name, value)| request.header(name, value))
    }

    pub(super) async fn send(&self, request: reqwest::RequestBuilder) -> reqwest::Result<Answer> {
        let response = request.timeout(Duration::from_secs(300)).send().await?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let bytes = response.bytes().await?.to_vec();
        Ok(Answer { status, headers, text: String::from_utf8_lossy(&bytes).into_owned(), bytes })
    }
}

/// Content type, and what stands before and after the file's bytes in a form.
fn form_around(upload: Option<&str>) -> (String, Bytes, Bytes) {
    const MARK: &[u8] = b"the content";
    let mut parts: Vec<form::Part> = upload.map(|id| form::Part::field("upload_id", id)).into_iter().collect();
    parts.push(form::Part::file("file", "proof.bin", Some("application/octet-stream"), MARK.to_vec()));
    let (content_type, body) = form::multipart(&parts);
    let at = body.windows(MARK.len()).position(|window| window == MARK).expect("the mark");
    let tail = Bytes::copy_from_slice(&body[at + MARK.len()..]);
    (content_type.expect("a form"), Bytes::copy_from_slice(&body[..at]), tail)
}

/// `bytes` in pieces of 64 KiB; `pause` before each but the first.
pub(super) fn pieces(bytes: Bytes, pause: Duration) -> impl Stream<Item = Bytes> + Send + 'static {
    const PIECE: usize = 64 * 1024;
    let pieces = bytes.len().div_ceil(PIECE);
    stream::iter(0..pieces).then(move |turn| {
        let piece = bytes.slice(turn * PIECE..bytes.len().min((turn + 1) * PIECE));
        async move {
            if turn > 0 && !pause.is_zero() {
                tokio::time::sleep(pause).await;
            }
            piece
        }
    })
}

/// A file of any length without its bytes: one block of noise, again and again.
#[derive(Clone)]
pub(super) struct Endless(Bytes);

impl Endless {
    pub(super) const BLOCK: u64 = 1024 * 1024;

    pub(super) fn new(seed: u64) -> Self {
        Self(noise(seed, Self::BLOCK as usize).into())
    }

    /// `length` bytes from a block's start.
    pub(super) fn stream(&self, length: u64) -> impl Stream<Item = Bytes> + Send + use<> {
        stream::iter(self.clone().blocks(length))
    }

    /// The md5 of the first `length` bytes.
    pub(super) fn md5(&self, length: u64) -> String {
        let mut md5 = Running::new(Algorithm::Md5);
        self.clone().blocks(length).for_each(|block| md5.update(&block));
        md5.finish().to_hex()
    }

    fn blocks(self, length: u64) -> impl Iterator<Item = Bytes> + Send + 'static {
        let blocks = length.div_ceil(Self::BLOCK);
        (0..blocks).map(move |turn| self.0.slice(..(length - turn * Self::BLOCK).min(Self::BLOCK) as usize))
    }
}
