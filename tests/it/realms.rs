//! Several identity servers: a request's target tells whose users may come in, and nothing of one realm is anything in
//! another. Every scripted server calls the same user active, so whoever crosses would be let in.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use chunkgate::{
    auth::{Judge, Method},
    config::{Config, RealmSettings},
    domain::{
        Clock as _,
        message_signature::{Message, Terms, sign},
    },
};
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::{
    admin::{made, operating},
    local::PEPPER,
    support::{
        Answer, Caller, TOKEN, TestApp, form,
        identity::{Mode, Scripted},
        md5,
    },
};

const MINUTE: Duration = Duration::from_secs(60);

/// `default` at the common entrance, `acme` at a host and a path of its own, `beta` at a host, `gamma` by its keys.
struct House {
    app: TestApp,
    main: Scripted,
    acme: Scripted,
    beta: Scripted,
    gamma: Scripted,
}

impl House {
    async fn start() -> Self {
        Self::with(|_| {}).await
    }

    async fn with(change: impl FnOnce(&mut Config)) -> Self {
        let server = || Scripted::start(&[Mode::Ok]);
        let (main, acme, beta, gamma) = tokio::join!(server(), server(), server(), server());
        let app = TestApp::with(|config| {
            config.identity.url = main.url();
            config.realms = BTreeMap::from([
                ("acme".to_owned(), realm(&acme, &["acme.test"], &["/acme"], &["acme_"])),
                ("beta".to_owned(), realm(&beta, &["beta.test"], &[], &[])),
                ("gamma".to_owned(), realm(&gamma, &[], &[], &["gamma_"])),
            ]);
            change(config);
        })
        .await;
        Self { app, main, acme, beta, gamma }
    }

    /// Ann at the common entrance.
    fn ann(&self) -> Caller {
        self.app.user("ann")
    }

    /// How often each server was asked: the default one's, that of acme, of beta, of gamma.
    fn asked(&self) -> [usize; 4] {
        [&self.main, &self.acme, &self.beta, &self.gamma].map(Scripted::calls)
    }
}

fn realm(identity: &Scripted, hosts: &[&str], path_prefixes: &[&str], key_prefixes: &[&str]) -> RealmSettings {
    let list = |items: &[&str]| items.iter().map(|item| (*item).to_owned()).collect::<Vec<_>>();
    let mut realm = RealmSettings {
        hosts: list(hosts),
        path_prefixes: list(path_prefixes),
        key_prefixes: list(key_prefixes),
        ..RealmSettings::default()
    };
    realm.identity.url = identity.url();
    realm.identity.token = TOKEN.into();
    realm
}

/// Begins an upload of ten bytes.
async fn begun(caller: &Caller) -> Answer {
    caller.chunk(None, Some((0, 4, 10)), b"01234").await
}

async fn listed(caller: &Caller) -> Vec<String> {
    let listed = caller.get("/api/v1/uploads").await.expect(200).json();
    let uploads = listed["uploads"].as_array().expect("a list");
    uploads.iter().map(|upload| upload["id"].as_str().expect("an id").replace('-', "")).collect()
}

#[tokio::test]
async fn the_host_chooses_the_realm() {
    let house = House::start().await;
    begun(&house.ann()).await.expect(200);
    assert_eq!(house.asked(), [1, 0, 0, 0]);
    begun(&house.ann().at_host("acme.test")).await.expect(200);
    begun(&house.ann().at_host("ACME.test:8080")).await.expect(200);
    assert_eq!(house.asked(), [1, 1, 0, 0], "the second time it was remembered");
    begun(&house.ann().at_host("beta.test")).await.expect(200);
    assert_eq!(house.asked(), [1, 1, 1, 0]);
    for (server, realm) in [(&house.main, "default"), (&house.acme, "acme"), (&house.beta, "beta")] {
        assert_eq!(server.asked()[0].question["realm"], realm);
    }
    house.app.stop().await;
}

