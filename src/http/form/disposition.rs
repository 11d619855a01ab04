//! The head of a part, and the boundary in a content type: small grammars, pure.

use super::malformed;
use crate::{http::headers::disposition::Parameters, uploads::BodyError};

/// What the head of a part says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct PartHead {
    /// Name of the field; parts without one mean nothing (RFC 7578 §4.2) and are skipped.
    pub(super) name: Option<String>,
    /// The file's name; present makes the part a file, empty means that no file was chosen (HTML).
    pub(super) filename: Option<String>,
    /// The content type as sent.
    pub(super) content_type: Option<String>,
}

impl PartHead {
    /// Reads header lines, each ended by CRLF, up to the empty line.
    pub(super) fn parse(lines: &[u8]) -> Result<Self, BodyError> {
        // Browsers send names as raw UTF-8 (RFC 7578 §5.1).
        let lines = String::from_utf8_lossy(lines);
        let mut head = Self::default();
        let mut disposed = false;
        for line in lines.split("\r\n").filter(|line| !line.is_empty()) {
            let (name, value) = line.split_once(':').ok_or_else(|| malformed("a part has a header without colon"))?;
            let value = value.trim_matches([' ', '\t']);
            match name.to_ascii_lowercase().as_str() {
                "content-disposition" if std::mem::replace(&mut disposed, true) => {
                    return Err(malformed("a part has two Content-Disposition headers"));
                }
                "content-disposition" => head.dispose(value)?,
                "content-type" => head.content_type = Some(value.to_owned()),
                "content-transfer-encoding" => identity(value)?,
                _ => {}
            }
        }
        Ok(head)
    }

    fn dispose(&mut self, value: &str) -> Result<(), BodyError> {
        let (kind, parameters) = value.split_once(';').unwrap_or((value, ""));
        if !kind.trim().eq_ignore_ascii_case("form-data") {
            return Err(malformed("a part is not form-data"));
        }
        let parameters =
            Parameters::parse(parameters).ok_or_else(|| malformed("a part has a malformed Content-Disposition"))?;
        self.name = parameters.get("name").map(browser_unescape);
        // urllib3 before 1.25 sent names beyond ASCII as filename* alone, although RFC 7578 §4.2 forbids it.
        self.filename = parameters.get("filename").map(browser_unescape).or_else(|| parameters.extended("filename"));
        Ok(())
    }
}

/// Undoes what the HTML standard's form encoding escapes in names: quotes and line ends, and nothing else, for a `%` of
/// the name itself is sent as it is.
fn browser_unescape(sent: &str) -> String {
    ["%22", "%0D", "%0d", "%0A", "%0a"]
        .into_iter()
        .zip(["\"", "\r", "\r", "\n", "\n"])
        .fold(sent.to_owned(), |name, (escape, meant)| name.replace(escape, meant))
}

/// RFC 7578 §4.7 deprecates the header; what would need decoding is refused rather than kept encoded.
fn identity(encoding: &str) -> Result<(), BodyError> {
    match encoding.to_ascii_lowercase().as_str() {
        "7bit" | "8bit" | "binary" => Ok(()),
        _ => Err(malformed("a part has a Content-Transfer-Encoding that is not supported")),
    }
}

/// The boundary of a `multipart/form-data` content type (RFC 2046 §5.1.1: 1 to 70 characters, no space at the end).
pub(super) fn boundary(content_type: &str) -> Option<String> {
    let (kind, parameters) = content_type.split_once(';')?;
    if !kind.trim().eq_ignore_ascii_case("multipart/form-data") {
        return None;
    }
    let boundary = Parameters::parse(parameters)?.get("boundary")?.to_owned();
    let proper = |byte: u8| byte.is_ascii_alphanumeric() || b"'()+_,-./:=? ".contains(&byte);
    let fits = (1..=70).contains(&boundary.len()) && !boundary.ends_with(' ') && boundary.bytes().all(proper);
    fits.then_some(boundary)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn disposed(parameters: &str) -> Result<(Option<String>, Option<String>), BodyError> {
        let head = PartHead::parse(format!("Content-Disposition: form-data{parameters}\r\n").as_bytes())?;
        Ok((head.name, head.filename))
    }

    #[test]
    fn file_names_as_clients_send_them() {
        for (sent, meant) in [
            ("filename=\"a.bin\"", "a.bin"),
            ("filename=a.bin", "a.bin"),
            ("filename=\"Été; a=b.mp4\"", "Été; a=b.mp4"),
            ("filename=\"say %22hi%22 100%41.txt\"", "say \"hi\" 100%41.txt"),
            ("filename=\"say \\\"hi\\\".txt\"", "say \"hi\".txt"),
            ("filename=\"C:\\fake\\a.bin\"", "C:\\fake\\a.bin"),
            ("filename*=UTF-8''%C3%89t%C3%A9.mp4", "Été.mp4"),
            ("filename=\"plain\"; filename*=UTF-8''other", "plain"),
            ("filename=\"\"", ""),
        ] {
            let (name, filename) = disposed(&format!("; name=\"file\"; {sent}")).expect(sent);
            assert_eq!((name.as_deref(), filename.as_deref()), (Some("file"), Some(meant)), "{sent}");
        }
    }

    #[test]
    fn what_is_ambiguous_is_refused() {
        for parameters in ["; name=\"a\"; name=\"b\"", "; name=\"a", "; name=\"a\" b", "; name"] {
            assert!(disposed(parameters).is_err(), "{parameters}");
        }
        assert!(PartHead::parse(b"Content-Disposition: attachment; name=\"a\"\r\n").is_err());
        assert!(PartHead::parse(b"no colon\r\n").is_err());
        assert!(PartHead::parse(b"Content-Transfer-Encoding: base64\r\n").is_err());
        let twice = b"Content-Disposition: form-data; name=a\r\nContent-Disposition: form-data; name=b\r\n";
        assert!(PartHead::parse(twice).is_err());
    }

    #[test]
    fn boundaries() {
        let long = "x".repeat(71);
        for (content_type, found) in [
            ("multipart/form-data; boundary=----WebKitFormBoundary7MA4", Some("----WebKitFormBoundary7MA4")),
            ("Multipart/Form-Data; charset=utf-8; Boundary=\"a b?c\"", Some("a b?c")),
            ("multipart/form-data;boundary=x", Some("x")),
            ("multipart/form-data", None),
            ("multipart/form-data; boundary=\"\"", None),
            ("multipart/form-data; boundary=\"a \"", None),
            ("multipart/form-data; boundary=\"a\r\nb\"", None),
            ("multipart/form-data; boundary=a; boundary=b", None),
            (&format!("multipart/form-data; boundary={long}"), None),
            ("multipart/mixed; boundary=x", None),
        ] {
            assert_eq!(boundary(content_type).as_deref(), found, "{content_type}");
        }
    }

    proptest! {
        #[test]
        fn never_panics(head in proptest::collection::vec(any::<u8>(), 0..200), text in "\\PC{0,80}") {
            let _ = PartHead::parse(&head);
            let _ = disposed(&text);
            let _ = boundary(&format!("multipart/form-data;{text}"));
        }
    }
}
