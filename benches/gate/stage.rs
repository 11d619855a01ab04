//! The service and its identity server, each a process of its own, with all data in one folder that goes with them.

use std::{
    fs::File,
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use crate::{
    Fault,
    wire::{Connection, Request},
};

/// The one user's key.
pub(crate) const API_KEY: &str = "bench-key";
/// The secret of it.
pub(crate) const SECRET: &str = "bench-secret";
/// What the service proves itself with at the identity server.
const TOKEN: &str = "bench-token";
/// How long a process may take to answer after its start.
const START: Duration = Duration::from_secs(20);

/// Both processes, ready.
pub(crate) struct Stage {
    pub(crate) service: SocketAddr,
    metrics: SocketAddr,
    processes: [Process; 2],
    folder: tempfile::TempDir,
}

impl Stage {
    pub(crate) fn open(binary: &Path, database: Option<&str>) -> Result<Self, Fault> {
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
        let [identity, service, metrics] = free_addresses()?;
        let processes = [
            start_service(binary, folder.path(), [service, metrics, identity], database)?,
            start_identity(binary, folder.path(), identity)?,
        ];
        let mut stage = Self { service, metrics, processes, folder };
        stage.answers(identity, "/v1/health")?;
        stage.answers(service, "/readyz")?;
        Ok(stage)
    }

    fn answers(&mut self, address: SocketAddr, path: &str) -> Result<(), Fault> {
        let began = Instant::now();
        loop {
            match get(address, path) {
                Ok(_) => return Ok(()),
                Err(fault) if began.elapsed() > START => return Err(fault),
                Err(_) => sleep(Duration::from_millis(10)),
            }
            for process in &mut self.processes {
                process.check()?;
            }
        }
    }

    /// The service's process.
    pub(crate) fn service_id(&self) -> u32 {
        self.processes[0].child.id()
    }

    /// The identity server's.
    pub(crate) fn identity_id(&self) -> u32 {
        self.processes[1].child.id()
    }

    /// How many questions the service asked, whatever became of them.
    pub(crate) fn questions(&self) -> Result<usize, Fault> {
        let text = get(self.metrics, "/metrics")?;
        let asked = text.lines().filter(|line| line.starts_with("chunkgate_identity_requests_total"));
        let count = |line: &str| line.rsplit(' ').next()?.parse::<usize>().ok();
        Ok(asked.filter_map(count).sum())
    }

    /// Removes a finished file: the next one is written to memory that is still warm.
    pub(crate) fn clear(&self, id: &str) -> Result<(), Fault> {
        Ok(std::fs::remove_file(self.folder.path().join("files/done").join(id))?)
    }
}

fn get(address: SocketAddr, path: &str) -> Result<String, Fault> {
    let request = Request::bare("GET", path).written(address);
    Ok(Connection::open(address)?.send(&request)?.success()?.text())
}

fn start_service(
    binary: &Path,
    folder: &Path,
    [listen, metrics, identity]: [SocketAddr; 3],
    database: Option<&str>,
) -> Result<Process, Fault> {
    let sqlite = format!("sqlite:{}", folder.join("data/chunkgate.db").display());
    let mut command = clean(binary);
    command.args(["serve", "--listen", &listen.to_string()]);
    for (name, value) in [
        ("AUTH__ANONYMOUS", "true"),
        ("DATABASE__URL", database.unwrap_or(&sqlite)),
        ("IDENTITY__TOKEN", TOKEN),
        ("IDENTITY__URL", &format!("http://{identity}")),
        ("METRICS__LISTEN", &metrics.to_string()),
        ("STORAGE__LOCAL__COMPLETED_PATH", "done/{upload_id}"),
        ("STORAGE__LOCAL__DURABILITY", "os"),
        ("STORAGE__LOCAL__PATH", &folder.join("files").display().to_string()),
    ] {
        command.env(format!("CHUNKGATE_{name}"), value);
    }
    Process::start(command, folder.join("service.log"))
}

fn start_identity(binary: &Path, folder: &Path, listen: SocketAddr) -> Result<Process, Fault> {
    let users = folder.join("users.toml");
    let user = "[[users]]\nid = \"subject-ann\"\nusername = \"ann\"\n[[users.keys]]";
    std::fs::write(&users, format!("{user}\napi_key = \"{API_KEY}\"\nsecret = \"{SECRET}\"\n"))?;
    let mut command = clean(binary);
    command.args(["identity", "serve", "--listen", &listen.to_string(), "--users"]).arg(users);
    command.env("CHUNKGATE_IDENTITY__TOKEN", TOKEN);
    Process::start(command, folder.join("identity.log"))
}

/// A command that inherits no settings.
fn clean(binary: &Path) -> Command {
    let mut command = Command::new(binary);
    command.env_clear();
    command
}

/// A process that ends with its value.
struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `command`, which logs to a file as a service does.
    fn start(mut command: Command, log: PathBuf) -> Result<Self, Fault> {
        let stderr = File::create(&log)?;
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(stderr);
        Ok(Self { child: command.spawn()?, log })
    }

    /// Still there?
    fn check(&mut self) -> Result<(), Fault> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => Err(format!("{status}: {}", std::fs::read_to_string(&self.log)?).into()),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// All are held before one is given back, so that they differ.
fn free_addresses<const N: usize>() -> Result<[SocketAddr; N], Fault> {
    let mut held = Vec::new();
    for _ in 0..N {
        held.push(TcpListener::bind(("127.0.0.1", 0))?);
    }
    let addresses: Vec<_> = held.iter().map(TcpListener::local_addr).collect::<Result<_, _>>()?;
    addresses.try_into().map_err(|_| "as many addresses as listeners".into())
}
