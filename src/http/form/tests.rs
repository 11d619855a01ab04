//! Forms as they are written and as they are cut into frames.

use futures_util::FutureExt as _;
use proptest::{collection::vec, prelude::*};

use super::*;

const BOUNDARY: &str = "Xb";
const CONTENT_TYPE: &str = "multipart/form-data; boundary=Xb";

fn framed(bytes: &[u8], cuts: &[usize]) -> Body {
    let mut frames = Vec::new();
    let mut rest = bytes;
    for cut in cuts {
        let (frame, after) = rest.split_at((*cut).min(rest.len()));
        frames.push(Ok(Bytes::copy_from_slice(frame)));
        rest = after;
    }
    frames.push(Ok(Bytes::copy_from_slice(rest)));
    stream::iter(frames).boxed()
}

fn text(name: &str, value: &str) -> Vec<u8> {
    format!("--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n").into_bytes()
}

fn file(name: &str, filename: &str, content: &[u8]) -> Vec<u8> {
    let disposition = format!("Content-Disposition: form-data; name=\"{name}\"; filename=\"{filename}\"");
    let head = format!("--{BOUNDARY}\r\n{disposition}\r\nContent-Type: text/plain\r\n\r\n");
    [head.as_bytes(), content, b"\r\n"].concat()
}

fn closed(parts: &[Vec<u8>]) -> Vec<u8> {
    [parts.concat(), format!("--{BOUNDARY}--\r\n").into_bytes()].concat()
}

type Read = Result<(Prefix, Vec<u8>), FormError>;

fn read(body: Body) -> Read {
    let reading = async {
        let mut form = Form::open(CONTENT_TYPE, body)?;
        let prefix = form.prefix("file").await?;
        let mut content = form.content(|name| name == "upload_id");
        let mut bytes = Vec::new();
        while let Some(piece) = content.next().await {
            bytes.extend_from_slice(&piece?);
        }
        Ok((prefix, bytes))
    };
    reading.now_or_never().expect("the frames are all there")
}

fn how(read: Read) -> String {
    match read {
        Err(error) => error.to_string(),
        Ok(read) => panic!("read as {read:?}"),
    }
}

#[test]
fn every_cut_reads_the_same() {
    let content = b"\r\n--X\r\n--Xa\r\r\n\r\n--\r\n-\r\r\n--X";
    let parts = [text("upload_id", "7"), text("empty", ""), file("file", "a.bin", content), text("after", "x")];
    let whole = closed(&parts);
    let expected = read(framed(&whole, &[])).expect("well formed");
    assert_eq!(expected.0.fields, [("upload_id".into(), "7".into()), ("empty".into(), String::new())]);
    assert_eq!(expected.0.file.as_ref().map(|file| file.filename.as_str()), Some("a.bin"));
    assert_eq!(expected.1, content);
    for cut in 0..whole.len() {
        assert_eq!(read(framed(&whole, &[cut])).as_ref(), Ok(&expected), "cut at {cut}");
    }
    assert_eq!(read(framed(&whole, &vec![1; whole.len()])), Ok(expected));
}

#[test]
fn content_is_not_copied() {
    let whole = Bytes::from(closed(&[file("file", "a", &[7; 100_000])]));
    let mut form = Form::open(CONTENT_TYPE, stream::iter([Ok(whole.clone())]).boxed()).expect("a form");
    form.prefix("file").now_or_never().expect("there").expect("well formed");
    let first = form.content(|_| false).next().now_or_never().flatten().expect("there").expect("content");
    assert_eq!(first.len(), 100_000);
    assert!(whole.as_ptr_range().contains(&first.as_ptr()), "a slice of the frame");
}

#[test]
fn what_is_not_the_file_part() {
    let no_file = [
        text("file", "a text field of that name"),
        file("file", "", b""),
        file("other", "b.bin", &[b'x'; 50_000]),
        b"--Xb \t\r\nContent-Type: text/plain\r\n\r\nunnamed\r\n".to_vec(),
        b"--Xb\r\n\r\nheadless\r\n".to_vec(),
    ];
    let (prefix, content) = read(framed(&closed(&no_file), &[])).expect("well formed");
    assert_eq!(prefix.fields, [("file".into(), "a text field of that name".into())]);
    assert_eq!((prefix.file, content), (None, vec![]));
    assert_eq!(read(framed(b"preamble\r\n--Xb--", &[])).map(|(prefix, _)| prefix.file), Ok(None));
}

#[test]
fn what_follows_the_file_part() {
    let chunk = || file("file", "a", b"12345");
    for (after, sentence) in [
        (text("upload_id", "7"), "the field upload_id stands after the file part"),
        (chunk(), "there is a second file part"),
        (file("other", "b", &[0; 70_000]), "too much after the file part"),
    ] {
        let read = how(read(framed(&closed(&[chunk(), after]), &[])));
        assert!(read.ends_with(sentence), "{read}");
    }
    let long_epilogue = [closed(&[chunk()]), vec![b'x'; 70_000]].concat();
    assert!(how(read(framed(&long_epilogue, &[9; 9_000]))).contains("too much after"));
    let ignored = [chunk(), text("other", "x"), text("file", "not a file"), file("more", "b", b"x")];
    assert_eq!(read(framed(&closed(&ignored), &[])).map(|(_, content)| content), Ok(b"12345".to_vec()));
}

