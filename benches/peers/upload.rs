//! One upload after another over one connection, in whatever a peer speaks.

use std::time::{Duration, Instant};

use crate::{
    Fault,
    content::{Content, Range},
    peer::{Peer, Speech},
    tus,
    wire::{Link, Request},
};

/// What separates the parts of a form.
const BOUNDARY: &str = "an-end-that-noise-has-not";

/// How an upload is cut into requests.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cut {
    pub(crate) bytes: u64,
    /// What one request carries, at most.
    pub(crate) chunk: u64,
    /// Whether the request that makes the upload carries it all.
    pub(crate) with_creation: bool,
}

/// A client of one peer.
pub(crate) struct Client<'a> {
    peer: &'a Peer,
    content: &'a Content,
    link: Link,
    /// How long each request took, from its first byte to the last of its answer.
    pub(crate) spans: Vec<Duration>,
}

impl Cut {
    /// The pieces of the upload with this seed.
    pub(crate) fn ranges(self, seed: u64) -> impl Iterator<Item = Range> {
        let starts = (0..self.bytes).step_by(self.chunk.max(1) as usize);
        starts.map(move |from| Range { seed, from, bytes: self.chunk.min(self.bytes - from) })
    }

    /// The upload with this seed.
    pub(crate) fn whole(self, seed: u64) -> Range {
        Range { seed, from: 0, bytes: self.bytes }
    }
}

impl<'a> Client<'a> {
    pub(crate) fn new(peer: &'a Peer, content: &'a Content) -> Self {
        Self { peer, content, link: Link::to(peer.address), spans: Vec::new() }
    }

    /// Sends one upload, whole.
    pub(crate) async fn upload(&mut self, seed: u64, cut: Cut) -> Result<(), Fault> {
        match self.peer.speaks {
            Speech::Tus => self.by_tus(seed, cut).await,
            Speech::Put => self.by_put(seed, cut).await,
            Speech::Django => self.by_form(seed, cut).await,
            Speech::Frames => self.by_frames(seed, cut).await,
        }
    }

    async fn by_tus(&mut self, seed: u64, cut: Cut) -> Result<(), Fault> {
        let (peer, content) = (self.peer, self.content);
        let along = Range { bytes: if cut.with_creation { cut.bytes } else { 0 }, ..cut.whole(seed) };
        let began = Instant::now();
        let place = tus::create(peer, &mut self.link, content, cut.bytes, along).await?;
        self.spans.push(began.elapsed());
        if cut.with_creation {
            return Ok(());
        }
        for range in cut.ranges(seed) {
            let began = Instant::now();
            tus::append(peer, &mut self.link, content, &place, range).await?;
            self.spans.push(began.elapsed());
        }
        Ok(())
    }

    /// A file for each chunk: WebDAV cannot append.
    async fn by_put(&mut self, seed: u64, cut: Cut) -> Result<(), Fault> {
        for range in cut.ranges(seed) {
            let path = format!("{}{seed}.{}", self.peer.path, range.from);
            let head = format!("{}content-length: {}\r\n\r\n", self.peer.opening("PUT", &path), range.bytes);
            let began = Instant::now();
            self.link.ask(self.content, &Request::with(head, range)).await?.success()?;
            self.spans.push(began.elapsed());
        }
        Ok(())
    }

    /// The protocol of django-chunked-upload, with its closing request.
    async fn by_form(&mut self, seed: u64, cut: Cut) -> Result<(), Fault> {
        let mut id = String::new();
        for range in cut.ranges(seed) {
            let request = self.form(&id, range, cut.bytes);
            let began = Instant::now();
            let answer = self.link.ask(self.content, &request).await?.success()?;
            self.spans.push(began.elapsed());
            let said: serde_json::Value = serde_json::from_slice(&answer.body)?;
            if said["offset"].as_u64() != Some(range.from + range.bytes) {
                return Err(format!("was answered {said}").into());
            }
            id = said["upload_id"].as_str().ok_or("an upload without an id")?.to_owned();
        }
        let began = Instant::now();
        let request = self.closing(&id, cut.whole(seed))?;
        self.link.ask(self.content, &request).await?.success()?;
        self.spans.push(began.elapsed());
        Ok(())
    }

    fn form(&self, id: &str, range: Range, of: u64) -> Request {
        let Range { from, bytes, .. } = range;
        let part = "content-disposition: form-data; name=";
        let id = match id {
            "" => String::new(),
            id => format!("--{BOUNDARY}\r\n{part}\"upload_id\"\r\n\r\n{id}\r\n"),
        };
        let file = "\"file\"; filename=\"f.bin\"\r\ncontent-type: application/octet-stream";
        let before = format!("{id}--{BOUNDARY}\r\n{part}{file}\r\n\r\n");
        let tail = "\r\n--an-end-that-noise-has-not--\r\n";
        let length = before.len() as u64 + bytes + tail.len() as u64;
        let head = format!(
            "{}content-type: multipart/form-data; boundary={BOUNDARY}\r\n\
             content-range: bytes {from}-{}/{of}\r\ncontent-length: {length}\r\n\r\n{before}",
            self.peer.opening("POST", self.peer.path),
            from + bytes - 1,
        );
        Request { head, body: range, tail }
    }

    /// The request that completes a form upload.
    fn closing(&self, id: &str, whole: Range) -> Result<Request, Fault> {
        let md5 = self.content.md5(whole).ok_or("an md5 that was not prepared")?;
        let form = format!("upload_id={id}&md5={md5}");
        let opening = self.peer.opening("POST", &format!("{}complete/", self.peer.path));
        let kind = "content-type: application/x-www-form-urlencoded";
        Ok(Request::text(format!("{opening}{kind}\r\ncontent-length: {}\r\n\r\n{form}", form.len())))
    }

    async fn by_frames(&mut self, seed: u64, cut: Cut) -> Result<(), Fault> {
        for range in cut.ranges(seed) {
            let began = Instant::now();
            self.link.frame(self.content, range).await?;
            self.spans.push(began.elapsed());
        }
        Ok(())
    }
}
