//! Something that takes uploads, running, and what it uses.

use std::{
    fs::read_to_string,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use tokio::{net::TcpStream, time::sleep};

use crate::{
    Fault,
    content::{Content, Seen},
    process::{Process, cpu, tree},
    service,
    wire::{Link, Request},
};

/// How long a peer may take to answer after its start.
const START: Duration = Duration::from_secs(30);

/// How a peer is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Speech {
    /// tus 1.0.
    Tus,
    /// WebDAV: a file for each request.
    Put,
    /// The protocol of django-chunked-upload.
    Django,
    /// The sink's own.
    Frames,
}

/// A peer that runs.
pub(crate) struct Peer {
    pub(crate) name: &'static str,
    pub(crate) speaks: Speech,
    pub(crate) address: SocketAddr,
    /// Where uploads are made.
    pub(crate) path: &'static str,
    /// What a request presents that makes an upload: lines of a head.
    pub(crate) proof: String,
    /// The folder below which files come to lie.
    pub(crate) files: PathBuf,
    /// How much of a load it gets.
    pub(crate) share: f64,
    pub(crate) seen: Seen,
    /// The first is the one whose memory counts; what any of them computes does.
    processes: Vec<Process>,
    /// Whether requests need a proof.
    gated: bool,
}

impl Peer {
    /// A peer that asks for no proof.
    pub(crate) fn new(name: &'static str, speaks: Speech, address: SocketAddr, process: Process) -> Self {
        Self {
            name,
            speaks,
            address,
            path: "/",
            proof: String::new(),
            files: PathBuf::new(),
            share: 1.0,
            seen: Seen::default(),
            processes: vec![process],
            gated: false,
        }
    }

    /// With what is asked who a client is.
    pub(crate) fn gated(mut self, identity: Process) -> Self {
        self.processes.push(identity);
        Self { gated: true, ..self }
    }

    /// With the place of uploads and files.
    pub(crate) fn at(self, path: &'static str, files: &Path) -> Self {
        Self { path, files: files.to_owned(), ..self }
    }

    /// With a share of each load: who is slow gets less, or nobody would wait for it.
    pub(crate) fn spared(self, share: f64) -> Self {
        Self { share, ..self }
    }

    /// The beginning of a request's head.
    pub(crate) fn opening(&self, method: &str, path: &str) -> String {
        format!("{method} {path} HTTP/1.1\r\nhost: {}\r\n", self.address)
    }

    /// Waits until it listens.
    pub(crate) async fn listens(&mut self) -> Result<(), Fault> {
        let began = Instant::now();
        while let Err(fault) = TcpStream::connect(self.address).await {
            self.check()?;
            if began.elapsed() > START {
                return Err(format!("does not listen: {fault}").into());
            }
            sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// Still there?
    pub(crate) fn check(&mut self) -> Result<(), Fault> {
        self.processes.iter_mut().try_for_each(Process::check)
    }

    /// Signs anew, and has the signature found right: from now on it is remembered.
    pub(crate) async fn warm(&mut self, content: &Content) -> Result<(), Fault> {
        if !self.gated {
            return Ok(());
        }
        self.proof = service::sign_v1().map(|(name, value)| format!("{name}: {value}\r\n")).concat();
        let head = format!("{}{}\r\n", self.opening("GET", "/api/v1/uploads?limit=1"), self.proof);
        let began = Instant::now();
        loop {
            let answer = Link::to(self.address).ask(content, &Request::text(head.clone())).await?;
            match answer.status {
                503 if began.elapsed() < START => sleep(Duration::from_millis(50)).await,
                _ => return answer.success().map(|_| ()),
            }
        }
    }

    /// What it has computed so far.
    pub(crate) fn cpu(&self) -> Duration {
        let all = self.processes.iter().flat_map(|process| tree(process.id()));
        all.filter_map(|process| cpu(process).ok()).sum()
    }

    /// Forgets how much memory it had at most.
    pub(crate) fn forget_peak(&self) {
        for process in tree(self.processes[0].id()) {
            // Where the kernel does not allow it, the peak is that of the whole run.
            let _ = std::fs::write(format!("/proc/{process}/clear_refs"), "5");
        }
    }

    /// How much memory it had at most, in bytes.
    pub(crate) fn peak(&self) -> u64 {
        self.memory("status", "VmHWM:")
    }

    /// How much memory it has, that of shared pages shared out, in bytes.
    pub(crate) fn resident(&self) -> u64 {
        self.memory("smaps_rollup", "Pss:")
    }

    fn memory(&self, file: &str, line: &str) -> u64 {
        let of = |process| field(&format!("/proc/{process}/{file}"), line).unwrap_or(0);
        tree(self.processes[0].id()).into_iter().map(of).sum()
    }
}

/// The number behind `name` in a file of the kernel that counts in KiB, in bytes.
pub(crate) fn field(file: &str, name: &str) -> Option<u64> {
    let text = read_to_string(file).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse::<u64>().ok().map(|kib| kib * 1024)
}