#[tokio::test]
async fn the_path_chooses_the_realm_and_stays_in_every_url() {
    let house = House::start().await;
    let below = house.ann().at(&format!("{}/acme", house.app.base));
    let first = begun(&below).await.expect(200);
    assert_eq!(house.asked(), [0, 1, 0, 0]);
    assert_eq!(house.acme.asked()[0].question["request"]["path"], "/acme/chunked_upload/");
    below.chunk(Some(&first.id()), Some((5, 9, 10)), b"56789").await.expect(200);
    below.complete(&first.id(), &md5(b"0123456789")).await.expect(200);
    assert_eq!(listed(&below).await, listed(&house.ann().at_host("acme.test")).await, "two ways into one realm");
    assert_eq!(listed(&house.ann()).await, Vec::<String>::new());
    for path in
        ["/acmee/chunked_upload/", "/ACME/chunked_upload/", "/acme/acme/chunked_upload/", "/%61cme/api/v1/uploads"]
    {
        house.ann().send("POST", path, &[], Vec::new()).await.expect(404);
    }
    // The host goes first: there the prefix of another is no path at all.
    house.ann().at_host("beta.test").send("POST", "/acme/chunked_upload/", &[], Vec::new()).await.expect(404);
    house.app.stop().await;
}

#[tokio::test]
async fn a_raw_upload_goes_on_by_the_urls_it_was_given() {
    for public_url in [None, Some("http://up.test")] {
        let house = House::with(|config| config.server.public_url = public_url.map(str::to_owned)).await;
        let authority = house.app.base.trim_start_matches("http://").to_owned();
        let common = public_url.map_or_else(|| house.app.base.clone(), str::to_owned);
        for (caller, base, path) in [
            (house.ann().at(&format!("{}/acme", house.app.base)), format!("{common}/acme"), "/acme/"),
            (house.app.user("amy").at_host("acme.test:81"), "http://acme.test:81".to_owned(), "/"),
            (house.ann(), common.clone(), "/"),
        ] {
            let sent = raw(&caller, &base, b"0123456789").await;
            let cookie = sent.header("set-cookie").expect("a cookie").to_owned();
            assert!(cookie.contains(&format!("; Path={path};")), "{cookie}");
            let shown = sent.json()[0].clone();
            let done = format!("/chunked_uploads/upload/done/{}/", shown["upload_uuid"].as_str().expect("an id"));
            let done = caller.send("POST", &done, &[], Vec::new()).await.expect(200).json();
            assert_eq!(done[0]["state"], "COMPLETE");
            for url in [&done[0]["video_url"], &shown["url"]] {
                let url = url.as_str().and_then(|url| url.strip_prefix(&base)).expect("at this entrance");
                assert_eq!(caller.get(url).await.expect(200).bytes, b"0123456789");
            }
            let delete =
                shown["delete_url"].as_str().and_then(|url| url.strip_prefix(&base)).expect("at this entrance");
            caller.send("DELETE", delete, &[], Vec::new()).await.expect(200);
        }
        let hosts: Vec<Value> =
            house.acme.asked().iter().map(|asked| asked.question["request"]["host"].clone()).collect();
        let by_path = if public_url.is_some() { "up.test" } else { &*authority };
        assert!(hosts.contains(&json!(by_path)) && hosts.contains(&json!("acme.test:81")), "{hosts:?}");
        house.app.stop().await;
    }
}

#[tokio::test]
async fn what_a_proxy_says_was_asked_chooses_no_realm() {
    let house =
        House::with(|config| config.server.trusted_proxies = ["127.0.0.1".parse()].into_iter().flatten().collect());
    let house = house.await;
    let said = |host: &str| vec![("X-Forwarded-Host".to_owned(), host.to_owned())];
    house.ann().send("GET", "/api/v1/uploads", &said("acme.test"), Vec::new()).await.expect(200);
    assert_eq!(house.asked(), [1, 0, 0, 0]);
    house.ann().at_host("acme.test").send("GET", "/api/v1/uploads", &said("beta.test"), Vec::new()).await.expect(200);
    assert_eq!(house.asked(), [1, 1, 0, 0]);
    let question = house.acme.asked()[0].question["request"].clone();
    assert_eq!(question["host"], "acme.test", "a realm's own host is the one that was asked");
    house.app.stop().await;
}

