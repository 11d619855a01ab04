//! RFC 9421's own examples where they apply, and what must never happen.

use proptest::prelude::*;

use super::*;

/// The secret of RFC 9421 §B.1.5, `test-shared-secret`.
const SHARED_SECRET: &str = "uzvJfB4u3N0Jy4T7NZ75MDVcr8zSTInedJtkgcu46YW4XByzNJjxBdtjUkdJPBtbmHhIDi6pcl8jsasjlTMtDQ==";
const SECRET: &[u8] = b"demo-secret";

fn fields(of: &[(&str, &str)]) -> Vec<(String, String)> {
    of.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// The request of RFC 9421 §B.2.
fn test_request() -> Vec<(String, String)> {
    let digest = "sha-512=:WZDPaVn/7XgHaAy8pmojAkGWoRx2UFChF41A2svX+TaPm+AbwAgBWnrIiYllu7BNNyealdVLvRwEmTHWXvJwew==:";
    fields(&[
        ("host", "example.com"),
        ("date", "Tue, 20 Apr 2021 02:07:55 GMT"),
        ("content-type", "application/json"),
        ("content-digest", digest),
        ("content-length", "18"),
    ])
}

fn message<'a>(fields: &'a [(String, String)]) -> Message<'a> {
    let query = Some("param=Value&Pet=dog");
    Message { method: "POST", scheme: "https", authority: "example.com", path: "/foo", query, fields }
}

/// The base of what `input` covers, whatever its parameters are.
fn base_of(message: &Message<'_>, input: &str) -> Result<String, Flaw> {
    let list: sfv::List = sfv::Parser::new(input).parse().expect("a list");
    let [ListEntry::InnerList(list)] = &list[..] else { panic!("one inner list") };
    base::base(message, list, &input::components(list)?)
}

#[test]
fn hmac_of_the_standard() {
    // RFC 9421 §B.2.5.
    let input = r#"("date" "@authority" "content-type");created=1618884473;keyid="test-shared-secret""#;
    let base = base_of(&message(&test_request()), input).expect("plain");
    let expected = "\"date\": Tue, 20 Apr 2021 02:07:55 GMT\n\
        \"@authority\": example.com\n\
        \"content-type\": application/json\n\
        \"@signature-params\": (\"date\" \"@authority\" \"content-type\");created=1618884473;keyid=\"test-shared-secret\"";
    assert_eq!(base, expected);
    let secret = BASE64.decode(SHARED_SECRET).expect("base64");
    assert!(verify_text(&secret, &base, "pxcQw6G3AjtMBQjwo8XzkZf/bws5LelbaMk5rGIGtE8="));
    assert!(!verify_text(SECRET, &base, "pxcQw6G3AjtMBQjwo8XzkZf/bws5LelbaMk5rGIGtE8="));
    assert!(!verify_text(&secret, &base, "not base64"));
}

#[test]
fn bases_of_the_standard() {
    let request = test_request();
    let digest = &request[3].1;
    // RFC 9421 §2.5.
    let example = r#"("@method" "@authority" "@path" "content-digest" "content-length" "content-type");created=1618884473;keyid="test-key-rsa-pss""#;
    let expected = format!(
        "\"@method\": POST\n\"@authority\": example.com\n\"@path\": /foo\n\"content-digest\": {digest}\n\
        \"content-length\": 18\n\"content-type\": application/json\n\"@signature-params\": {example}"
    );
    assert_eq!(base_of(&message(&request), example), Ok(expected));
}

