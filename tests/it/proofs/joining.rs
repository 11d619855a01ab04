//! `kill -9` while parts are joined: after the next start there is one file, whole, whoever asks for it.

use std::time::{Duration, Instant};

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use reqwest::{Method, Response, StatusCode};

use super::{say, seed, stage::Stage, until};
use crate::support::noise;

const ROUNDS: u64 = 8;
const PARTS: usize = 3;
/// So that joining takes a while, and more than one step.
const LENGTH: usize = 64 * 1024 * 1024 + 4321;

/// A tus client.
#[derive(Clone)]
struct Tus {
    http: reqwest::Client,
    base: String,
    key: super::client::Key,
}

impl Tus {
    fn of(stage: &Stage) -> Self {
        let http = reqwest::Client::builder().no_proxy().tls_certs_only([]).build().expect("a client");
        Self { http, base: stage.base(), key: stage.key.clone() }
    }

    async fn send(
        &self,
        method: Method,
        url: &str,
        headers: &[(&str, &str)],
        body: Vec<u8>,
    ) -> reqwest::Result<Response> {
        let mut request = self.http.request(method, url).header("Tus-Resumable", "1.0.0").body(body);
        for (name, value) in self.key.proof() {
            request = request.header(name, value);
        }
        headers.iter().fold(request, |request, (name, value)| request.header(*name, *value)).send().await
    }

    /// Makes a partial upload of these bytes; its URL.
    async fn part(&self, bytes: &[u8]) -> String {
        let length = bytes.len().to_string();
        let headers = [
            ("Upload-Concat", "partial"),
            ("Upload-Length", &*length),
            ("Content-Type", "application/offset+octet-stream"),
        ];
        let made = self.send(Method::POST, &format!("{}/files/", self.base), &headers, bytes.to_vec()).await;
        location(made.expect("an answer"))
    }

    async fn join(&self, list: &str) -> reqwest::Result<Response> {
        self.send(Method::POST, &format!("{}/files/", self.base), &[("Upload-Concat", list)], Vec::new()).await
    }

    /// Whether the upload is joined.
    async fn is_joined(&self, url: &str) -> Option<()> {
        let told = self.send(Method::HEAD, url, &[], Vec::new()).await.expect("an answer");
        assert_eq!(told.status(), StatusCode::OK);
        told.headers().contains_key("upload-offset").then_some(())
    }
}

fn location(made: Response) -> String {
    assert_eq!(made.status(), StatusCode::CREATED);
    made.headers()["location"].to_str().expect("text").to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a long proof"]
async fn parts_are_joined_through_kills() {
    let mut stage = Stage::open(&[]).await;
    let tus = Tus::of(&stage);
    let mut chance = StdRng::seed_from_u64(seed("joining"));
    let (mut killed_in_time, mut took) = (0, Duration::from_millis(500));
    for round in 0..ROUNDS {
        let content = noise(round, PARTS * LENGTH);
        let mut urls = Vec::new();
        for bytes in content.chunks(LENGTH) {
            urls.push(tus.part(bytes).await);
        }
        let list = format!("final;{}", urls.join(" "));
        let asking = tokio::spawn({
            let (tus, list) = (tus.clone(), list.clone());
            async move {
                let began = Instant::now();
                tus.join(&list).await.map(|made| (location(made), began.elapsed()))
            }
        });
        // The first one is let finish, and tells how long it takes.
        if round > 0 {
            tokio::time::sleep(took.mul_f64(chance.random_range(0.0..1.1))).await;
            stage.service.kill();
            stage.start().await;
        }
        let first = asking.await.expect("no panic").ok();
        if round == 0 {
            took = first.as_ref().expect("nobody was killed").1;
        }
        killed_in_time += usize::from(first.is_none());
        let url = location(tus.join(&list).await.expect("an answer"));
        assert!(first.is_none_or(|(first, _)| first == url), "there is one");
        until("it is joined", Duration::from_secs(60), async || tus.is_joined(&url).await).await;
        let stored = tus.send(Method::GET, &url, &[], Vec::new()).await.expect("an answer");
        assert!(stored.bytes().await.expect("content") == content, "the file differs");
        for url in urls.iter().chain([&url]) {
            tus.send(Method::DELETE, url, &[], Vec::new()).await.expect("an answer");
        }
    }
    say(&format!(
        "joining: {} MiB took {took:?}; of {} kills {killed_in_time} came before the answer, every file is whole",
        PARTS * LENGTH / 1024 / 1024,
        ROUNDS - 1
    ));
    stage.close().await;
}
