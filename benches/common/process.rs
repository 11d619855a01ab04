//! Processes that end with their values, and what the kernel accounts to them (proc(5)).

use std::{
    collections::HashMap,
    fs::File,
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};

use crate::Fault;

/// A tick of the account; the same on every Linux.
const TICK: Duration = Duration::from_millis(10);

/// A process that ends with its value, and whatever it has started with it.
pub(crate) struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `command`, which logs to a file as a service does.
    pub(crate) fn start(mut command: Command, log: PathBuf) -> Result<Self, Fault> {
        let errors = File::create(&log)?;
        command.stdin(Stdio::null()).stdout(errors.try_clone()?).stderr(errors);
        let program = command.get_program().display().to_string();
        let child = command.spawn().map_err(|fault| format!("{program} cannot be started: {fault}"))?;
        Ok(Self { child, log })
    }

    /// Its number.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Still there?
    pub(crate) fn check(&mut self) -> Result<(), Fault> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => Err(format!("{status}: {}", std::fs::read_to_string(&self.log)?).into()),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let tree = tree(self.id());
        let _ = self.child.kill();
        let _ = self.child.wait();
        for started in tree.into_iter().skip(1) {
            if let Some(process) = i32::try_from(started).ok().and_then(Pid::from_raw) {
                let _ = kill_process(process, Signal::KILL);
            }
        }
    }
}

/// A command that inherits no settings.
pub(crate) fn clean(binary: &Path) -> Command {
    let mut command = Command::new(binary);
    command.env_clear();
    command
}

/// All are held before one is given back, so that they differ.
pub(crate) fn free_addresses<const N: usize>() -> Result<[SocketAddr; N], Fault> {
    let mut held = Vec::new();
    for _ in 0..N {
        held.push(TcpListener::bind(("127.0.0.1", 0))?);
    }
    let addresses: Vec<_> = held.iter().map(TcpListener::local_addr).collect::<Result<_, _>>()?;
    addresses.try_into().map_err(|_| "as many addresses as listeners".into())
}

/// A process, and all that descend from it.
pub(crate) fn tree(root: u32) -> Vec<u32> {
    let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
    let known = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    for process in known.filter_map(|entry| entry.file_name().to_str()?.parse().ok()) {
        if let Some(parent) = account(process).and_then(|fields| fields.get(1)?.parse().ok()) {
            children.entry(parent).or_default().push(process);
        }
    }
    let mut tree = vec![root];
    let mut at = 0;
    while let Some(process) = tree.get(at) {
        tree.extend(children.remove(process).unwrap_or_default());
        at += 1;
    }
    tree
}

/// What a process has used so far, in all its threads.
pub(crate) fn cpu(process: u32) -> Result<Duration, Fault> {
    let fields = account(process).ok_or("a process without an account")?;
    sum(fields.iter().skip(11).take(2).map(String::as_str))
}

/// What the whole machine has used.
pub(crate) fn machine() -> Result<Duration, Fault> {
    let stat = std::fs::read_to_string("/proc/stat")?;
    let line = stat.lines().next().unwrap_or_default();
    // user nice system, and after idle and iowait: irq softirq steal.
    let fields = line.split_whitespace().skip(1).enumerate();
    sum(fields.filter(|(at, _)| [0, 1, 2, 5, 6, 7].contains(at)).map(|(_, ticks)| ticks))
}

/// The fields of a process's account from the third on. The second is a name in parentheses, which may hold blanks;
/// 4 is the parent, 14 and 15 are user and system.
fn account(process: u32) -> Option<Vec<String>> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(')')?;
    Some(rest.split_whitespace().map(str::to_owned).collect())
}

fn sum<'a>(ticks: impl Iterator<Item = &'a str>) -> Result<Duration, Fault> {
    let ticks: Vec<u32> = ticks.map(str::parse).collect::<Result<_, _>>()?;
    Ok(TICK * ticks.into_iter().sum())
}