#[test]
fn bases_of_the_appendix() {
    // RFC 9421 §B.2.1, §B.2.3, §B.2.6: the signatures are RSA's and Ed25519's, the bases are anybody's.
    let request = test_request();
    let digest = &request[3].1;
    for (parameters, lines) in [
        (r#"();created=1618884473;keyid="test-key-rsa-pss";nonce="b3k2pp5k7z-50gnwp.yemd""#, String::new()),
        (
            r#"("date" "@method" "@path" "@query" "@authority" "content-type" "content-digest" "content-length");created=1618884473;keyid="test-key-rsa-pss""#,
            format!(
                "\"date\": Tue, 20 Apr 2021 02:07:55 GMT\n\"@method\": POST\n\"@path\": /foo\n\
                \"@query\": ?param=Value&Pet=dog\n\"@authority\": example.com\n\"content-type\": application/json\n\
                \"content-digest\": {digest}\n\"content-length\": 18\n"
            ),
        ),
        (
            r#"("date" "@method" "@path" "@authority" "content-type" "content-length");created=1618884473;keyid="test-key-ed25519""#,
            "\"date\": Tue, 20 Apr 2021 02:07:55 GMT\n\"@method\": POST\n\"@path\": /foo\n\
             \"@authority\": example.com\n\"content-type\": application/json\n\"content-length\": 18\n"
                .to_owned(),
        ),
    ] {
        let expected = format!("{lines}\"@signature-params\": {parameters}");
        assert_eq!(base_of(&message(&request), parameters), Ok(expected));
    }
    // §B.2.2 covers a query parameter by its name, and §B.2.4 an answer: both are refused here, and never rebuilt wrong.
    for (parameters, why) in [
        (
            r#"("@authority" "content-digest" "@query-param";name="Pet");created=1618884473;keyid="test-key-rsa-pss";tag="header-example""#,
            "with parameters",
        ),
        (
            r#"("@status" "content-type" "content-digest" "content-length");created=1618884473;keyid="test-key-ecc-p256""#,
            "does not have",
        ),
    ] {
        let flaw = base_of(&message(&request), parameters).expect_err("refused").to_string();
        assert!(flaw.contains(why), "{flaw}");
    }
    // §B.3: a proxy that ends TLS signs what it tells of the client's certificate (of which the beginning stands here).
    let behind = fields(&[("client-cert", ":MIIBqDCCAU6gAwIBAgIBBzAKBggqhkjOPQQDAjA6MRsw:")]);
    let proxied = Message { authority: "service.internal.example", ..message(&behind) };
    let parameters =
        r#"("@path" "@query" "@method" "@authority" "client-cert");created=1618884473;keyid="test-key-ecc-p256""#;
    let expected = format!(
        "\"@path\": /foo\n\"@query\": ?param=Value&Pet=dog\n\"@method\": POST\n\
        \"@authority\": service.internal.example\n\"client-cert\": {}\n\"@signature-params\": {parameters}",
        behind[0].1
    );
    assert_eq!(base_of(&proxied, parameters), Ok(expected));
}

#[test]
fn what_may_happen_on_the_way_and_what_may_not() {
    // RFC 9421 §B.4.
    let parameters = r#"("@method" "@path" "@authority" "accept");created=1618884473;keyid="test-key-ed25519""#;
    let signed = format!(
        "\"@method\": GET\n\"@path\": /demo\n\"@authority\": example.org\n\"accept\": application/json, */*\n\
        \"@signature-params\": {parameters}"
    );
    let two = fields(&[("date", "Fri, 15 Jul 2022 14:24:55 GMT"), ("accept", "application/json"), ("accept", "*/*")]);
    let one = fields(&[("accept", "application/json, */*"), ("accept-language", "en-US,en;q=0.5")]);
    let turned = fields(&[("accept", "*/*"), ("accept", "application/json")]);
    let request = Message {
        method: "GET",
        scheme: "https",
        authority: "example.org",
        path: "/demo",
        query: Some("name1=Value1&Name2=value2"),
        fields: &two,
    };
    for unchanged in [
        request,
        Message { query: Some("name1=Value1&Name2=value2&param=added"), fields: &one, ..request },
        Message { authority: "EXAMPLE.ORG:443", ..request },
    ] {
        assert_eq!(base_of(&unchanged, parameters).as_ref(), Ok(&signed), "{unchanged:?}");
    }
    for changed in [
        Message { fields: &turned, ..request },
        Message { method: "POST", ..request },
        Message { authority: "example.com", ..request },
        Message { path: "/demo/", ..request },
    ] {
        assert_ne!(base_of(&changed, parameters).as_ref(), Ok(&signed), "{changed:?}");
    }
}

#[test]
fn parameters_stay_in_the_signers_order_and_are_printed_strictly() {
    let base = base_of(&message(&[]), r#"( "@path"   "@method" );tag="t";created=1;keyid="a\"b";nonce="n""#);
    let printed = r#"("@path" "@method");tag="t";created=1;keyid="a\"b";nonce="n""#;
    assert_eq!(base, Ok(format!("\"@path\": /foo\n\"@method\": POST\n\"@signature-params\": {printed}")));
}

/// One component's line.
fn line(message: &Message<'_>, name: &str) -> String {
    let base = base_of(message, &format!("(\"{name}\")")).expect("rebuilt");
    base.lines().next().unwrap_or_default().split_once(": ").map(|(_, value)| value.to_owned()).expect("a line")
}

#[test]
fn derived_components() {
    // RFC 9421 §2.2.1 to §2.2.7.
    let request = Message {
        method: "POST",
        scheme: "https",
        authority: "www.example.com",
        path: "/path",
        query: Some("param=value"),
        fields: &[],
    };
    for (name, value) in [
        ("@method", "POST"),
        ("@target-uri", "https://www.example.com/path?param=value"),
        ("@authority", "www.example.com"),
        ("@scheme", "https"),
        ("@request-target", "/path?param=value"),
        ("@path", "/path"),
        ("@query", "?param=value"),
    ] {
        assert_eq!(line(&request, name), value, "{name}");
    }
    let query = |query| line(&Message { query, ..request }, "@query");
    assert_eq!(query(Some("param=value&foo=bar&baz=bat%2Dman")), "?param=value&foo=bar&baz=bat%2Dman");
    assert_eq!(query(Some("queryString")), "?queryString");
    assert_eq!([query(None), query(Some(""))], ["?", "?"]);
    assert_eq!(line(&Message { query: None, ..request }, "@request-target"), "/path");
    assert_eq!(line(&Message { path: "", ..request }, "@path"), "/");
    assert_eq!(line(&Message { method: "get", ..request }, "@method"), "get");
}

#[test]
fn authorities() {
    let authority = |scheme, authority| line(&Message { scheme, authority, ..message(&[]) }, "@authority");
    assert_eq!(authority("https", "WWW.Example.COM"), "www.example.com");
    assert_eq!(authority("https", "example.com:443"), "example.com");
    assert_eq!(authority("http", "example.com:80"), "example.com");
    assert_eq!(authority("http", "example.com:"), "example.com");
    assert_eq!(authority("http", "example.com:443"), "example.com:443");
    assert_eq!(authority("https", "example.com:8080"), "example.com:8080");
    assert_eq!(authority("http", "[::1]:80"), "[::1]");
}

#[test]
fn fields_are_trimmed_and_joined() {
    // RFC 9421 §2.1.
    let of = fields(&[
        ("x-ows-header", "  Leading and trailing whitespace. \t "),
        ("cache-control", "max-age=60"),
        ("cache-control", "   must-revalidate"),
        ("example-dict", " a=1,    b=2;x=1;y=2,   c=(a   b   c)"),
        ("x-empty-header", ""),
    ]);
    for (name, value) in [
        ("x-ows-header", "Leading and trailing whitespace."),
        ("cache-control", "max-age=60, must-revalidate"),
        ("example-dict", "a=1,    b=2;x=1;y=2,   c=(a   b   c)"),
        ("x-empty-header", ""),
    ] {
        assert_eq!(line(&message(&of), name), value);
    }
}

const INPUT: &str = r#"sig=("@method" "@authority" "@path" "@query");created=1700000000;keyid="k";nonce="nonce-01";alg="hmac-sha256";tag="chunkgate""#;
const VALUE: &str = "sig=:pxcQw6G3AjtMBQjwo8XzkZf/bws5LelbaMk5rGIGtE8=:";

fn flaw(input: &str, value: &str, of: &[(&str, &str)], demands: Demands) -> String {
    match read(&message(&fields(of)), input, value, demands) {
        Ok(_) => String::new(),
        Err(flaw) => flaw.to_string(),
    }
}

#[test]
fn one_signature_is_read() {
    let signed = read(&message(&[]), INPUT, VALUE, Demands::default()).expect("whole");
    assert_eq!((signed.keyid.as_str(), signed.nonce.as_deref()), ("k", Some("nonce-01")));
    assert_eq!((signed.created.as_second(), signed.expires, signed.value.len()), (1_700_000_000, None, 32));
    assert_eq!(format!("sig=:{}:", signed.value_text()), VALUE);
    assert!(!format!("{signed:?}").contains("nonce-01"));
    for (from, to) in
        [(r#"alg="hmac-sha256";"#, ""), (r#"nonce="nonce-01";"#, ""), ("created", "expires=1800000000;created")]
    {
        assert_eq!(flaw(&INPUT.replace(from, to), VALUE, &[], Demands::default()), "", "{to}");
    }
    let others = format!(r#"proxy=("@method";req);tag="proxy", {INPUT}, x=1"#);
    assert_eq!(flaw(&others, &format!("proxy=:AA==:, {VALUE}"), &[], Demands::default()), "");
}

#[test]
fn what_is_not_of_the_profile_is_refused() {
    for (from, to, why) in [
        (r#";tag="chunkgate""#, "", "no signature has"),
        (r#"tag="chunkgate""#, r#"tag="other""#, "no signature has"),
        (r#"tag="chunkgate""#, "tag=chunkgate", "no signature has"),
        ("hmac-sha256", "hmac-sha1", "algorithm"),
        ("hmac-sha256", "ed25519", "algorithm"),
        (r#"alg="hmac-sha256""#, "alg=1", "algorithm"),
        ("created=1700000000;", "", "created is missing"),
        ("created=1700000000", "created=1700000000.5", "created must be"),
        ("created=1700000000", "created=999999999999999", "created must be"),
        ("created=1700000000", "created=\"1700000000\"", "created must be"),
        ("created", "expires=?1;created", "expires must be"),
        (r#"keyid="k";"#, "", "keyid must be"),
        (r#"keyid="k""#, r#"keyid="a b""#, "keyid must be"),
        (r#"keyid="k""#, "keyid=k", "keyid must be"),
        ("nonce-01", "short", "nonce must be"),
        (r#""nonce-01""#, "7", "nonce must be"),
        ("created", "context=1;created", "only the parameters"),
        (r#""@query""#, r#""@query-param";name="a""#, "with parameters"),
        (r#""@query")"#, r#""@query" "@query")"#, "covered twice"),
        (r#""@query")"#, r#""@query" "date";bs)"#, "with parameters"),
        (r#""@query")"#, r#""@query" "date";sf)"#, "with parameters"),
        (r#""@query")"#, r#""@query" "a";key="b")"#, "with parameters"),
        (r#""@query")"#, r#""@query" "Date")"#, "lower case"),
        (r#""@query")"#, r#""@query" "")"#, "lower case"),
        (r#""@query")"#, r#""@query" date)"#, "named by strings"),
        (r#""@query")"#, r#""@query" "date")"#, "does not have"),
        (r#""@query")"#, r#""@query" "@status")"#, "does not have"),
        (r#""@query")"#, r#""@query" "@query-param")"#, "does not have"),
        (r#""@query")"#, r#""@query" "@signature-params")"#, "does not have"),
        ("sig=(", "sig=((", "not a dictionary"),
        (r#"("@method" "@authority" "@path" "@query")"#, "1", "no signature has"),
        (r#""@query")"#, ")", "does not cover @query"),
        (r#""@method" "@authority" "@path" "@query""#, "", "does not cover @method, @authority, @path, @query"),
    ] {
        let broken = INPUT.replacen(from, to, 1);
        assert_ne!(broken, INPUT, "{from}");
        let found = flaw(&broken, VALUE, &[], Demands::default());
        assert!(found.contains(why), "{to}: {found}");
    }
    for value in ["", "other=:AA==:", "sig=:AA==:", "sig=1", "sig", "sig=:%:", &VALUE.replace("=:", "=::")] {
        assert_ne!(flaw(INPUT, value, &[], Demands::default()), "", "{value}");
    }
    let twice = format!("{INPUT}, other{}", &INPUT[3..]);
    assert!(matches!(read(&message(&[]), &twice, VALUE, Demands::default()), Err(Flaw::Ambiguous(_))));
    let many = (0..=MAX_COMPONENTS).map(|n| format!("\"a{n}\"")).collect::<Vec<_>>().join(" ");
    let found = flaw(&INPUT.replacen(r#""@query""#, &many, 1), VALUE, &[], Demands::default());
    assert!(found.contains("more than 64"), "{found}");
    let long = "x".repeat(MAX_BASE_BYTES);
    let found = flaw(&INPUT.replacen(")", " \"x\")", 1), VALUE, &[("x", &long)], Demands::default());
    assert!(found.contains("more than 16384"), "{found}");
}

#[test]
fn what_decides_about_the_request_must_be_covered() {
    for (name, value) in [
        ("content-range", "bytes 0-9/10"),
        ("upload-offset", "0"),
        ("upload-length", "10"),
        ("upload-concat", "partial"),
        ("idempotency-key", "\"a\""),
        ("content-digest", "sha-256=:AA==:"),
        ("content-type", "application/json"),
        ("x-http-method-override", "DELETE"),
    ] {
        assert_eq!(
            flaw(INPUT, VALUE, &[(name, value)], Demands::default()),
            format!("the signature does not cover {name}")
        );
        let covering = INPUT.replacen(")", &format!(" \"{name}\")"), 1);
        assert_eq!(flaw(&covering, VALUE, &[(name, value)], Demands::default()), "");
    }
    for form in ["multipart/form-data; boundary=a", "MULTIPART/mixed"] {
        assert_eq!(flaw(INPUT, VALUE, &[("content-type", form)], Demands::default()), "");
    }
    let strict = Demands { content_digest: true };
    assert_eq!(flaw(INPUT, VALUE, &[], strict), "the signature does not cover content-digest");
    assert_eq!(flaw(INPUT, VALUE, &[("content-length", "0")], strict), "");
    let covering = INPUT.replacen(")", " \"content-digest\")", 1);
    assert!(flaw(&covering, VALUE, &[], strict).contains("sha-256 or sha-512"));
    let of = |digest| flaw(&covering, VALUE, &[("content-digest", digest)], strict);
    assert!(of("md5=:1B2M2Y8AsgTpgAmY7PhCfg==:").contains("sha-256 or sha-512"));
    assert_eq!(of(&super::super::content_digest::of(b"")), "");
    let get = Message { method: "GET", ..message(&[]) };
    assert!(read(&get, INPUT, VALUE, strict).is_ok());
}

#[test]
fn bytes_that_have_no_one_spelling_are_refused() {
    let covering = INPUT.replacen(")", " \"x\")", 1);
    for value in ["a\nb", "a\rb", "\u{fffd}", "é", "\0"] {
        assert!(flaw(&covering, VALUE, &[("x", value)], Demands::default()).contains("plain ASCII"), "{value:?}");
        assert_eq!(flaw(INPUT, VALUE, &[("x", value)], Demands::default()), "");
    }
}

fn signed<'a>(of: &'a Message<'a>, nonce: Option<&str>) -> Signed {
    let created = Timestamp::from_second(1_700_000_000).expect("valid");
    let terms = Terms { keyid: "k".into(), created, nonce: nonce.map(str::to_owned), more: vec!["x".into()] };
    let (input, value) = sign(SECRET, of, &terms).expect("plain");
    read(of, &input, &value, Demands::default()).expect("our own")
}

#[test]
fn what_a_client_signs_is_read_and_right() {
    let of = fields(&[("content-range", "bytes 0-9/10"), ("content-type", "text/plain"), ("x", "1")]);
    let request = message(&of);
    for nonce in [None, Some("nonce-01")] {
        let signed = signed(&request, nonce);
        assert_eq!(signed.nonce.as_deref(), nonce);
        assert!(verify(SECRET, &signed.base, &signed.value) && !verify(b"other", &signed.base, &signed.value));
        assert!(signed.base.contains("\"x\": 1\n"), "{}", signed.base);
    }
    let terms = Terms { keyid: "é".into(), created: Timestamp::UNIX_EPOCH, nonce: None, more: vec![] };
    assert!(sign(SECRET, &request, &terms).is_err());
    assert!(sign(SECRET, &request, &Terms { keyid: "k".into(), more: vec!["absent".into()], ..terms }).is_err());
}

proptest! {
    #[test]
    fn no_field_panics(input in "\\PC{0,80}", value in "\\PC{0,40}", name in "[a-z@-]{0,8}", text in "\\PC{0,12}") {
        let of = fields(&[(&name, &text)]);
        let _ = read(&message(&of), &input, &value, Demands::default());
        let grammar = format!("sig=(\"@method\" \"{name}\" {text:?});created=1;keyid=\"{input}\";tag=\"chunkgate\"");
        let _ = read(&message(&of), &grammar, &value, Demands { content_digest: true });
    }

    #[test]
    fn a_byte_anywhere_in_the_input_never_panics(at in 0usize..160, to: u8) {
        let mut broken = INPUT.as_bytes().to_vec();
        let at = at % broken.len();
        broken[at] = to & 0x7f;
        let broken = String::from_utf8(broken).expect("ASCII");
        if let Ok(signed) = read(&message(&[]), &broken, VALUE, Demands::default()) {
            prop_assert!(signed.base.starts_with("\"@method\": POST\n\"@authority\": example.com\n\"@path\": /foo\n"));
        }
    }

    #[test]
    fn tampering_with_anything_covered_makes_another_base(at in 0usize..9, from in "[a-z0-9]{1,8}", to in "[a-z0-9]{1,8}") {
        prop_assume!(from != to);
        const NAMES: [&str; 6] =
            ["content-range", "upload-offset", "upload-length", "content-digest", "content-type", "x"];
        let build = |at: usize, changed: &str| {
            let part = |index: usize| if index == at { changed.to_owned() } else { from.clone() };
            let of: Vec<_> = (0..6).map(|index| (NAMES[index].to_owned(), part(index))).collect();
            (of, part(6), format!("/{}", part(7)), part(8))
        };
        let base = |(of, authority, path, query): &(Vec<(String, String)>, String, String, String)| {
            let request = Message { authority, path, query: Some(query), ..message(of) };
            signed(&request, Some("nonce-01")).base
        };
        prop_assert_ne!(base(&build(at, &from)), base(&build(at, &to)));
        prop_assert_eq!(base(&build(at, &from)), base(&build(8, &from)));
    }

    #[test]
    fn any_changed_byte_of_the_signature_is_refused(at in 0usize..32, bit in 0u8..8) {
        let mut signed = signed(&message(&fields(&[("x", "1")])), None);
        prop_assert!(verify(SECRET, &signed.base, &signed.value));
        signed.value[at] ^= 1 << bit;
        prop_assert!(!verify(SECRET, &signed.base, &signed.value));
    }
}