/// A whole file at the raw door.
async fn raw(caller: &Caller, name: &str, bytes: &[u8]) -> Answer {
    let name = name.replace(['/', ':'], "-");
    let headers = [
        ("Content-Disposition".to_owned(), format!("attachment; filename=\"{name}.bin\"")),
        ("Content-Range".to_owned(), format!("bytes 0-{}/{}", bytes.len() - 1, bytes.len())),
    ];
    caller.send("POST", "/chunked_uploads/upload/", &headers, bytes.to_vec()).await.expect(200)
}

#[tokio::test]
async fn the_beginning_of_a_key_chooses_where_nothing_else_does() {
    let house = House::start().await;
    begun(&house.app.user("gamma_ann")).await.expect(200);
    assert_eq!(house.asked(), [0, 0, 0, 1]);
    begun(&house.app.user("Gamma_ann")).await.expect(200);
    assert_eq!(house.asked(), [1, 0, 0, 1], "no mark of anybody's: the default realm's");
    // Marked as acme's, which comes in elsewhere; and as somebody else's at a realm's own entrance.
    let acme = house.app.user("acme_ann");
    for wrong in [acme.clone(), house.app.user("gamma_ann").at_host("acme.test"), acme.clone().at_host("beta.test")] {
        let refusal = wrong.get("/api/v1/uploads").await.expect(401);
        assert_eq!(refusal.json()["code"], "invalid_credentials");
    }
    assert_eq!(house.asked(), [1, 0, 0, 1], "nobody is asked about a key of somebody else's");
    begun(&acme.at_host("acme.test")).await.expect(200);
    assert_eq!(house.asked(), [1, 1, 0, 1]);
    house.app.stop().await;
}

#[tokio::test]
async fn the_same_user_in_two_realms_is_two_users() {
    let house = House::start().await;
    let entrances =
        [house.ann(), house.ann().at_host("acme.test"), house.ann().at_host("beta.test"), house.app.user("gamma_ann")];
    let mut ids = Vec::new();
    for caller in &entrances {
        ids.push(begun(caller).await.expect(200).id());
    }
    for (at, caller) in entrances.iter().enumerate() {
        assert_eq!(listed(caller).await, [ids[at].clone()], "{at}");
        for other in ids.iter().filter(|id| **id != ids[at]) {
            caller.get(&format!("/api/v1/uploads/{other}")).await.expect(404);
            caller.get(&format!("/api/v1/uploads/{other}/content")).await.expect(404);
            caller.cancel(other).await.expect(404);
            caller.chunk(Some(other), Some((5, 9, 10)), b"56789").await.expect(404);
            caller.complete(other, &md5(b"0123456789")).await.expect(404);
        }
    }
    house.app.stop().await;
}

#[tokio::test]
async fn a_verdict_of_one_realm_is_none_in_another() {
    let house = House::start().await;
    let proof = house.ann().proof();
    let ask = async |caller: Caller| caller.send_as_is("GET", "/api/v1/uploads", &proof, Vec::new()).await.status;
    assert_eq!(ask(house.ann()).await, 200);
    assert_eq!(ask(house.ann()).await, 200);
    assert_eq!(house.asked(), [1, 0, 0, 0], "remembered");
    house.acme.set(Mode::Deny(200, "unknown_key", json!({})));
    assert_eq!(ask(house.ann().at_host("acme.test")).await, 401);
    assert_eq!(ask(house.ann().at_host("beta.test")).await, 200);
    assert_eq!(ask(house.ann()).await, 200, "what acme says is nobody else's");
    assert_eq!(house.asked(), [1, 1, 1, 0]);
    house.app.stop().await;
}

#[tokio::test]
async fn an_upload_token_is_good_at_its_own_entrance_alone() {
    let house = House::start().await;
    let acme = house.ann().at_host("acme.test");
    let first = begun(&acme).await.expect(200);
    let bearer = house.app.bearer(first.header("upload-token").expect("a token"));
    let path = format!("/api/v1/uploads/{}", first.id());
    bearer.clone().at_host("acme.test").get(&path).await.expect(200);
    for elsewhere in [bearer.clone(), bearer.clone().at_host("beta.test")] {
        let stranger = elsewhere.get(&path).await.expect(401);
        assert_eq!(stranger.json()["code"], "invalid_credentials");
        elsewhere.chunk(Some(&first.id()), Some((5, 9, 10)), b"56789").await.expect(401);
    }
    // Nor is more told of one that is over, or of a user who is disabled.
    house.acme.set(Mode::Deny(200, "user_disabled", json!({"user": {"id": "u1", "username": "ann"}})));
    house.app.user("other").at_host("acme.test").get("/api/v1/uploads").await.expect(403);
    bearer.clone().at_host("acme.test").get(&path).await.expect(403);
    assert_eq!(bearer.get(&path).await.expect(401).json()["code"], "invalid_credentials");
    house.app.clock.advance(120 * MINUTE);
    let over = bearer.clone().at_host("acme.test").get(&path).await.expect(401);
    assert_eq!(over.json()["code"], "token_expired");
    assert_eq!(bearer.get(&path).await.expect(401).json()["code"], "invalid_credentials");
    house.app.stop().await;
}

