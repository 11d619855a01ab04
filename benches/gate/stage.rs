//! The service and its identity server, each a process of its own, with all data in one folder that goes with them.

use std::{
    net::SocketAddr,
    path::Path,
    thread::sleep,
    time::{Duration, Instant},
};

use crate::{
    Fault,
    process::{Process, free_addresses},
    service::{start_identity, start_service},
    wire::{Connection, Request},
};

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
        let metrics_at = metrics.to_string();
        let mut settings = vec![
            ("AUTH__ANONYMOUS", "true"),
            ("METRICS__LISTEN", metrics_at.as_str()),
            ("STORAGE__LOCAL__DURABILITY", "os"),
        ];
        settings.extend(database.map(|url| ("DATABASE__URL", url)));
        let processes = [
            start_service(binary, folder.path(), [service, identity], &settings)?,
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
        self.processes[0].id()
    }

    /// The identity server's.
    pub(crate) fn identity_id(&self) -> u32 {
        self.processes[1].id()
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
