//! tus uploads in long requests. `kill -9` in the middle of one: what HEAD told before is there afterwards, and the client
//! goes on from there to the same content. A file that may not grow, and a full disk: 507, and the same.

use std::{ops::Range, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use bytes::Bytes;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use sha2::{Digest as _, Sha256};

use super::{
    client::{Client, pieces},
    say, seed,
    small_disk::{short_files, skipped, small_disk},
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
        Self::made(client, request, source).await
    }

    /// One that this request makes.
    async fn made(client: &Client, request: reqwest::RequestBuilder, source: Bytes) -> Self {
        let made = client.send(request).await.expect("an answer").expect(201);
        let location = made.header("location").expect("a location");
        let at = location.find("/files/").expect("a URL of an upload");
        Self { source, path: location[at..].to_owned() }
    }

    /// One that is there.
    async fn sent(client: &Client, source: Bytes) -> Self {
        let upload = Self::begin(client, source).await;
        upload.go(client, Duration::ZERO).await.expect("an answer").expect(204);
        upload
    }

    async fn removed(self, client: &Client) {
        client.send(tus(client, "DELETE", &self.path)).await.expect("an answer").expect(204);
    }

    /// Where HEAD says that it stands.
    async fn stands_at(&self, client: &Client) -> reqwest::Result<usize> {
        let told = client.send(tus(client, "HEAD", &self.path)).await?.expect(200);
        Ok(told.header("upload-offset").expect("an offset").parse().expect("a number"))
    }

    /// Sends what is missing, as fast as `pause` lets it.
    async fn go(&self, client: &Client, pause: Duration) -> reqwest::Result<Answer> {
        let offset = self.stands_at(client).await?;
        client.send(self.patch(client, offset..self.source.len(), pause)).await
    }

    /// A request with these bytes.
    fn patch(&self, client: &Client, bytes: Range<usize>, pause: Duration) -> reqwest::RequestBuilder {
        let (offset, length) = (bytes.start, bytes.len());
        let body = pieces(self.source.slice(bytes), pause);
        tus(client, "PATCH", &self.path)
            .header("Upload-Offset", offset)
            .header("Content-Type", "application/offset+octet-stream")
            .header("Content-Length", length)
            .body(reqwest::Body::wrap_stream(futures_util::StreamExt::map(body, Ok::<_, std::io::Error>)))
    }

    /// The same, with what its bytes hash to.
    fn checked(&self, client: &Client, bytes: Range<usize>) -> reqwest::RequestBuilder {
        let sum = BASE64.encode(Sha256::digest(&self.source[bytes.clone()]));
        self.patch(client, bytes, Duration::ZERO).header("Upload-Checksum", format!("sha256 {sum}"))
    }

    /// The answer says that there is no space, and where the upload stands, as HEAD does. Where that is.
    async fn met_the_end_of_the_disk(&self, client: &Client, answer: Answer) -> usize {
        let answer = answer.expect(507);
        assert_eq!(answer.json()["code"], "disk_full");
        assert_eq!(answer.header("tus-resumable"), Some("1.0.0"));
        assert_eq!(answer.header("retry-after"), None, "nobody knows when there is room");
        let told: usize = answer.header("upload-offset").expect("an offset").parse().expect("a number");
        assert_eq!(self.stands_at(client).await.expect("an answer"), told);
        told
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
    stage.below = short_files();
    stage.start_identity().await;
    stage.start().await;
    let (client, first) = (stage.client(), 2 * MIB);
    let mut upload = Streamed::begin(&client, noise(32, 4 * MIB).into()).await;
    let whole = std::mem::replace(&mut upload.source, Bytes::new());
    upload.source = whole.slice(..first);
    upload.go(&client, Duration::ZERO).await.expect("an answer").expect(204);
    upload.source = whole;
    for _ in 0..3 {
        let refused = upload.go(&client, Duration::ZERO).await.expect("an answer");
        let stands = upload.met_the_end_of_the_disk(&client, refused).await;
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

/// What lies on the small disk.
#[derive(PartialEq)]
enum There {
    Files,
    FilesAndDatabase,
}

/// A service with a disk of 8 MiB, and an upload that takes up 4 of them.
async fn on_a_small_disk(proof: &str, there: There) -> Option<(Stage, Client, Streamed)> {
    let mut stage = Stage::set_up(&[]).await;
    let mut disk = stage.storage();
    if there == There::FilesAndDatabase {
        disk = stage.folder().join("disk");
        stage.set("STORAGE__LOCAL__PATH", &disk.join("files").display().to_string());
        stage.set("DATABASE__URL", &format!("sqlite:{}", disk.join("chunkgate.db").display()));
    }
    std::fs::create_dir_all(&disk).expect("a folder");
    let Some(below) = small_disk(&disk) else {
        stage.close().await;
        skipped(proof);
        return None;
    };
    stage.below = below;
    stage.start_identity().await;
    stage.start().await;
    let client = stage.client();
    let filler = Streamed::sent(&client, noise(33, 4 * MIB).into()).await;
    Some((stage, client, filler))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a long proof"]
async fn a_disk_that_fills_up_keeps_what_arrived() {
    let Some((stage, client, filler)) = on_a_small_disk("tus: a full disk", There::Files).await else { return };
    let upload = Streamed::begin(&client, noise(34, 6 * MIB).into()).await;
    let mut stands = 0;
    for _ in 0..3 {
        // From where the last answer told, without asking.
        let request = upload.patch(&client, stands..upload.source.len(), Duration::ZERO);
        let told = upload.met_the_end_of_the_disk(&client, client.send(request).await.expect("an answer")).await;
        assert!((stands..=4 * MIB).contains(&told), "{told} after {stands}");
        stands = told;
    }
    assert!(stands >= MIB, "{stands} of {} were kept", 4 * MIB);
    filler.removed(&client).await;
    let rest = upload.patch(&client, stands..upload.source.len(), Duration::ZERO);
    client.send(rest).await.expect("an answer").expect(204);
    upload.is_whole(&client).await;
    say(&format!("tus: a disk was full with {stands} bytes of an upload on it, which went on from there"));
    stage.close().await;
}

/// The usual place of a database is beside the files. What takes its space must not keep everybody from giving some back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a long proof"]
async fn a_disk_that_fills_up_under_the_database_can_be_emptied() {
    let there = There::FilesAndDatabase;
    let Some((stage, client, filler)) = on_a_small_disk("tus: a full disk under the database", there).await else {
        return;
    };
    let upload = Streamed::begin(&client, noise(37, 6 * MIB).into()).await;
    for _ in 0..2 {
        let refused = upload.go(&client, Duration::ZERO).await.expect("an answer");
        upload.met_the_end_of_the_disk(&client, refused).await;
    }
    filler.removed(&client).await;
    upload.go(&client, Duration::ZERO).await.expect("an answer").expect(204);
    upload.is_whole(&client).await;
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a long proof"]
async fn parts_that_find_no_room_to_be_joined_take_none() {
    let there = There::FilesAndDatabase;
    let Some((stage, client, filler)) = on_a_small_disk("tus: parts on a full disk", there).await else { return };
    let source: Bytes = noise(38, 3 * MIB).into();
    let mut parts = Vec::new();
    for part in [source.slice(..MIB), source.slice(MIB..)] {
        let request = tus(&client, "POST", "/files/").header("Upload-Length", part.len());
        let part = Streamed::made(&client, request.header("Upload-Concat", "partial"), part).await;
        part.go(&client, Duration::ZERO).await.expect("an answer").expect(204);
        parts.push(part.path);
    }
    let list = || tus(&client, "POST", "/files/").header("Upload-Concat", format!("final;{}", parts.join(" ")));
    for _ in 0..3 {
        client.send(list()).await.expect("an answer").expect(507);
    }
    filler.removed(&client).await;
    let joined = Streamed::made(&client, list(), source.clone()).await;
    assert_eq!(joined.stands_at(&client).await.expect("an answer"), source.len());
    joined.is_whole(&client).await;
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a long proof"]
async fn a_full_disk_admits_nothing_of_a_request_with_a_checksum_and_gets_its_space_back() {
    let Some((stage, client, filler)) = on_a_small_disk("tus: a checksum and a full disk", There::Files).await else {
        return;
    };
    let (upload, first) = (Streamed::begin(&client, noise(35, 6 * MIB).into()).await, 2 * MIB);
    client.send(upload.checked(&client, 0..first)).await.expect("an answer").expect(204);
    for _ in 0..3 {
        let refused = client.send(upload.checked(&client, first..upload.source.len())).await.expect("an answer");
        assert_eq!(upload.met_the_end_of_the_disk(&client, refused).await, first);
        // Of 2 MiB that were free, all but a little is free again.
        let another = Streamed::sent(&client, noise(36, 7 * MIB / 4).into()).await;
        another.removed(&client).await;
    }
    filler.removed(&client).await;
    client.send(upload.checked(&client, first..upload.source.len())).await.expect("an answer").expect(204);
    upload.is_whole(&client).await;
    stage.close().await;
}