#[tokio::test]
async fn a_realm_that_is_told_by_its_keys_shares_the_common_entrance() {
    let house = House::start().await;
    let first = begun(&house.app.user("gamma_ann")).await.expect(200);
    let bearer = house.app.bearer(first.header("upload-token").expect("a token"));
    let path = format!("/api/v1/uploads/{}", first.id());
    bearer.get(&path).await.expect(200);
    bearer.clone().at_host("acme.test").get(&path).await.expect(401);
    house.ann().get(&path).await.expect(404);
    // Long uploads are asked about where their user is known.
    house.app.clock.advance(16 * MINUTE);
    bearer.get(&path).await.expect(200);
    assert_eq!((house.gamma.calls(), house.main.calls()), (2, 1));
    assert_eq!(house.gamma.asked()[1].question["realm"], "gamma");
    house.app.stop().await;
}

#[tokio::test]
async fn keys_and_passwords_are_judged_where_they_come_in() {
    let house = House::with(|config| {
        config.auth.methods = vec![Method::ApiKey, Method::Basic];
        (config.auth.api_key, config.auth.basic) = (Judge::Identity, Judge::Identity);
    })
    .await;
    let ask = async |caller: Caller, authorization: &str| {
        let headers = [("Authorization".to_owned(), authorization.to_owned())];
        caller.send_as_is("GET", "/api/v1/uploads", &headers, Vec::new()).await.status
    };
    let nobody = house.app.anonymous();
    assert_eq!(ask(nobody.clone(), "Basic YW5uOnNlY3JldA==").await, 200);
    assert_eq!(ask(nobody.clone(), "ApiKey ann:gamma_key").await, 200);
    assert_eq!(ask(nobody.clone(), "ApiKey ann:acme_key").await, 401);
    assert_eq!(house.asked(), [1, 0, 0, 1]);
    assert_eq!(ask(nobody.clone().at_host("acme.test"), "Basic YW5uOnNlY3JldA==").await, 200);
    assert_eq!(ask(nobody.clone().at_host("acme.test"), "ApiKey ann:acme_key").await, 200);
    assert_eq!(house.asked(), [1, 2, 0, 1]);
    // A guess that is slowed in one realm slows nobody of that name in another.
    house.beta.set(Mode::Deny(200, "invalid_signature", json!({})));
    assert_eq!(ask(nobody.clone().at_host("beta.test"), "ApiKey ann:wrong").await, 401);
    assert_eq!(ask(nobody, "Basic YW5uOnNlY3JldA==").await, 200);
    house.app.stop().await;
}

#[tokio::test]
async fn a_nonce_that_is_spent_in_one_realm_is_fresh_in_another() {
    let house = House::start().await;
    let (common, acme) = (house.ann(), house.ann().at_host("acme.test"));
    let authority = house.app.base.trim_start_matches("http://").to_owned();
    let cancel = async |caller: &Caller, authority: &str| {
        let path = format!("/api/v1/uploads/{}", begun(caller).await.expect(200).id());
        let signed = signed(&house.app, "DELETE", authority, &path);
        caller.send_as_is("DELETE", &path, &signed, Vec::new()).await.status
    };
    assert_eq!(cancel(&common, &authority).await, 204);
    assert_eq!(cancel(&acme, "acme.test").await, 204);
    assert_eq!(cancel(&acme, "acme.test").await, 401, "spent here as well, by now");
    assert_eq!(cancel(&common, &authority).await, 401);
    house.app.stop().await;
}