#[test]
fn a_truncated_form_is_malformed_wherever_it_ends() {
    let whole = closed(&[text("a", "b"), file("file", "a", b"12345")]);
    for end in 0..whole.len() - "\r\n".len() {
        assert!(how(read(framed(&whole[..end], &[]))).contains("truncated"), "ends at {end}");
    }
}

#[test]
fn everything_but_the_file_has_a_bound() {
    let many: Vec<_> = (0..100).map(|_| text("a", "b")).collect();
    let head = format!("--Xb\r\nX: {}", "y".repeat(20_000)).into_bytes();
    for (body, sentence) in [
        (closed(&many), "too many parts"),
        (closed(&[text("a", &"b".repeat(17_000))]), "too long"),
        (closed(&[text("a", &"b".repeat(9_000)), text("a", &"b".repeat(9_000))]), "too long"),
        (vec![b'p'; 10_000], "before the first boundary"),
        (closed(&[file("other", "a", &vec![0; 1 << 21])]), "before the file part"),
        (head, "head of a part is too long"),
        (b"--Xb".iter().copied().chain([b' '; 20_000]).collect(), "head of a part is too long"),
        (b"--Xbc\r\n".to_vec(), "followed by something else"),
    ] {
        for cuts in [&[][..], &[100; 300]] {
            assert!(how(read(framed(&body, cuts))).contains(sentence), "{sentence}");
        }
    }
}

#[test]
fn small_forms_of_both_kinds() {
    let fields =
        |content_type, body: &[u8]| small(Some(content_type), framed(body, &[3])).now_or_never().expect("there");
    let md5 = [("upload_id".to_owned(), "7".to_owned()), ("md5".to_owned(), "é &".to_owned())];
    assert_eq!(
        fields("application/x-www-form-urlencoded; charset=UTF-8", b"upload_id=7&md5=%C3%A9+%26"),
        Ok(md5.clone().into())
    );
    let form = closed(&[text("upload_id", "7"), text("md5", "é &"), file("file", "a", b"skipped")]);
    assert_eq!(fields(CONTENT_TYPE, &form), Ok(md5.into()));
    assert_eq!(fields("application/json", b"{}"), Ok(vec![]));
    assert_eq!(fields("multipart/form-data", b""), Err(FormError::NotAForm));
    assert!(fields("application/x-www-form-urlencoded", &[b'a'; 20_000]).is_err());
}

/// Content made of pieces that look like boundaries; whether it holds a real one is checked where it is used.
fn tricky() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        Just(b"\r".to_vec()),
        Just(b"\n".to_vec()),
        Just(b"\r\n--".to_vec()),
        Just(b"\r\n--X".to_vec()),
        Just(b"--Xb".to_vec()),
        Just(b"--Xb--\r\n".to_vec()),
        vec(any::<u8>(), 0..8),
    ];
    vec(piece, 0..30).prop_map(|pieces| pieces.concat())
}

fn holds_a_boundary(content: &[u8]) -> bool {
    memchr::memmem::find(&[b"\r\n", content, b"\r\n"].concat(), b"\r\n--Xb").is_some()
}

proptest! {
    #[test]
    fn what_is_read_is_what_was_written(
        values in vec("[a-z\r\n-]{0,20}", 0..5), content in tricky(), cuts in vec(0usize..40, 0..60),
    ) {
        prop_assume!(!holds_a_boundary(&content));
        prop_assume!(values.iter().all(|value| !holds_a_boundary(value.as_bytes())));
        let mut parts: Vec<_> = values.iter().map(|value| text("field", value)).collect();
        parts.push(file("file", "a", &content));
        let (prefix, got) = read(framed(&closed(&parts), &cuts)).expect("well formed");
        prop_assert_eq!(got, content);
        prop_assert!(prefix.fields.iter().map(|(_, value)| value).eq(&values));
    }

    #[test]
    fn any_bytes_at_all(
        pieces in vec(prop_oneof![
            tricky(),
            Just(b"\r\n--Xb\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a\"\r\n\r\n".to_vec()),
            Just(b"\r\n--Xb\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n".to_vec()),
            Just(vec![b'z'; 5_000]),
        ], 0..20),
        cuts in vec(0usize..3_000, 0..40),
    ) {
        let body = pieces.concat();
        let _ = read(framed(&body, &cuts));
        let mut parts = Parts::new(BOUNDARY, framed(&body, &cuts));
        let walk = async {
            loop {
                while parts.piece().await?.is_some() {
                    assert!(parts.held() <= parts::MAX_PART_HEAD + 1024);
                }
                if parts.head().await?.is_none() {
                    return Ok::<_, BodyError>(());
                }
                assert!(parts.held() <= parts::MAX_PART_HEAD + 1024);
            }
        };
        let _ = walk.now_or_never().expect("the frames are all there");
    }
}
