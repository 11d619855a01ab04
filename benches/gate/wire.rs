//! As little HTTP/1.1 as one client needs that should cost nothing: requests are written down beforehand, answers have
//! a length.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use crate::Fault;

/// No answer takes this long.
const PATIENCE: Duration = Duration::from_secs(20);

/// Names and values of a head.
pub(crate) type Fields = Vec<(String, String)>;

/// A request before it is written down. Names of fields are in lower case.
pub(crate) struct Request<'a> {
    pub(crate) method: &'a str,
    pub(crate) path: &'a str,
    pub(crate) fields: Fields,
    pub(crate) body: &'a [u8],
}

impl Request<'_> {
    /// A request without a body.
    pub(crate) fn bare<'a>(method: &'a str, path: &'a str) -> Request<'a> {
        Request { method, path, fields: Vec::new(), body: &[] }
    }

    /// All of its bytes.
    pub(crate) fn written(&self, host: SocketAddr) -> Vec<u8> {
        let Self { method, path, fields, body } = self;
        let length = body.len();
        let mut text = format!("{method} {path} HTTP/1.1\r\nhost: {host}\r\ncontent-length: {length}\r\n");
        for (name, value) in fields {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        text.push_str("\r\n");
        [text.as_bytes(), body].concat()
    }
}

/// An answer, read to its end.
pub(crate) struct Answer {
    status: u16,
    fields: Fields,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// The value of a field, if it is there.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The body as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The answer, if it is a success.
    pub(crate) fn success(self) -> Result<Self, Fault> {
        match self.status {
            200 => Ok(self),
            status => Err(format!("was answered {status}: {}", self.text()).into()),
        }
    }
}

/// A connection that is kept.
pub(crate) struct Connection(TcpStream);

impl Connection {
    pub(crate) fn open(to: SocketAddr) -> Result<Self, Fault> {
        let stream = TcpStream::connect(to)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self(stream))
    }

    /// Sends what was written down, and reads the answer.
    pub(crate) fn send(&mut self, request: &[u8]) -> Result<Answer, Fault> {
        self.0.write_all(request)?;
        let mut bytes = Vec::with_capacity(4096);
        let head = loop {
            if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
                break end + 4;
            }
            self.more(&mut bytes, 4096)?;
        };
        let (status, fields) = read_head(&bytes[..head])?;
        let mut answer = Answer { status, fields, body: bytes.split_off(head) };
        let length: usize = answer.field("content-length").ok_or("an answer without a length")?.parse()?;
        while answer.body.len() < length {
            let missing = length - answer.body.len();
            self.more(&mut answer.body, missing)?;
        }
        Ok(answer)
    }

    fn more(&mut self, bytes: &mut Vec<u8>, at_most: usize) -> Result<(), Fault> {
        let known = bytes.len();
        bytes.resize(known + at_most, 0);
        let read = self.0.read(&mut bytes[known..])?;
        bytes.truncate(known + read);
        if read == 0 { Err("the connection ended".into()) } else { Ok(()) }
    }
}

fn read_head(bytes: &[u8]) -> Result<(u16, Fields), Fault> {
    let text = std::str::from_utf8(bytes)?;
    let mut lines = text.trim_end().split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1)).ok_or("an answer without a status")?;
    let field = |line: &str| line.split_once(':').map(|(name, value)| (name.to_lowercase(), value.trim().to_owned()));
    Ok((status.parse()?, lines.filter_map(field).collect()))
}