#[tokio::test]
async fn a_realm_whose_server_cannot_be_asked_keeps_the_service_from_starting() {
    let house = House::start().await;
    let mut config = house.app.config.clone();
    config.storage.local.path = house.app.files().with_file_name("files-of-another");
    config.realms.get_mut("beta").expect("there").identity.token = String::new().into();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let started = chunkgate::app::start(config, listener, house.app.clock.clone(), axum::Router::new()).await;
    let reason = started.err().expect("refused");
    assert!(reason.starts_with("realms.beta.identity.token must be set"), "{reason}");
    house.app.stop().await;
}

#[tokio::test]
async fn an_aged_signature_reaches_its_upload_in_its_realm_alone() {
    let house = House::start().await;
    let acme = house.ann().at_host("acme.test");
    let proof = acme.proof();
    let (content_type, body) = form::multipart(&[form::Part::file("file", "test.bin", None, b"01234".to_vec())]);
    let mut headers = proof.clone();
    headers.push(("Content-Type".into(), content_type.expect("a form")));
    headers.push(("Content-Range".into(), "bytes 0-4/10".into()));
    let first = acme.send_as_is("POST", "/chunked_upload/", &headers, body).await.expect(200);
    house.app.clock.advance(10 * MINUTE);
    let path = format!("/api/v1/uploads/{}", first.id());
    acme.send_as_is("GET", &path, &proof, Vec::new()).await.expect(200);
    for elsewhere in [house.ann(), house.ann().at_host("beta.test")] {
        let stale = elsewhere.send_as_is("GET", &path, &proof, Vec::new()).await.expect(401);
        assert_eq!(stale.json()["code"], "timestamp_out_of_window");
    }
    assert_eq!(house.asked()[0] + house.asked()[2], 0);
    house.app.stop().await;
}

#[tokio::test]
async fn nobody_and_local_users_come_in_at_the_common_entrance() {
    let house = House::with(|config| {
        config.auth.anonymous = true;
        config.auth.methods = vec![Method::Signature, Method::ApiKey];
        config.auth.pepper = PEPPER.into();
    })
    .await;
    let nobody = house.app.anonymous();
    let first = begun(&nobody).await.expect(200);
    let path = format!("/api/v1/uploads/{}", first.id());
    nobody.get(&path).await.expect(200);
    let token = house.app.bearer(first.header("upload-token").expect("a token"));
    token.get(&path).await.expect(200);
    let own = nobody.clone().at_host("acme.test");
    assert_eq!(own.get(&path).await.expect(401).json()["code"], "credentials_missing");
    begun(&own).await.expect(403);
    token.at_host("acme.test").get(&path).await.expect(401);

    let (_, key) = made(&house.app, "root", operating()).await;
    let headers = [("Authorization".to_owned(), key)];
    let ask = async |caller: &Caller, path: &str| caller.send_as_is("GET", path, &headers, Vec::new()).await;
    ask(&nobody, "/api/v1/uploads").await.expect(200);
    ask(&nobody, "/api/v1/admin/users").await.expect(200);
    for path in ["/api/v1/uploads", "/api/v1/admin/users"] {
        let refused = ask(&own, path).await.expect(400);
        assert_eq!(refused.json()["code"], "credentials_malformed", "of a kind that is not taken there");
    }
    let challenge = own.get(&path).await.header("www-authenticate").map(str::to_owned);
    assert_eq!(challenge.as_deref(), Some("Chunkgate realm=\"acme\", schemes=\"signature-v1 signature-v2\""));
    house.app.stop().await;
}

