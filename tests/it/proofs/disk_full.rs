//! A full disk: the chunk is refused with 507, the upload stays as it was, and the same chunk is taken once there is room.
//!
//! Where a small disk is not permitted, a limit on the length of files stands in for it.

use bytes::Bytes;

use super::{
    client::{Client, Span, pieces},
    say,
    small_disk::{short_files, skipped, small_disk},
    stage::Stage,
};
use crate::support::{Answer, md5, noise};

const MIB: usize = 1024 * 1024;

/// The upload that meets the full disk: two chunks of 2 MiB.
struct Victim {
    client: Client,
    source: Bytes,
    id: String,
}

impl Victim {
    async fn begin(client: Client) -> Self {
        let mut victim = Self { client, source: noise(11, 4 * MIB).into(), id: String::new() };
        victim.id = victim.post(None, 0).await.expect(200).id();
        victim
    }

    async fn post(&self, id: Option<&str>, from: usize) -> Answer {
        let span = Span { from: from as u64, length: 2 * MIB as u64, total: self.source.len() as u64 };
        let bytes = self.source.slice(from..from + 2 * MIB);
        self.client.chunk(id, span, pieces(bytes, std::time::Duration::ZERO)).await.expect("an answer")
    }

    /// The second chunk is refused, again and again, and nothing is lost.
    async fn is_refused(&self) {
        for _ in 0..3 {
            let answer = self.post(Some(&self.id), 2 * MIB).await.expect(507);
            assert!(answer.json()["detail"].is_string(), "{}", answer.text);
            let status = self.client.status(&self.id).await;
            assert_eq!((&status["offset"], &status["state"]), (&(2 * MIB).into(), &"receiving".into()));
        }
    }

    /// The very same chunk is taken, and the file is whole.
    async fn goes_on(&self, client: &Client) {
        let victim = Self { client: client.clone(), source: self.source.clone(), id: self.id.clone() };
        victim.post(Some(&self.id), 2 * MIB).await.expect(200);
        client.complete(&self.id, &md5(&self.source)).await.expect("an answer").expect(200);
        let id: chunkgate::domain::UploadId = self.id.parse().expect("an id");
        let content = client.get(&format!("/api/v1/uploads/{id}/content")).await.expect("an answer").expect(200);
        assert!(content.bytes == self.source, "the content differs");
    }
}

/// Takes up disk until told to give it back.
async fn filler(client: &Client, size: usize) -> String {
    let (size, bytes) = (size as u64, noise(12, size).into());
    let span = Span { from: 0, length: size, total: size };
    client.chunk(None, span, pieces(bytes, std::time::Duration::ZERO)).await.expect("an answer").expect(200).id()
}

/// `shared`: the database lies on the small disk too.
async fn on_a_small_disk(shared: bool) {
    let mut stage = Stage::set_up(&[]).await;
    let disk = if shared { stage.folder().to_owned() } else { stage.storage() };
    let disk = if shared { disk.join("disk") } else { disk };
    std::fs::create_dir_all(&disk).expect("a folder");
    if shared {
        stage.set("STORAGE__LOCAL__PATH", &disk.join("files").display().to_string());
        stage.set("DATABASE__URL", &format!("sqlite:{}", disk.join("chunkgate.db").display()));
    }
    let Some(below) = small_disk(&disk) else {
        stage.close().await;
        return if shared {
            skipped("database on the full disk");
        } else {
            say("disk full: mounting is not permitted, a limit on the length of files stands in");
            with_short_files().await
        };
    };
    stage.below = below;
    stage.start_identity().await;
    stage.start().await;
    let client = stage.client();
    let filler = filler(&client, 9 * MIB / 2).await;
    let victim = Victim::begin(client.clone()).await;
    victim.is_refused().await;
    // What a refused chunk left is given back: there is room for another's.
    let small = self::filler(&client, MIB / 2).await;
    client.cancel(&small).await.expect("an answer").expect(204);
    client.cancel(&filler).await.expect("an answer").expect(204);
    victim.goes_on(&client).await;
    say(&format!("disk full: proved on a tmpfs of 8 MiB{}", if shared { " that holds the database too" } else { "" }));
    stage.close().await;
}

async fn with_short_files() {
    let mut stage = Stage::set_up(&[]).await;
    stage.below = short_files();
    stage.start_identity().await;
    stage.start().await;
    let victim = Victim::begin(stage.client()).await;
    victim.is_refused().await;
    stage.service.kill();
    stage.below.clear();
    stage.start().await;
    victim.goes_on(&stage.client()).await;
    say("disk full: proved with a limit on the length of files");
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a long proof"]
async fn a_full_disk_costs_nothing() {
    on_a_small_disk(false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a long proof"]
async fn a_full_disk_under_the_database_costs_nothing() {
    on_a_small_disk(true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a long proof"]
async fn files_that_may_not_grow_cost_nothing() {
    with_short_files().await;
}
