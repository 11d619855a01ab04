//! `Content-Disposition`, coming in and going out, and the parameters it shares with other headers (RFC 6266).

use axum::http::HeaderValue;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

/// What RFC 8187 §3.2.1 lets stand as it is in an extended value.
const EXTENDED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'!')
    .remove(b'#')
    .remove(b'$')
    .remove(b'&')
    .remove(b'+')
    .remove(b'-')
    .remove(b'.')
    .remove(b'^')
    .remove(b'_')
    .remove(b'`')
    .remove(b'|')
    .remove(b'~');

/// Parameters as in `a=b; c="d"`: lower-case names, each once, and values without their quotes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parameters(Vec<(String, String)>);

impl Parameters {
    /// Reads what follows the first `;` of a header; `None` if it is malformed or names a parameter twice.
    pub fn parse(text: &str) -> Option<Self> {
        let mut pairs: Vec<(String, String)> = Vec::new();
        let mut rest = text;
        loop {
            rest = rest.trim_start_matches([' ', '\t', ';']);
            if rest.is_empty() {
                return Some(Self(pairs));
            }
            let (name, after) = rest.split_once('=')?;
            let name = name.trim_end_matches([' ', '\t']).to_ascii_lowercase();
            let proper = !name.is_empty() && !name.contains(|c: char| c.is_whitespace() || c.is_control() || c == '"');
            if !proper || pairs.iter().any(|(known, _)| *known == name) {
                return None;
            }
            let (value, after) = value(after.trim_start_matches([' ', '\t']))?;
            pairs.push((name, value));
            rest = after.trim_start_matches([' ', '\t']);
            if !(rest.is_empty() || rest.starts_with(';')) {
                return None;
            }
        }
    }

    /// The value of that name.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The decoded extended value `name*=charset'language'value` (RFC 8187). Taken as UTF-8 whatever the charset says:
    /// nothing else has been sent for years, and a wrong guess costs a name to look at.
    pub fn extended(&self, name: &str) -> Option<String> {
        let value = self.get(&format!("{name}*"))?.splitn(3, '\'').nth(2)?;
        Some(percent_decode_str(value).decode_utf8_lossy().into_owned())
    }
}

/// A token or quoted value, and what follows it.
fn value(text: &str) -> Option<(String, &str)> {
    match text.strip_prefix('"') {
        Some(quoted) => unquote(quoted),
        None => {
            let (token, rest) = text.split_at(text.find(';').unwrap_or(text.len()));
            let token = token.trim_end_matches([' ', '\t']);
            (!token.contains(['"', ' ', '\t'])).then(|| (token.to_owned(), rest))
        }
    }
}

/// The value up to the closing quote. A backslash escapes a quote or itself; any other is meant as it stands, for old
/// browsers send `C:\path\name`.
fn unquote(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        match (c, chars.peek()) {
            ('"', _) => return Some((value, &text[at + 1..])),
            ('\\', Some((_, escaped @ ('"' | '\\')))) => {
                value.push(*escaped);
                chars.next();
            }
            (c, _) => value.push(c),
        }
    }
    None
}

/// The file name in a request's `Content-Disposition`, percent-decoded once: jQuery-File-Upload sends
/// `attachment; filename="<encodeURI(name)>"`, which leaves `;`, `=` and `,` as they are.
pub fn file_name(header: &str) -> Option<String> {
    let parameters = Parameters::parse(header.split_once(';')?.1)?;
    let plain = parameters.get("filename").map(|sent| percent_decode_str(sent).decode_utf8_lossy().into_owned());
    plain.or_else(|| parameters.extended("filename")).filter(|name| !name.is_empty())
}

/// `attachment` with the name twice (RFC 6266 §5): in plain ASCII for old clients, and exactly. A browser saves it
/// under that name and never shows it in place.
pub fn attachment(filename: &str) -> HeaderValue {
    let harmless = |c: char| if matches!(c, ' '..='~') && !"\"\\%".contains(c) { c } else { '_' };
    let plain: String = filename.chars().map(harmless).collect();
    let exact = utf8_percent_encode(filename, EXTENDED);
    HeaderValue::try_from(format!("attachment; filename=\"{plain}\"; filename*=UTF-8''{exact}"))
        .unwrap_or(HeaderValue::from_static("attachment"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_as_jquery_file_upload_sends_them() {
        for (header, name) in [
            ("attachment; filename=\"my_file.bin\"", Some("my_file.bin")),
            ("attachment; filename=\"a;b=c,d%20e%22.txt\"", Some("a;b=c,d e\".txt")),
            ("attachment; filename=\"%C3%89t%C3%A9.mp4\"", Some("Été.mp4")),
            ("attachment; filename=\"100%2525.txt\"", Some("100%25.txt")),
            ("attachment; filename=\"%ff%zz\"", Some("\u{fffd}%zz")),
            ("attachment;filename=plain.txt", Some("plain.txt")),
            ("attachment; filename*=UTF-8''%C3%89", Some("É")),
            ("attachment; filename=\"\"", None),
            ("attachment; filename=\"open", None),
            ("attachment; filename=a; filename=b", None),
            ("attachment", None),
            ("", None),
        ] {
            assert_eq!(file_name(header).as_deref(), name, "{header}");
        }
    }

    #[test]
    fn going_out() {
        assert_eq!(
            attachment("Été \"1\"\r\n;=%.mp4"),
            "attachment; filename=\"_t_ _1___;=_.mp4\"; filename*=UTF-8''%C3%89t%C3%A9%20%221%22%0D%0A%3B%3D%25.mp4"
        );
    }

    proptest! {
        #[test]
        fn what_goes_out_can_be_read_again(name in "\\PC{0,40}") {
            let header = attachment(&name);
            let text = header.to_str().expect("visible ASCII");
            let parameters = Parameters::parse(text.split_once(';').expect("parameters").1).expect("well formed");
            prop_assert_eq!(parameters.extended("filename"), Some(name));
            prop_assert!(parameters.get("filename").is_some());
        }

        #[test]
        fn never_panics(text in "([a-z]{0,3}[*]?=?\"?[;=\\\\\"' %é]{0,4}){0,8}|\\PC{0,60}") {
            let _ = file_name(&text);
            let _ = Parameters::parse(&text);
        }
    }
}
