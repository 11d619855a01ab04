//! What clients call their files and contents, made harmless. For display and delivery; never a path.

/// Longest file name kept, in bytes.
const MAX_FILENAME_BYTES: usize = 255;
/// Longest content type kept, in bytes. RFC 6838 §4.2 allows 127 on either side of the slash.
const MAX_CONTENT_TYPE_BYTES: usize = 255;

/// Makes a client's file name harmless: the part after the last `/` or `\`, without control and bidirectional-override
/// characters, at most 255 bytes with its extension kept. Never used as a path.
pub fn display_name(sent: &str) -> String {
    let base = sent.rsplit(['/', '\\']).next().unwrap_or_default();
    let clean: String = base.chars().filter(|c| !c.is_control() && !is_direction_override(*c)).collect();
    let clean = clean.trim();
    if clean.len() <= MAX_FILENAME_BYTES {
        return clean.to_owned();
    }
    let (stem, extension) = match clean.rfind('.') {
        Some(dot) if clean.len() - dot <= 16 => clean.split_at(dot),
        _ => (clean, ""),
    };
    let keep = stem.floor_char_boundary(MAX_FILENAME_BYTES - extension.len());
    format!("{}{extension}", &stem[..keep])
}

/// Characters that make a name read in another order than it is stored (Unicode bidirectional embeddings and isolates).
pub fn is_direction_override(c: char) -> bool {
    matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}')
}

/// A client's content type, if it can be repeated in a header: visible ASCII with a slash in it, at most 255 bytes.
pub fn content_type(sent: &str) -> Option<String> {
    let sent = sent.trim();
    let plain = sent.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic());
    (plain && sent.contains('/') && sent.len() <= MAX_CONTENT_TYPE_BYTES).then(|| sent.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_are_harmless() {
        for (sent, shown) in [
            ("../../etc/passwd", "passwd"),
            ("C:\\fake\\a.bin", "a.bin"),
            ("a\r\nb\0.txt", "ab.txt"),
            ("photo\u{202e}gpj.exe", "photogpj.exe"),
            ("Été film.mp4", "Été film.mp4"),
            ("", ""),
            ("..", ".."),
        ] {
            assert_eq!(display_name(sent), shown);
        }
        let long = display_name(&format!("{}.tar.gz", "é".repeat(5000)));
        assert!(long.len() <= 255 && long.ends_with(".gz"), "{long}");
    }

    #[test]
    fn content_types_that_can_be_repeated() {
        assert_eq!(content_type(" text/plain; charset=utf-8 ").as_deref(), Some("text/plain; charset=utf-8"));
        for sent in ["", "blob", "text/pl\u{e4}in", "a/b\r\nX: y", &format!("a/{}", "b".repeat(300))] {
            assert_eq!(content_type(sent), None, "{sent}");
        }
    }

    proptest! {
        #[test]
        fn a_shown_name_is_short_and_has_no_path(sent in "\\PC{0,400}") {
            let shown = display_name(&sent);
            prop_assert!(shown.len() <= 255);
            prop_assert!(!shown.contains(['/', '\\', '\n', '\0']));
        }
    }
}
