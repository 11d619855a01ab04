//! Forms as clients write them.

/// One field or file.
pub(crate) struct Part {
    name: String,
    filename: Option<String>,
    content_type: Option<String>,
    value: Vec<u8>,
}

impl Part {
    /// A text field.
    pub(crate) fn field(name: &str, value: &str) -> Self {
        Self { name: name.into(), filename: None, content_type: None, value: value.as_bytes().to_vec() }
    }

    /// A file.
    pub(crate) fn file(name: &str, filename: &str, content_type: Option<&str>, value: Vec<u8>) -> Self {
        Self { name: name.into(), filename: Some(filename.into()), content_type: content_type.map(Into::into), value }
    }
}

/// Content type and body of a multipart form.
pub(crate) fn multipart(parts: &[Part]) -> (Option<String>, Vec<u8>) {
    let boundary = "----chunkgate-test-boundary";
    let mut body = Vec::new();
    for part in parts {
        body.extend_from_slice(format!("--{boundary}\r\n").as_bytes());
        body.extend_from_slice(format!("Content-Disposition: form-data; name=\"{}\"", part.name).as_bytes());
        if let Some(filename) = &part.filename {
            body.extend_from_slice(format!("; filename=\"{filename}\"").as_bytes());
        }
        if let Some(content_type) = &part.content_type {
            body.extend_from_slice(format!("\r\nContent-Type: {content_type}").as_bytes());
        }
        body.extend_from_slice(b"\r\n\r\n");
        body.extend_from_slice(&part.value);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(format!("--{boundary}--\r\n").as_bytes());
    (Some(format!("multipart/form-data; boundary={boundary}")), body)
}

/// Content type and body of an urlencoded form.
pub(crate) fn urlencoded(parts: &[Part]) -> (Option<String>, Vec<u8>) {
    let mut form = form_urlencoded::Serializer::new(String::new());
    for part in parts {
        form.append_pair(&part.name, &String::from_utf8_lossy(&part.value));
    }
    (Some("application/x-www-form-urlencoded".into()), form.finish().into_bytes())
}
