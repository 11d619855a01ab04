//! The peers there are: how each is found, fetched and started. Those that are not here are left out with a line that
//! says what to install.

use std::{
    fs::create_dir_all,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::{
    Fault, others,
    peer::{Peer, Speech},
    process::{Process, clean, free_addresses},
    service::{start_identity, start_service},
};

/// Where things lie.
#[derive(Clone)]
pub(crate) struct Site {
    /// The program to measure.
    pub(crate) binary: PathBuf,
    /// Peers that were fetched.
    pub(crate) packages: PathBuf,
    /// Everything that goes with the run.
    pub(crate) folder: PathBuf,
}

/// A peer that can be started.
pub(crate) struct Kind {
    pub(crate) name: &'static str,
    /// The program or file without which it cannot run.
    pub(crate) found: fn(&Site) -> Option<PathBuf>,
    /// Fetches it.
    pub(crate) install: Install,
    pub(crate) start: fn(&Site, &Start) -> Result<Peer, Fault>,
}

/// How a peer is fetched into the folder of packages.
pub(crate) enum Install {
    /// It comes with the bench.
    Here,
    /// By a line for `sh`, which runs in the folder of packages.
    Script(&'static str),
}

/// What a start is given.
pub(crate) struct Start {
    pub(crate) name: &'static str,
    /// What was found.
    pub(crate) program: PathBuf,
    /// A folder of its own.
    pub(crate) folder: PathBuf,
    /// Where to listen.
    pub(crate) listen: SocketAddr,
}

impl Start {
    /// A folder below its own.
    pub(crate) fn made(&self, name: &str) -> Result<PathBuf, Fault> {
        let folder = self.folder.join(name);
        create_dir_all(&folder)?;
        Ok(folder)
    }

    /// Starts a command that logs into its folder.
    pub(crate) fn process(&self, command: Command) -> Result<Process, Fault> {
        Process::start(command, self.folder.join("log"))
    }
}

impl Site {
    /// The same, with another folder for what goes with the run.
    pub(crate) fn apart(&self, name: &str) -> Self {
        Self { folder: self.folder.join(name), ..self.clone() }
    }
}

impl Kind {
    /// Starts it, and waits until it listens.
    pub(crate) async fn open(&self, site: &Site) -> Result<Peer, Fault> {
        let program = (self.found)(site).ok_or_else(|| self.advice())?;
        let folder = site.folder.join(self.name);
        create_dir_all(&folder)?;
        let [listen] = free_addresses()?;
        let start = Start { name: self.name, program, folder, listen };
        let named = |fault: Fault| Fault::from(format!("{}: {fault}", self.name));
        let mut peer = (self.start)(site, &start).map_err(named)?;
        peer.listens().await.map_err(named)?;
        Ok(peer)
    }

    /// Fetches it, if it is not here.
    pub(crate) fn fetch(&self, site: &Site) -> Result<(), Fault> {
        let Install::Script(script) = self.install else { return Ok(()) };
        if (self.found)(site).is_some() {
            return Ok(());
        }
        eprintln!("fetching {}", self.name);
        create_dir_all(&site.packages)?;
        let mut shell = Command::new("sh");
        shell.args(["-e", "-c", script]).current_dir(&site.packages).stdin(Stdio::null());
        // What is printed to standard output are tables.
        let status = shell.stdout(std::io::stderr()).status()?;
        if status.success() { Ok(()) } else { Err(format!("{}: {status}", self.name).into()) }
    }

    /// Whether somebody else wrote it.
    pub(crate) fn is_foreign(&self) -> bool {
        matches!(self.install, Install::Script(_))
    }

    /// What to do where it is not here.
    pub(crate) fn advice(&self) -> String {
        let script = if let Install::Script(script) = self.install { script } else { "" };
        format!("{} is not here: --install does this in target/bench-peers: {script}", self.name)
    }
}

/// All of them, in the order of the tables.
pub(crate) const KINDS: &[Kind] = &[
    Kind { name: "chunkgate", found: measured, install: Install::Here, start: |site, start| gate(site, start, "os") },
    Kind {
        name: "chunkgate-disk",
        found: measured,
        install: Install::Here,
        start: |site, start| gate(site, start, "disk"),
    },
    Kind { name: "sink", found: own, install: Install::Here, start: |_, start| sink(start, false) },
    Kind { name: "sink-sync", found: own, install: Install::Here, start: |_, start| sink(start, true) },
    others::NGINX,
    others::TUS_NODE,
    others::TUS_SERVER,
    others::RUSTUS,
    others::DJANGO,
];

/// The program to measure.
fn measured(site: &Site) -> Option<PathBuf> {
    Some(site.binary.clone())
}

/// The bench itself.
fn own(_: &Site) -> Option<PathBuf> {
    std::env::current_exe().ok()
}

fn gate(site: &Site, start: &Start, durability: &str) -> Result<Peer, Fault> {
    let [identity_at] = free_addresses()?;
    let settings = [("STORAGE__LOCAL__DURABILITY", durability), ("LOG__LEVEL", "warn")];
    let service = start_service(&site.binary, &start.folder, [start.listen, identity_at], &settings)?;
    let identity = start_identity(&site.binary, &start.folder, identity_at)?;
    let files = start.made("files")?;
    Ok(Peer::new(start.name, Speech::Tus, start.listen, service).gated(identity).at("/files/", &files))
}

fn sink(start: &Start, sync: bool) -> Result<Peer, Fault> {
    let files = start.made("files")?;
    let mut command = clean(&start.program);
    command.args(["sink", "--listen", &start.listen.to_string(), "--folder"]).arg(&files);
    command.args(sync.then_some("--sync"));
    Ok(Peer::new(start.name, Speech::Frames, start.listen, start.process(command)?).at("/", &files))
}

/// A program in the folder of packages, else one on the path.
pub(crate) fn program(site: &Site, fetched: &str, name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let known = std::env::split_paths(&path).map(|folder| folder.join(name));
    let system = ["/usr/sbin", "/usr/local/sbin"].map(|folder| Path::new(folder).join(name));
    let mut all = std::iter::once(site.packages.join(fetched)).chain(known).chain(system);
    all.find(|path| path.is_file())
}