#[tokio::test]
async fn pages_are_granted_what_the_realm_grants() {
    const PAGE: &str = "https://acme.example";
    const COMMON: &str = "https://page.example";
    let house = House::with(|config| {
        config.cors.allowed_origins = vec![COMMON.into()];
        config.realms.get_mut("acme").expect("there").allowed_origins = Some(vec![PAGE.into()]);
    })
    .await;
    let base = house.app.base.clone();
    let common = house.app.anonymous();
    for (caller, page, granted) in [
        (common.clone().at_host("acme.test"), PAGE, true),
        (common.clone().at(&format!("{base}/acme")), PAGE, true),
        (common.clone().at_host("acme.test"), COMMON, false),
        (common.clone(), PAGE, false),
        (common.clone(), COMMON, true),
        (common.clone().at_host("beta.test"), PAGE, false),
        (common.clone().at_host("beta.test"), COMMON, true),
    ] {
        let origin = ("Origin".to_owned(), page.to_owned());
        let preflight = [origin.clone(), ("Access-Control-Request-Method".to_owned(), "POST".to_owned())];
        let asked = caller.send_as_is("OPTIONS", "/chunked_upload/", &preflight, Vec::new()).await.expect(204);
        let read = caller.send_as_is("GET", "/api/v1/uploads", &[origin], Vec::new()).await.expect(401);
        for answer in [asked, read] {
            let grant = answer.header("access-control-allow-origin");
            assert_eq!(grant, granted.then_some(page), "{page} at {}", caller.base);
        }
    }
    assert_eq!(house.asked(), [0; 4]);
    house.app.stop().await;
}

#[tokio::test]
async fn an_identity_server_speaks_of_its_own_realm() {
    let tokens = ["default-events-S3CR3T", "acme-events-S3CR3T"];
    let house = House::with(|config| {
        config.identity.events_token = tokens[0].into();
        config.realms.get_mut("acme").expect("there").identity.events_token = tokens[1].into();
    })
    .await;
    let tell = async |token: &str, realm: &str| {
        let at = house.app.clock.now();
        let event = json!({"id": format!("{realm} {}", tokens.contains(&token)), "type": "user.disabled", "realm": realm, "user_id": "u1", "at": at});
        let headers = [("Authorization".to_owned(), format!("Bearer {token}"))];
        let body = json!({"version": "1", "events": [event]}).to_string().into_bytes();
        house.app.anonymous().send_as_is("POST", "/api/v1/identity/events", &headers, body).await
    };
    let (common, acme) = (house.ann(), house.ann().at_host("acme.test"));
    let (of_common, of_acme) = (begun(&common).await.expect(200).id(), begun(&acme).await.expect(200).id());
    tell(tokens[1], "default").await.expect(400);
    tell(tokens[1], "beta").await.expect(400);
    tell(tokens[0], "acme").await.expect(400);
    tell("somebody-elses-S3CR3T", "acme").await.expect(401);
    common.get(&format!("/api/v1/uploads/{of_common}")).await.expect(200);
    // It says the same when it is asked, which it is about each new second's signature.
    house.acme.set(Mode::Deny(200, "user_disabled", json!({"user": {"id": "u1"}})));
    tell(tokens[1], "acme").await.expect(200);
    acme.get(&format!("/api/v1/uploads/{of_acme}")).await.expect(403);
    common.get(&format!("/api/v1/uploads/{of_common}")).await.expect(200);
    house.app.stop().await;
}

#[tokio::test]
async fn an_outage_is_felt_in_one_realm() {
    let gate = Arc::new(Semaphore::new(0));
    let house = House::with(|config| {
        let acme = config.realms.get_mut("acme").expect("there");
        acme.identity.try_timeout = Duration::from_millis(100);
        acme.identity.deadline = Duration::from_millis(100);
    })
    .await;
    house.acme.set(Mode::Page(500));
    // So many that the breaker opens.
    for number in 0..25 {
        let caller = house.app.user(&format!("user{number}")).at_host("acme.test");
        caller.get("/api/v1/uploads").await.expect(503);
    }
    let asked = house.acme.calls();
    assert!(asked < 25, "it is left alone");
    house.ann().at_host("acme.test").get("/api/v1/uploads").await.expect(503);
    assert_eq!(house.acme.calls(), asked);
    for caller in [house.ann(), house.ann().at_host("beta.test"), house.app.user("gamma_ann")] {
        begun(&caller).await.expect(200);
    }
    // Nor does one that is slow take the seats of another. Strangers get 48 of its own.
    house.beta.set(Mode::Held(gate.clone()));
    let crowd: Vec<_> = (0..70)
        .map(|number| {
            let caller = house.app.user(&format!("slow{number}")).at_host("beta.test");
            tokio::spawn(async move { caller.get("/api/v1/uploads").await.status })
        })
        .collect();
    house.beta.has_been_asked(49).await;
    house.app.user("bob").get("/api/v1/uploads").await.expect(200);
    gate.add_permits(100);
    for one in crowd {
        assert!([200, 503].contains(&one.await.expect("ended")));
    }
    house.app.anonymous().get("/readyz").await.expect(200);
    house.app.stop().await;
}

