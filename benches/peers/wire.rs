//! As little HTTP/1.1 as a client needs that shares its processors with what it measures: heads are text, bodies are
//! written as they lie in memory, answers are read into one buffer. All connections belong to one thread.

use std::{net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use crate::{
    Fault,
    content::{Content, Range},
    sink::frame,
};

/// No answer takes this long.
const PATIENCE: Duration = Duration::from_secs(60);
/// What ends a head.
const BLANK: &[u8] = b"\r\n\r\n";

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    head: String,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// The value of a field, if it is there; `name` in lower case.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        let field = |line| <str>::split_once(line, ':').filter(|(known, _)| known.eq_ignore_ascii_case(name));
        self.head.lines().skip(1).find_map(field).map(|(_, value)| value.trim())
    }

    /// A field that is a number.
    pub(crate) fn number(&self, name: &str) -> Option<u64> {
        self.field(name)?.parse().ok()
    }

    /// The answer, if it is a success.
    pub(crate) fn success(self) -> Result<Self, Fault> {
        match self.status {
            200..=299 => Ok(self),
            status => {
                let text = String::from_utf8_lossy(&self.body[..self.body.len().min(300)]).into_owned();
                Err(format!("was answered {status}: {text}").into())
            }
        }
    }
}

/// A request: text, content, and sometimes text again.
pub(crate) struct Request {
    /// The head, and what precedes the content.
    pub(crate) head: String,
    pub(crate) body: Range,
    /// What follows the content.
    pub(crate) tail: &'static str,
}

impl Request {
    /// A request with no more than text.
    pub(crate) fn text(head: String) -> Self {
        Self::with(head, Range { seed: 0, from: 0, bytes: 0 })
    }

    /// A head and its content.
    pub(crate) fn with(head: String, body: Range) -> Self {
        Self { head, body, tail: "" }
    }
}

/// A connection to one address, opened when it is needed.
pub(crate) struct Link {
    to: SocketAddr,
    stream: Option<TcpStream>,
    buffer: Vec<u8>,
    /// Whether the answer has no body whatever its head says.
    bare: bool,
}

impl Link {
    pub(crate) fn to(to: SocketAddr) -> Self {
        Self { to, stream: None, buffer: Vec::with_capacity(4096), bare: false }
    }

    /// The connection, if need be a new one.
    pub(crate) async fn stream(&mut self) -> Result<&mut TcpStream, Fault> {
        if self.stream.is_none() {
            let stream = TcpStream::connect(self.to).await?;
            stream.set_nodelay(true)?;
            self.stream = Some(stream);
        }
        self.stream.as_mut().ok_or_else(|| "no connection".into())
    }

    /// Sends a request and reads the answer.
    pub(crate) async fn ask(&mut self, content: &Content, request: &Request) -> Result<Answer, Fault> {
        timeout(PATIENCE, async {
            match self.send(content, request).await {
                Ok(()) => self.answer().await,
                // Who refuses a body may say so before it closes.
                Err(fault) => self.last_words().await.ok_or(fault),
            }
        })
        .await?
    }

    /// Sends a request.
    pub(crate) async fn send(&mut self, content: &Content, request: &Request) -> Result<(), Fault> {
        self.bare = request.head.starts_with("HEAD ");
        let mut pieces = content.pieces(request.body);
        let first = pieces.next().unwrap_or_default();
        let stream = self.stream().await?;
        // A small request is one packet.
        match first.len() <= 16 * 1024 {
            true => stream.write_all(&[request.head.as_bytes(), first].concat()).await?,
            false => {
                stream.write_all(request.head.as_bytes()).await?;
                stream.write_all(first).await?;
            }
        }
        for piece in pieces {
            stream.write_all(piece).await?;
        }
        Ok(stream.write_all(request.tail.as_bytes()).await?)
    }

    /// What was said on a connection before it broke.
    async fn last_words(&mut self) -> Option<Answer> {
        let answer = timeout(Duration::from_secs(1), self.answer()).await.ok()?.ok();
        self.stream = None;
        answer
    }

    /// Whether the connection is still there, and nothing was said on it.
    pub(crate) fn is_quiet(&mut self) -> Option<bool> {
        let said = self.stream.as_ref()?.try_read(&mut [0; 1]);
        Some(said.is_err_and(|fault| fault.kind() == std::io::ErrorKind::WouldBlock))
    }

    /// Reads one answer.
    pub(crate) async fn answer(&mut self) -> Result<Answer, Fault> {
        let end = loop {
            match find(&self.buffer, BLANK) {
                Some(at) => break at + BLANK.len(),
                None => self.more().await?,
            };
        };
        let head = String::from_utf8_lossy(&self.buffer[..end]).into_owned();
        self.buffer.drain(..end);
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or("no status")?;
        let mut answer = Answer { status, head, body: Vec::new() };
        answer.body = self.body(&answer).await?;
        if answer.field("connection").is_some_and(|value| value.eq_ignore_ascii_case("close")) {
            (self.stream, self.buffer) = (None, Vec::new());
        }
        Ok(answer)
    }

    /// What follows the head. Who sends neither a length nor chunks ends the connection.
    async fn body(&mut self, answer: &Answer) -> Result<Vec<u8>, Fault> {
        if self.bare || matches!(answer.status, 204 | 304) {
            return Ok(Vec::new());
        }
        if answer.field("transfer-encoding").is_some() {
            return self.chunks().await;
        }
        match answer.number("content-length") {
            Some(bytes) => self.exactly(bytes as usize).await,
            None => {
                while self.more().await.is_ok() {}
                self.stream = None;
                Ok(std::mem::take(&mut self.buffer))
            }
        }
    }

    async fn chunks(&mut self) -> Result<Vec<u8>, Fault> {
        let mut body = Vec::new();
        loop {
            let end = loop {
                match find(&self.buffer, b"\r\n") {
                    Some(at) => break at,
                    None => self.more().await?,
                };
            };
            let bytes = usize::from_str_radix(std::str::from_utf8(&self.buffer[..end])?, 16)?;
            self.buffer.drain(..end + 2);
            let chunk = self.exactly(bytes + 2).await?;
            if bytes == 0 {
                return Ok(body);
            }
            body.extend_from_slice(&chunk[..bytes]);
        }
    }

    async fn exactly(&mut self, bytes: usize) -> Result<Vec<u8>, Fault> {
        while self.buffer.len() < bytes {
            self.more().await?;
        }
        Ok(self.buffer.drain(..bytes).collect())
    }

    async fn more(&mut self) -> Result<(), Fault> {
        let stream = self.stream.as_mut().ok_or("the connection ended")?;
        match stream.read_buf(&mut self.buffer).await? {
            0 => Err("the connection ended".into()),
            _ => Ok(()),
        }
    }

    /// Sends a frame to a sink, and waits for its nod.
    pub(crate) async fn frame(&mut self, content: &Content, body: Range) -> Result<(), Fault> {
        let frame = frame(body.seed, body.from, body.bytes);
        let stream = self.stream().await?;
        stream.write_all(&frame).await?;
        for piece in content.pieces(body) {
            stream.write_all(piece).await?;
        }
        timeout(PATIENCE, stream.read_u8()).await??;
        Ok(())
    }
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    memchr::memmem::find(bytes, wanted)
}
