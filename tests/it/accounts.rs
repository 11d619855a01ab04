//! `chunkgate user` and `chunkgate key`: the real binary on the database of a running service.

use std::{
    io::Write as _,
    process::{Command, Output, Stdio},
};

use chunkgate::auth::Method;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use crate::support::{
    TestApp,
    watch::{Watch, watch},
};

const PEPPER: &str = "a pepper for the tests, S3CR3T";
const PASSWORD: &str = "p\u{e4}ssword of ann, S3CR3T";

struct Bench {
    app: TestApp,
}

impl Bench {
    async fn start() -> Self {
        let app = TestApp::with(|config| {
            config.auth.methods = vec![Method::ApiKey, Method::Basic];
            config.auth.pepper = PEPPER.into();
        })
        .await;
        Self { app }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_chunkgate"));
        command.env_clear().args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.env("CHUNKGATE_DATABASE__URL", self.app.config.database.url.expose_secret());
        command.env("CHUNKGATE_AUTH__PEPPER", PEPPER);
        command
    }

    async fn feed(&self, arguments: &[&str], input: &'static str) -> Output {
        let mut child = self.command(arguments).spawn().expect("runs");
        let work = move || {
            let mut to = child.stdin.take().expect("piped");
            // Whoever asks for nothing may be gone already.
            let _ = to.write_all(input.as_bytes());
            drop(to);
            child.wait_with_output().expect("ends")
        };
        let output = tokio::task::spawn_blocking(work).await.expect("no panic");
        Watch::assert_kept(&watch().search("the error stream", &output.stderr));
        output
    }

    /// What a command prints that must succeed.
    async fn done(&self, arguments: &[&str]) -> String {
        let output = self.feed(arguments, "").await;
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text")
    }

    async fn json(&self, arguments: &[&str]) -> Value {
        let text = self.done(&[arguments, &["--json"]].concat()).await;
        let value: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{arguments:?}: {error}: {text}"));
        if let Some(key) = value["api_key"].as_str() {
            watch().keep("an API key", key);
        }
        value
    }

    /// The code and the sentence of a command that must not succeed.
    async fn refused(&self, arguments: &[&str], input: &'static str) -> (i32, String) {
        let output = self.feed(arguments, input).await;
        assert!(output.stdout.is_empty(), "{arguments:?}");
        (output.status.code().expect("ends"), String::from_utf8_lossy(&output.stderr).into_owned())
    }

    async fn asks(&self, authorization: &str) -> u16 {
        let headers = [("Authorization".to_owned(), authorization.to_owned())];
        self.app.anonymous().send_as_is("GET", "/api/v1/uploads", &headers, Vec::new()).await.status
    }

    async fn asks_with(&self, key: &str) -> u16 {
        self.asks(&format!("ApiKey ann:{key}")).await
    }
}

#[tokio::test]
async fn a_user_from_first_to_last() {
    use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
    let bench = Bench::start().await;
    let basic = format!("Basic {}", BASE64.encode(format!("ann:{PASSWORD}")));
    let added = bench.json(&["user", "add", "ann", "--email", "ann@example.org"]).await;
    assert_eq!(
        (&added["username"], &added["password"], &added["disabled"]),
        (&json!("ann"), &json!(false), &json!(false))
    );
    assert_eq!(bench.asks(&basic).await, 401);
    let set = bench.feed(&["user", "password", "ann"], "p\u{e4}ssword of ann, S3CR3T\n").await;
    assert!(set.status.success() && !String::from_utf8_lossy(&set.stdout).contains(PASSWORD), "{set:?}");
    assert_eq!(bench.asks(&basic).await, 200);
    assert!(bench.done(&["user", "disable", "ann"]).await.contains("disabled"));
    assert_eq!(bench.asks(&basic).await, 403);
    let listed = bench.done(&["user", "list"]).await;
    assert!(listed.contains("ann") && listed.contains("disabled") && listed.contains("ann@example.org"), "{listed}");
    assert!(!listed.contains("argon2"), "{listed}");
    bench.done(&["user", "enable", "ann"]).await;
    assert_eq!(bench.asks(&basic).await, 200);
    assert_eq!(bench.json(&["user", "list"]).await["password"], true);

    for (arguments, input, code, part) in [
        (&["user", "add", "ann"][..], "", 1, "already"),
        (&["user", "add", "a:b"], "", 2, "colon"),
        (&["user", "add", "bob", "--password-file", "-"], "short\n", 1, "at least 8"),
        (&["user", "add", "bob", "--password-file", "/nowhere"], "", 1, "cannot be read"),
        (&["user", "password", "nobody"], "a long password", 1, "no local user"),
        (&["user", "disable", "nobody"], "", 1, "no local user"),
        (&["key", "create", "nobody"], "", 1, "no local user"),
        (&["key", "create", "ann", "--scope", "everything"], "", 2, "upload:create"),
        (&["key", "revoke", "0000000000000000"], "", 1, "no key"),
        (&["key", "rotate", "nonsense"], "", 2, "not an id"),
    ] {
        let (found, said) = bench.refused(arguments, input).await;
        assert!(found == code && said.contains(part), "{arguments:?}: {found} {said}");
    }
    bench.app.stop().await;
}

#[tokio::test]
async fn a_key_from_first_to_last() {
    let bench = Bench::start().await;
    bench.done(&["user", "add", "ann"]).await;
    let plain = bench.done(&["key", "create", "ann", "--label", "laptop"]).await;
    let key = plain.trim_end();
    assert_eq!(plain.lines().count(), 1, "nothing but the key, to be piped");
    assert_eq!(bench.asks_with(key).await, 200);
    let listed = bench.json(&["key", "list", "ann"]).await;
    assert_eq!((&listed["label"], &listed["state"]), (&json!("laptop"), &json!("active")));
    assert!(listed["last_used"].is_string() && !listed.to_string().contains(key));
    let id = listed["id"].as_str().expect("an id").to_owned();
    assert!(key.starts_with(&format!("cg_{id}_")));

    let next = bench.json(&["key", "rotate", &id]).await;
    let new = next["api_key"].as_str().expect("a key");
    assert_eq!((bench.asks_with(key).await, bench.asks_with(new).await), (200, 200));
    assert_eq!(bench.refused(&["key", "rotate", &id], "").await.0, 1, "once");
    bench.app.clock.advance(std::time::Duration::from_secs(25 * 60 * 60));
    assert_eq!((bench.asks_with(key).await, bench.asks_with(new).await), (401, 200));
    let revoked = bench.done(&["key", "revoke", next["id"].as_str().expect("an id")]).await;
    assert!(revoked.contains("revoked"));
    assert_eq!(bench.asks_with(new).await, 401);
    let table = bench.done(&["key", "list"]).await;
    assert!(table.contains("overlap") && table.contains("revoked"), "{table}");

    let narrow = bench.json(&["key", "create", "ann", "--scope", "upload:create", "--expires-in", "90d"]).await;
    assert_eq!(narrow["scopes"], json!(["upload:create"]));
    assert!(narrow["expires"].is_string());
    assert_eq!(bench.asks_with(narrow["api_key"].as_str().expect("a key")).await, 403);

    let mut without = bench.command(&["key", "create", "ann"]);
    without.env_remove("CHUNKGATE_AUTH__PEPPER");
    let output = tokio::task::spawn_blocking(move || without.output().expect("runs")).await.expect("no panic");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(1) && said.contains("auth.pepper must be"), "{said}");
    bench.app.stop().await;
}
