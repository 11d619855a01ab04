//! `chunkgate upload` through a `kill -9` of either side: one command, or the same command again, brings the file over.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use serde_json::Value;

use super::{
    client::Client,
    say,
    stage::{Process, Stage, binary, clean},
    until,
};
use crate::support::noise;

const SIZE: usize = 96 * 1024 * 1024 + 12_345;
const CHUNK: usize = 1024 * 1024;

/// A file, and the command that uploads it.
struct Job {
    stage: Stage,
    source: Vec<u8>,
    file: PathBuf,
}

impl Job {
    async fn open() -> Self {
        let stage = Stage::open(&[("LOG__FORMAT", "json")]).await;
        let (source, file) = (noise(7, SIZE), stage.folder().join("source.bin"));
        std::fs::write(&file, &source).expect("written");
        Self { stage, source, file }
    }

    /// The command; its report goes to `report`.
    fn command(&self, report: &Path) -> Command {
        let mut command = clean(&binary().display().to_string());
        command.arg("upload").arg(&self.file).args(["--json", "--chunk-size", "1MiB", "--url", &self.stage.base()]);
        command.arg("--state-dir").arg(self.stage.folder().join("state"));
        command.env("CHUNKGATE_API_KEY", &self.stage.key.api_key).env("CHUNKGATE_SECRET", &self.stage.key.secret);
        command.stdout(Stdio::from(std::fs::File::create(report).expect("a file")));
        command
    }

    fn begin(&self, name: &str) -> (Process, PathBuf) {
        let report = self.stage.folder().join(format!("{name}.json"));
        let log = self.stage.folder().join(format!("{name}.log"));
        (Process::spawn(self.command(&report), log), report)
    }

    /// Waits until the upload stands at a third; its id and offset.
    async fn a_third(&self) -> (String, u64) {
        let client: Client = self.stage.client();
        until("a third of the file", Duration::from_secs(60), async || {
            let upload = client.list("receiving").await.into_iter().next()?;
            let offset = upload["offset"].as_u64().expect("an offset");
            (offset as usize > SIZE / 3).then(|| (upload["id"].as_str().expect("an id").to_owned(), offset))
        })
        .await
    }

    /// The command ends well, says so, and the file is there once.
    async fn arrives(&self, mut process: Process, report: &Path, id: &str) {
        let status = process.ended(Duration::from_secs(120)).await;
        assert_eq!(status.code(), Some(0), "{}", process.log());
        let report: Value = serde_json::from_slice(&std::fs::read(report).expect("a report")).expect("JSON");
        assert_eq!((report["state"].as_str(), report["id"].as_str()), (Some("complete"), Some(id)), "the same upload");
        let stored = std::fs::read(self.stage.file(id).expect("a file")).expect("readable");
        assert!(stored == self.source, "the file differs");
        assert_eq!(super::files_below(&self.stage.storage().join("chunked_uploads")).len(), 1);
        // What was acknowledged is not sent again: as many chunks were taken as the file has.
        let (taken, chunks) = (self.chunks_answered(), SIZE.div_ceil(CHUNK));
        assert!((chunks - 2..=chunks).contains(&taken), "{taken} chunks were taken of a file of {chunks}");
    }

    /// How many chunks the service answered with 200, by its log.
    fn chunks_answered(&self) -> usize {
        let log = self.stage.service.log();
        let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines
            .filter(|line| {
                let text = line.to_string();
                text.contains("\"/chunked_upload/\"") && text.contains("\"http.status\":200")
            })
            .count()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a long proof"]
async fn the_command_outlives_the_service() {
    let mut job = Job::open().await;
    let (process, report) = job.begin("upload");
    let (id, offset) = job.a_third().await;
    job.stage.service.kill();
    tokio::time::sleep(Duration::from_millis(300)).await;
    job.stage.start().await;
    job.arrives(process, &report, &id).await;
    say(&format!("resume: the service was killed at {offset} of {SIZE}, the command went on and ended with 0"));
    job.stage.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a long proof"]
async fn the_same_command_resumes() {
    let job = Job::open().await;
    let (mut process, _) = job.begin("first");
    let (id, _) = job.a_third().await;
    process.kill();
    let before = job.stage.client().offset(&id).await;
    let (process, report) = job.begin("second");
    job.arrives(process, &report, &id).await;
    let log = std::fs::read_to_string(job.stage.folder().join("second.log")).expect("a log");
    assert!(log.contains("resuming at"), "{log}");
    say(&format!("resume: the command was killed at {before} of {SIZE}, its second run resumed there: {}", log.trim()));
    job.stage.close().await;
}
