//! What a chunk in the middle of its upload costs besides its bytes: statements of the database, and questions to the
//! identity server. Time is measured elsewhere (`benches/gate`); what is counted here decides most of it.

use uuid::Uuid;

use crate::support::{
    Answer, Caller, TestApp,
    identity::{Mode, Scripted},
    watch::watch,
};

const CHUNK: u64 = 5;
const CHUNKS: u64 = 40;

/// Finding the upload, moving its offset.
const CORE: usize = 2;
/// Whether the user is disabled, and which epoch is theirs: once a second.
const USER: usize = 1;

type Fields = Vec<(String, String)>;

/// Sends a whole file: the first chunk with the proof of `by`, the others with what `then` makes of it and of the answer.
/// How many statements each of the others took, the fewest first; no question was asked about them.
async fn statements(identity: &Scripted, by: &Caller, then: impl Fn(&Fields, &Answer) -> Fields) -> Vec<usize> {
    let name = Uuid::new_v4();
    let send = async |at: u64, presented: &Fields, request: Uuid| {
        let (from, to, total) = (at * CHUNK, (at + 1) * CHUNK - 1, CHUNK * CHUNKS);
        let head = named([
            ("Content-Disposition", format!("attachment; filename=\"{name}.bin\"")),
            ("Content-Range", format!("bytes {from}-{to}/{total}")),
            ("X-Request-Id", request.to_string()),
        ]);
        let (head, bytes) = ([head.as_slice(), presented].concat(), vec![b'a'; CHUNK as usize]);
        by.send_as_is("POST", "/chunked_uploads/upload/", &head, bytes).await.expect(200)
    };
    let proof = by.proof();
    let presented = then(&proof, &send(0, &proof, Uuid::new_v4()).await);
    let (mut counts, asked) = (Vec::new(), identity.calls());
    for at in 1..CHUNKS {
        let request = Uuid::new_v4();
        send(at, &presented, request).await;
        // Without those that open a connection. Where tests share a process, another one may have taken lines away.
        let of = |kind| watch().lines(&[&request.to_string(), &format!(" sqlx::query: summary=\"{kind} ")]);
        counts.push(["SELECT", "INSERT", "UPDATE", "DELETE"].map(of).iter().sum());
    }
    assert_eq!(identity.calls(), asked);
    counts.sort_unstable();
    counts
}

fn named<const N: usize>(fields: [(&str, String); N]) -> Fields {
    fields.map(|(name, value)| (name.to_owned(), value)).to_vec()
}

/// The proof again, and the cookie that names the upload.
fn with_cookie(proof: &Fields, first: &Answer) -> Fields {
    let id = first.json()[0]["upload_uuid"].as_str().expect("an id").to_owned();
    [proof.as_slice(), &named([("Cookie", format!("chunkgate_session={id}"))])].concat()
}

fn token_alone(_: &Fields, first: &Answer) -> Fields {
    named([("Upload-Token", first.header("upload-token").expect("a token").to_owned())])
}

#[tokio::test]
async fn a_warm_gate_asks_nobody_and_looks_at_the_user_now_and_then() {
    let identity = Scripted::start(&[Mode::Ok]).await;
    let url = identity.url();
    let app = TestApp::with(|config| (config.auth.anonymous, config.identity.url) = (true, url)).await;
    let nobody = statements(&identity, &app.anonymous(), with_cookie).await;
    assert_eq!((nobody[nobody.len() / 2], nobody[nobody.len() - 1]), (CORE, CORE));
    let ann = app.user("ann");
    for (what, counts) in [
        ("a remembered verdict", statements(&identity, &ann, with_cookie).await),
        ("the same, found by the file's name", statements(&identity, &ann, |proof, _| proof.clone()).await),
        ("a token", statements(&identity, &ann, token_alone).await),
    ] {
        let (usual, most) = (counts[counts.len() / 2], counts[counts.len() - 1]);
        assert!(usual == CORE && most <= CORE + USER, "{what}: {counts:?}");
    }
    app.stop().await;
}
