//! tus uploads in long requests. `kill -9` in the middle of one: what HEAD told before is there afterwards, and the client
//! goes on from there to the same content. A file that may not grow: 507, and the same.

use std::time::Duration;

use bytes::Bytes;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

use super::{
    client::{Client, pieces},
    disk_full::{WITH_SHORT_FILES, words},
    say, seed,
    stage::Stage,
};
use crate::support::{Answer, noise};

const MIB: usize = 1024 * 1024;
const KILLS: usize = 12;

/// An upload in PATCHes of all that is missing.
struct Streamed {
    source: Bytes,
    path: String,
}

impl Streamed {
    async fn begin(client: &Client, source: Bytes) -> Self {
        let request = tus(client, "POST", "/files/").header("Upload-Length", source.len());
        let made = client.send(request).await.expect("an answer").expect(201);
        let location = made.header("location").expect("a location");
        let at = location.find("/files/").expect("a URL of an upload");
        Self { source, path: location[at..].to_owned() }
    }

    /// Where HEAD says that it stands.
    async fn stands_at(&self, client: &Client) -> reqwest::Result<usize> {
        let told = client.send(tus(client, "HEAD", &self.path)).await?.expect(200);
        Ok(told.header("upload-offset").expect("an offset").parse().expect("a number"))
    }

    /// Sends what is missing, as fast as `pause` lets it.
    async fn go(&self, client: &Client, pause: Duration) -> reqwest::Result<Answer> {
        let offset = self.stands_at(client).await?;
        let body = pieces(self.source.slice(offset..), pause);
        let request = tus(client, "PATCH", &self.path)
            .header("Upload-Offset", offset)
            .header("Content-Type", "application/offset+octet-stream")
            .header("Content-Length", self.source.len() - offset)
            .body(reqwest::Body::wrap_stream(futures_util::StreamExt::map(body, Ok::<_, std::io::Error>)));
        client.send(request).await
    }

    /// The bytes up to `offset` are on disk as they were sent.
    fn is_kept(&self, stage: &Stage, offset: usize) {
        let stored =
            std::fs::read(stage.file(self.path.trim_start_matches("/files/")).expect("a file")).expect("readable");
        assert!(stored.len() >= offset && stored[..offset] == self.source[..offset], "the content differs");
    }

    async fn is_whole(&self, client: &Client) {
        assert!(
            client.get(&self.path).await.expect("an answer").expect(200).bytes == self.source,
            "the content differs"
        );
    }
}

fn tus(client: &Client, method: &str, path: &str) -> reqwest::RequestBuilder {
    client.request(method.parse().expect("a method"), path).header("Tus-Resumable", "1.0.0")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a long proof"]
async fn what_was_told_before_a_kill_is_there_after_it() {
    let mut chance = StdRng::seed_from_u64(seed("tus kill"));
    let mut stage = Stage::open(&[]).await;
    let mut upload = Streamed::begin(&stage.client(), noise(31, 48 * MIB).into()).await;
    let (mut whole, mut lost) = (0, 0);
    for _ in 0..KILLS {
        let (client, mut told, mut sent) = (stage.client(), 0, None);
        let sending = async { sent = upload.go(&client, Duration::from_millis(2)).await.ok() };
        let asking = async {
            while let Ok(offset) = upload.stands_at(&client).await {
                assert!(offset >= told, "{offset} after {told}");
                told = offset;
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let killing = async {
            tokio::time::sleep(Duration::from_millis(chance.random_range(10..900))).await;
            stage.service.kill();
        };
        tokio::join!(sending, asking, killing);
        stage.start().await;
        let stands = upload.stands_at(&stage.client()).await.expect("an answer");
        assert!(stands >= told, "{stands} after {told} was told");
        upload.is_kept(&stage, stands);
        lost += usize::from(sent.is_none());
        if stands == upload.source.len() {
            upload.is_whole(&stage.client()).await;
            whole += 1;
            upload = Streamed::begin(&stage.client(), noise(chance.random(), 48 * MIB).into()).await;
        }
    }
    upload.go(&stage.client(), Duration::ZERO).await.expect("an answer").expect(204);
    upload.is_whole(&stage.client()).await;
    say(&format!("tus: {KILLS} kills, {lost} within a request, {whole} files were whole before the end"));
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a long proof"]
async fn a_file_that_may_not_grow_is_507_and_costs_nothing() {
    let mut stage = Stage::set_up(&[]).await;
    stage.below = words(&["sh", "-c", WITH_SHORT_FILES, "sh"]);
    stage.start_identity().await;
    stage.start().await;
    let (client, first) = (stage.client(), 2 * MIB);
    let mut upload = Streamed::begin(&client, noise(32, 4 * MIB).into()).await;
    let whole = std::mem::replace(&mut upload.source, Bytes::new());
    upload.source = whole.slice(..first);
    upload.go(&client, Duration::ZERO).await.expect("an answer").expect(204);
    upload.source = whole;
    for _ in 0..3 {
        let refused = upload.go(&client, Duration::ZERO).await.expect("an answer").expect(507);
        assert_eq!(refused.header("retry-after"), None, "nobody knows when there is room");
        let stands = upload.stands_at(&client).await.expect("an answer");
        assert!((first..=3 * MIB).contains(&stands), "{stands}");
        upload.is_kept(&stage, stands);
    }
    stage.service.kill();
    stage.below.clear();
    stage.start().await;
    upload.go(&stage.client(), Duration::ZERO).await.expect("an answer").expect(204);
    upload.is_whole(&stage.client()).await;
    stage.close().await;
}
