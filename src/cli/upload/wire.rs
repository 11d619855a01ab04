//! The multipart door as a client speaks it: one POST a chunk with Content-Range, one POST to complete, and native JSON
//! to ask how far an upload is. Each answer is read into what it means for the upload.

use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use reqwest::{Body, Method, RequestBuilder, header};

use super::{
    super::{
        client::{ANSWER_TIMEOUT, Answer, Client},
        printable,
    },
    progress::Meter,
    source::Source,
};
use crate::domain::UploadId;

/// No byte went out and no answer came for so long: the connection is dead, though nothing said so.
const SILENCE: Duration = Duration::from_secs(60);

/// The multipart door of one service.
pub(super) struct Door {
    client: Client,
    upload: String,
    complete: String,
    field: String,
}

/// What an answer means.
#[derive(Debug)]
pub(super) enum Meaning {
    /// The upload of this id has this many bytes.
    Stands { id: Option<String>, offset: u64 },
    /// Every byte is there and its md5 was compared.
    Complete { digest: serde_json::Value },
    /// The upload is no more.
    Gone(String),
    /// Native JSON is not spoken there.
    Mute,
    /// Another try may succeed, not before `after`.
    Later { why: String, after: Option<Duration> },
    /// No other try will succeed.
    Refused(String),
}

