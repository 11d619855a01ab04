//! Credentials in every place, whole and broken.

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};

use super::*;
use proptest::prelude::*;

const SIGNATURE: &str = "e79878a0dfdf6c69a40c41dd4c202e09480e0d8e94c2aab57dbba4c78ee20c46";
const TRIPLE: [(&str, &str); 3] = [("api_key", "demo-key"), ("timestamp", "1700000000"), ("signature", SIGNATURE)];

fn pairs(from: &[(&str, &str)]) -> Vec<(String, String)> {
    from.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn read(headers: &[(&str, &str)], query: &[(&str, &str)], form: &[(&str, &str)]) -> Result<bool, AuthError> {
    let presented =
        Presented { headers: pairs(headers), query: pairs(query), form: pairs(form), ..Presented::default() };
    find(&presented, &Settings { query_credentials: true, ..Settings::default() }).map(|found| found.is_some())
}

fn ambiguous(outcome: &Result<bool, AuthError>) -> bool {
    matches!(outcome, Err(AuthError::Ambiguous(_)))
}

fn why(outcome: Result<bool, AuthError>) -> String {
    match outcome {
        Err(AuthError::Malformed(why)) => why,
        other => format!("not malformed: {other:?}"),
    }
}

#[test]
fn a_triple_may_stand_in_any_place() {
    assert_eq!(read(&[], &[], &[]), Ok(false));
    assert_eq!(read(&TRIPLE, &[], &[]), Ok(true));
    assert_eq!(read(&[], &TRIPLE, &[]), Ok(true));
    assert_eq!(read(&[], &[], &TRIPLE), Ok(true));
    assert_eq!(read(&TRIPLE, &TRIPLE, &TRIPLE), Ok(true));
    assert_eq!(read(&TRIPLE[..1], &TRIPLE[1..2], &TRIPLE[2..]), Ok(true));
    assert_eq!(read(&[("host", "a"), ("cookie", "b")], &[("page", "1")], &[("username", "ann")]), Ok(false));
}

#[test]
fn an_alias_is_a_second_place_and_a_spelling_is_not() {
    let with = |name, value| read(&[TRIPLE[0], TRIPLE[1], TRIPLE[2], (name, value)], &[], &[]);
    assert_eq!(with("x-api-key", "demo-key"), Ok(true));
    assert!(ambiguous(&with("x-api-key", "other")));
    assert!(ambiguous(&with("api-key", "demo-key")));
    assert!(ambiguous(&with("API_KEY", "demo-key")));
    assert!(ambiguous(&with("authorization", "Basic YTpi")));
    assert!(ambiguous(&with("upload-token", "t")));
    assert!(ambiguous(&with("signature-input", "sig1=()")));
    assert_eq!(with("username", "ann"), Ok(true));
}

#[test]
fn refusals_say_what_is_wrong() {
    assert_eq!(why(read(&TRIPLE[..1], &[], &[])), "missing: timestamp, signature");
    assert_eq!(why(read(&[], &[], &TRIPLE[2..])), "missing: api_key, timestamp");
    for (headers, part) in [
        (vec![("authorization", "Basic YTpi")], "basic authentication is not enabled"),
        (vec![("authorization", "ApiKey a:b")], "api_key authentication is not enabled"),
        (vec![("authorization", "")], "is not enabled"),
        (vec![("authorization", "Nonsense x")], "is not enabled"),
        (vec![("username", "ann"), ("api_key", "k")], "api_key authentication is not enabled"),
        (vec![("signature", "sig1=:aa:"), ("signature-input", "sig1=()")], "no signature has"),
        (vec![TRIPLE[0], TRIPLE[1], TRIPLE[2], ("x-signature-version", "2")], "not enabled"),
        (vec![("api_key", ""), TRIPLE[1], TRIPLE[2]], "api_key must be"),
        (vec![TRIPLE[0], ("timestamp", "now"), TRIPLE[2]], "timestamp must be"),
        (vec![TRIPLE[0], TRIPLE[1], ("signature", "short")], "signature must be"),
    ] {
        let why = why(read(&headers, &[], &[]));
        assert!(why.contains(part), "{headers:?}: {why}");
    }
}

#[test]
fn query_credentials_are_refused_when_off() {
    let ask = |query: &[(&str, &str)]| {
        let presented = Presented { query: pairs(query), headers: pairs(&TRIPLE), ..Presented::default() };
        find(&presented, &Settings::default()).map(|found| found.is_some())
    };
    assert!(why(ask(&TRIPLE)).contains("query"));
    assert!(why(ask(&[("X-Signature", "a")])).contains("query"));
    assert_eq!(ask(&[("timestamp", "1")]), Ok(true));
}

#[test]
fn a_method_that_is_off_is_refused() {
    let settings = Settings { methods: Vec::new(), anonymous: true, ..Settings::default() };
    let presented = Presented { headers: pairs(&TRIPLE), ..Presented::default() };
    assert!(matches!(find(&presented, &settings), Err(AuthError::Malformed(_))));
}

#[test]
fn nothing_secret_is_printed() {
    let presented = Presented { headers: pairs(&TRIPLE), ..Presented::default() };
    let found = find(&presented, &Settings::default());
    let printed = format!("{presented:?} {found:?}");
    assert!(!printed.contains("demo-key") && !printed.contains(SIGNATURE), "{printed}");
}

fn local(headers: &[(&str, &str)]) -> Result<Option<Credential>, AuthError> {
    let methods = vec![Method::ApiKey, Method::Basic];
    let presented = Presented { headers: pairs(headers), ..Presented::default() };
    find(&presented, &Settings { methods, ..Settings::default() })
}

#[test]
fn a_key_is_read_from_both_of_its_forms() {
    let expected = KeyProof { username: "ann".into(), api_key: "k:1".into() };
    let together = ("authorization", "APIKEY \t ann:k:1");
    let apart = [("username", "ann"), ("api_key", "k:1")];
    for headers in [&[together][..], &apart, &[together, apart[0], apart[1]], &[together, ("username", "bob")]] {
        assert_eq!(local(headers), Ok(Some(Credential::ApiKey(expected.clone()))), "{headers:?}");
    }
    for headers in [
        &[together, ("api_key", "k:1")][..],
        &[together, apart[0], ("api_key", "k:2")],
        &[together, ("timestamp", "1700000000")],
        &[("authorization", "Basic YW5uOms="), apart[0], apart[1]],
    ] {
        assert!(matches!(local(headers), Err(AuthError::Ambiguous(_))), "{headers:?}");
    }
    for header in ["ApiKey", "ApiKey ann", "ApiKey :k", "ApiKey ann:", "ApiKey ann:k k"] {
        assert!(matches!(local(&[("authorization", header)]), Err(AuthError::Malformed(_))), "{header}");
    }
}

#[test]
fn names_keys_and_passwords_are_not_printed() {
    for headers in [[("authorization", "ApiKey ann:k1")], [("authorization", "Basic YW5uOmsx")]] {
        let printed = format!("{:?}", local(&headers));
        assert!(printed.starts_with("Ok(Some(") && !printed.contains("ann") && !printed.contains("k1"), "{printed}");
    }
}

fn anything() -> impl Strategy<Value = Vec<(String, String)>> {
    let name = prop_oneof![
        "(x-|X_)?(api|API)[-_](key|Key)",
        "(x-)?(timestamp|signature|username|authorization|upload-token|signature-input)",
        "\\PC{0,12}",
    ];
    proptest::collection::vec((name, "\\PC{0,20}"), 0..5)
}

proptest! {
    #[test]
    fn never_panics(headers in anything(), query in anything(), form in anything(), on: bool) {
        let presented = Presented { headers, query, form, ..Presented::default() };
        let methods = vec![Method::Signature, Method::ApiKey, Method::Basic];
        let _ = find(&presented, &Settings { query_credentials: on, methods, ..Settings::default() });
    }

    #[test]
    fn a_password_is_read_as_it_was_written(username in "[^:\\p{C}]{1,20}", password in "[^\\p{C}]{1,20}") {
        let header = format!("bAsIc {}", BASE64.encode(format!("{username}:{password}")));
        let found = local(&[("authorization", &header)]);
        prop_assert_eq!(found, Ok(Some(Credential::Basic(PasswordProof { username, password }))));
    }

    #[test]
    fn two_places_with_different_values_refuse(part in 0usize..3, first in 0usize..4, second in 0usize..4, to in "[a-z]{16,20}") {
        prop_assume!(first != second);
        let mut places = [vec![], vec![], vec![], vec![]];
        places[first] = TRIPLE.to_vec();
        places[second] = vec![(TRIPLE[part].0, to.as_str())];
        // The fourth place: headers under their `X-` names.
        let aliased: Vec<_> = places[3].iter().map(|(n, v)| (format!("X-{}", n.replace('_', "-")), *v)).collect();
        let mut headers = places[0].clone();
        headers.extend(aliased.iter().map(|(n, v)| (n.as_str(), *v)));
        prop_assert!(ambiguous(&read(&headers, &places[1], &places[2])));
    }

    #[test]
    fn spellings_of_a_header_behave_alike(x in "(|x-|X-|x_)", dash in "[-_]", upper: u16, value in "[a-z]{0,3}") {
        let spelled: String = format!("{x}api{dash}key").chars().enumerate()
            .map(|(at, c)| if upper >> at & 1 == 1 { c.to_ascii_uppercase() } else { c }).collect();
        let plain = read(&[("api_key", &value), TRIPLE[1], TRIPLE[2]], &[], &[]);
        prop_assert_eq!(read(&[(&spelled, &value), TRIPLE[1], TRIPLE[2]], &[], &[]), plain);
    }
}