#[tokio::test]
async fn a_signed_request_covers_the_target_as_it_was_sent() {
    let house = House::with(|config| config.server.public_url = Some("https://up.test".into())).await;
    let base = &house.app.base;
    for (caller, path, authority, received) in [
        (house.ann().at(&format!("{base}/acme")), "/api/v1/uploads", "up.test", "/acme/api/v1/uploads"),
        (house.ann().at_host("acme.test"), "/api/v1/uploads", "acme.test", "/api/v1/uploads"),
    ] {
        let before = house.acme.calls();
        let signed = signed(&house.app, "GET", authority, received);
        caller.send_as_is("GET", path, &signed, Vec::new()).await.expect(200);
        let base = house.acme.asked()[before].question["credential"]["signature_base"].clone();
        let base = base.as_str().expect("a base").to_owned();
        assert!(base.contains(&format!("\"@authority\": {authority}\n")), "{base}");
        assert!(base.contains(&format!("\"@path\": {received}\n")), "{base}");
    }
    house.app.stop().await;
}

/// The headers of a signed request, with the same nonce each time.
fn signed(app: &TestApp, method: &str, authority: &str, path: &str) -> [(String, String); 2] {
    let message = Message { method, scheme: "http", authority, path, query: None, fields: &[] };
    let terms = Terms {
        keyid: "ann-key".into(),
        created: app.clock.now(),
        nonce: Some("the-same-nonce".into()),
        more: Vec::new(),
    };
    let (input, value) = sign(b"ann-secret", &message, &terms).expect("signed");
    [("Signature-Input".to_owned(), input), ("Signature".to_owned(), value)]
}

#[tokio::test]
async fn operators_see_how_each_server_is() {
    let house = House::with(|config| {
        config.auth.methods = vec![Method::Signature, Method::ApiKey];
        config.auth.pepper = PEPPER.into();
    })
    .await;
    let (_, key) = made(&house.app, "root", operating()).await;
    let headers = [("Authorization".to_owned(), key)];
    let ask = async || {
        let answer = house.app.anonymous().send_as_is("GET", "/api/v1/admin/realms", &headers, Vec::new()).await;
        answer.expect(200).json()["realms"].as_array().expect("a list").clone()
    };
    let names: Vec<_> = ask().await.iter().map(|realm| realm["name"].clone()).collect();
    assert_eq!(names, ["default", "acme", "beta", "gamma"]);
    begun(&house.ann()).await.expect(200);
    house.acme.set(Mode::Page(500));
    house.ann().at_host("acme.test").get("/api/v1/uploads").await.expect(503);
    let told = ask().await;
    let fresh = json!({
        "name": "beta", "server": house.beta.url(), "breaker": "closed", "in_flight": 0, "waiting": 0,
        "last_answer": null, "last_failure": null,
    });
    assert_eq!(told[2], fresh);
    assert!(told[0]["last_answer"].is_string() && told[0]["last_failure"].is_null(), "{told:?}");
    assert!(told[1]["last_answer"].is_null() && told[1]["last_failure"]["at"].is_string(), "{told:?}");
    assert_eq!(told[1]["last_failure"]["reason"], "status 500");
    house.app.anonymous().get("/api/v1/admin/realms").await.expect(401);
    house.app.stop().await;
}

#[tokio::test]
async fn each_realm_counts_for_itself() {
    let house = House::start().await;
    begun(&house.ann()).await.expect(200);
    begun(&house.ann().at_host("acme.test")).await.expect(200);
    let text = house.app.running().metrics().text();
    for (realm, times) in [("default", 1), ("acme", 1), ("beta", 0), ("gamma", 0)] {
        let line = format!("chunkgate_identity_requests_total{{realm=\"{realm}\",outcome=\"active\"}} {times}\n");
        assert!(text.contains(&line), "{line}");
    }
    assert!(text.contains("chunkgate_auth_verdicts_missed_total{realm=\"local\",judge=\"local\"} 0\n"));
    house.app.stop().await;
}