impl Door {
    pub(super) fn new(client: Client, prefix: &str, field: &str) -> Self {
        let (upload, complete) = (format!("{prefix}/"), format!("{prefix}_complete/"));
        Self { client, upload, complete, field: escape(field) }
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    /// Where the content of an upload can be read.
    pub(super) fn content_url(&self, id: &str) -> String {
        format!("{}/api/v1/uploads/{}/content", self.client.base(), dashed(id))
    }

    /// Sends the bytes from `from` on, `length` of them.
    pub(super) async fn send(
        &self,
        source: &Source,
        id: Option<&str>,
        from: u64,
        length: u64,
        meter: &Meter,
    ) -> Meaning {
        let content = match source.read(from, length).await {
            Ok(content) => content,
            Err(error) => return Meaning::Refused(format!("cannot be read: {error}")),
        };
        let form = Form::new(&self.field, &source.name, id);
        let whole = form.head.len() as u64 + length + form.tail.len() as u64;
        let (seen, mut at) = (meter.clone(), from);
        let content = content.inspect_ok(move |part: &Bytes| {
            at += part.len() as u64;
            seen.at(at);
        });
        let ends = |part: Bytes| stream::once(async { Ok::<_, std::io::Error>(part) }).boxed();
        let body = ends(form.head).chain(content).chain(ends(form.tail));
        let mut request = self
            .client
            .request(Method::POST, &self.upload)
            .header(header::CONTENT_TYPE, form.kind)
            .header(header::CONTENT_LENGTH, whole)
            .body(Body::wrap_stream(body));
        if length > 0 {
            request =
                request.header(header::CONTENT_RANGE, format!("bytes {from}-{}/{}", from + length - 1, source.size));
        }
        self.unless_silent(request, meter).await.map_or_else(passing, |answer| sent(&answer, id.is_some()))
    }

    /// Says that every byte was sent, and what their md5 is.
    pub(super) async fn complete(&self, id: &str, md5: &str) -> Meaning {
        let fields = [("upload_id", id), ("md5", md5)];
        let form = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        // Long: a service that lost its digest state reads the whole file again.
        let request = self
            .client
            .request(Method::POST, &self.complete)
            .timeout(10 * ANSWER_TIMEOUT)
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(form);
        self.client.answered(request).await.map_or_else(passing, |answer| completed(&answer))
    }

    /// Asks how far an upload of `size` bytes is.
    pub(super) async fn ask(&self, id: &str, size: u64) -> Meaning {
        let answer = self.client.get(&format!("/api/v1/uploads/{}", dashed(id))).await;
        answer.map_or_else(passing, |answer| told(&answer, size))
    }

    /// Gives an upload up, so that it takes no room until it expires. If that fails, it expires.
    pub(super) async fn give_up(&self, id: &str) {
        let _ = self.client.delete(&format!("/api/v1/uploads/{}", dashed(id))).await;
    }

    async fn unless_silent(&self, request: RequestBuilder, meter: &Meter) -> Result<Answer, String> {
        let silent = async {
            while let Some(left) = SILENCE.checked_sub(meter.silence()) {
                tokio::time::sleep(left + Duration::from_millis(10)).await;
            }
        };
        tokio::select! {
            answer = self.client.answered(request) => answer,
            () = silent => Err(format!("nothing moved for {} s", SILENCE.as_secs())),
        }
    }
}

fn passing(why: String) -> Meaning {
    Meaning::Later { why, after: None }
}

/// The answer to a chunk.
fn sent(answer: &Answer, continued: bool) -> Meaning {
    let id = answer.text("upload_id").filter(|id| id.parse::<UploadId>().is_ok()).map(str::to_owned);
    match (answer.status, answer.number("offset")) {
        (200..=299, Some(offset)) => Meaning::Stands { id, offset },
        (200..=299, None) => Meaning::Refused("the answer is not one of an upload service; check --url".into()),
        // A lost response: the chunk arrived, or another one did.
        (400, Some(offset)) if continued => Meaning::Stands { id: None, offset },
        (404, _) if !continued => Meaning::Refused("there is no upload service; check --url and --prefix".into()),
        _ => other(answer),
    }
}

fn completed(answer: &Answer) -> Meaning {
    match (answer.status, answer.number("offset")) {
        (200..=299, _) => Meaning::Complete { digest: serde_json::Value::Null },
        (400, Some(offset)) => Meaning::Stands { id: None, offset },
        _ => other(answer),
    }
}

/// The answer of native JSON.
fn told(answer: &Answer, size: u64) -> Meaning {
    match (answer.status, answer.text("state"), answer.number("offset")) {
        (200, Some("complete"), Some(offset)) if offset == size => {
            Meaning::Complete { digest: answer.json.get("digest").cloned().unwrap_or_default() }
        }
        (200, Some("receiving"), Some(offset))
            if offset <= size && answer.number("size").is_none_or(|of| of == size) =>
        {
            Meaning::Stands { id: None, offset }
        }
        (200, Some("receiving" | "complete"), _) => Meaning::Gone("the earlier upload is of another size".into()),
        (200, Some(state), _) => Meaning::Gone(format!("the earlier upload is {}", printable(state))),
        (404, ..) if !answer.is_problem => Meaning::Mute,
        (405 | 501, ..) => Meaning::Mute,
        _ => other(answer),
    }
}

fn other(answer: &Answer) -> Meaning {
    match answer.status {
        404 => Meaning::Gone("the service does not know the earlier upload any more".into()),
        410 => Meaning::Gone(format!("the earlier upload is no more: {}", answer.reason())),
        _ if answer.is_passing() => Meaning::Later { why: answer.reason(), after: answer.retry_after },
        _ => Meaning::Refused(format!("the service refused: {}", answer.reason())),
    }
}

/// The dashed spelling of an id.
pub(super) fn dashed(id: &str) -> String {
    id.parse::<UploadId>().map_or_else(|_| id.to_owned(), |id| id.to_string())
}

/// What stands around the content in a multipart body.
struct Form {
    kind: String,
    head: Bytes,
    tail: Bytes,
}

impl Form {
    /// The id comes first: fields after the file part are refused.
    fn new(field: &str, filename: &str, id: Option<&str>) -> Self {
        let boundary = format!("chunkgate-{}", UploadId::new().simple());
        let mut head = String::new();
        if let Some(id) = id {
            head += &format!("--{boundary}\r\nContent-Disposition: form-data; name=\"upload_id\"\r\n\r\n{id}\r\n");
        }
        let filename = escape(filename);
        head += &format!(
            "--{boundary}\r\nContent-Disposition: form-data; name=\"{field}\"; filename=\"{filename}\"\r\n\
             Content-Type: application/octet-stream\r\n\r\n"
        );
        let tail = format!("\r\n--{boundary}--\r\n");
        Self { kind: format!("multipart/form-data; boundary={boundary}"), head: head.into(), tail: tail.into() }
    }
}

/// As browsers do (WHATWG HTML, multipart/form-data encoding): these three are escaped, the rest is sent as it is.
fn escape(name: &str) -> String {
    name.replace('"', "%22").replace('\r', "%0D").replace('\n', "%0A")
}
