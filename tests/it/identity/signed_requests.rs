//! Signed requests (scheme v2) at the gate: the question that is asked about one, and who may not sign otherwise.

use chunkgate::domain::{
    after,
    message_signature::{Message, Terms, sign},
    principal::Nonce,
};

use super::*;

/// A GET of `/a?b=1`, signed at this time.
pub(super) fn request(secret: &str, at: i64) -> Presented {
    let message = Message {
        method: "GET",
        scheme: "https",
        authority: "files.example",
        path: "/a",
        query: Some("b=1"),
        fields: &[],
    };
    let created = Timestamp::from_second(at).expect("valid");
    let terms = Terms { keyid: "key".into(), created, nonce: Some("nonce-01".into()), more: Vec::new() };
    let (input, value) = sign(secret.as_bytes(), &message, &terms).expect("signed");
    let mut presented = Presented {
        headers: vec![("signature-input".into(), input), ("signature".into(), value)],
        scheme: "https".into(),
        raw_query: Some("b=1".into()),
        ..Presented::default()
    };
    presented.request.method = "GET".into();
    presented.request.path = "/a".into();
    presented.request.host = Some("files.example".into());
    presented
}

#[tokio::test]
async fn the_identity_server_hears_what_we_rebuilt() {
    let server = Scripted::start(&[Mode::Ok]).await;
    let house = House::asking(&server.url());
    let principal = house.admit(&request("secret", NOW)).await.expect("admitted");
    assert_eq!((principal.reach, principal.may_create, principal.binding), (Reach::Own, true, None));
    let Nonce::Given(spend) = principal.nonce else { panic!("{:?}", principal.nonce) };
    assert_eq!(spend.until, after(house.clock.now(), Duration::from_secs(660)));
    house.admit(&request("secret", NOW)).await.expect("remembered");
    assert_eq!(server.calls(), 1);
    {
        let asked = server.asked();
        let at = |pointer| asked[0].question.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let kind = [at("/credential/type"), at("/credential/scheme"), at("/credential/algorithm")];
        assert_eq!(kind, ["signature", "v2", "hmac-sha256"]);
        let parts = [at("/credential/api_key"), at("/credential/timestamp"), at("/credential/nonce")];
        assert_eq!(parts, ["key", "1700000000", "nonce-01"]);
        let base = "\"@method\": GET\n\"@authority\": files.example\n\"@path\": /a\n\"@query\": ?b=1\n\
            \"@signature-params\": (\"@method\" \"@authority\" \"@path\" \"@query\");";
        assert!(at("/credential/signature_base").starts_with(base), "{}", at("/credential/signature_base"));
    }
    // The same fields over another request are another proof.
    let mut elsewhere = request("secret", NOW);
    elsewhere.request.path = "/b".into();
    house.admit(&elsewhere).await.expect("this server says yes to everything");
    assert_eq!(server.calls(), 2);
}

#[tokio::test]
async fn a_key_that_asks_for_a_scheme_nobody_knows_admits_nothing() {
    let server = Scripted::start(&[Mode::OkBut(json!({"key": {"min_scheme": "v2"}}))]).await;
    let house = House::asking(&server.url());
    assert_eq!(house.refusal(&ann()).await, AuthError::SchemeNotAllowed);
    assert!(house.admit(&request("secret", NOW)).await.is_ok());
    server.set(Mode::OkBut(json!({"key": {"min_scheme": "v3"}})));
    assert_eq!(house.refusal(&request("secret", NOW - 1)).await, AuthError::SchemeNotAllowed);
}
