//! Who uses the processors, by the kernel's account (proc(5)).

use std::{
    fmt,
    time::{Duration, Instant},
};

use crate::{
    Fault,
    process::{cpu, machine},
    stage::Stage,
};

/// How often threads of a process gave up a processor to wait. What a chunk costs here is mostly that: one thread wakes
/// another. Hardly depends on what else the machine does.
pub(crate) fn switches(process: u32) -> Result<u64, Fault> {
    let mut switches = 0;
    for thread in std::fs::read_dir(format!("/proc/{process}/task"))? {
        // A thread may end meanwhile.
        let status = std::fs::read_to_string(thread?.path().join("status")).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        switches += line.map_or(Ok(0), |count| count.trim().parse())?;
    }
    Ok(switches)
}

/// The machine's work and ours, up to a moment or since one.
pub(crate) struct Load {
    at: Instant,
    wall: Duration,
    machine: Duration,
    ours: Duration,
}

impl Load {
    pub(crate) fn now(stage: &Stage) -> Result<Self, Fault> {
        let ours = [std::process::id(), stage.service_id(), stage.identity_id()].map(cpu);
        let ours = ours.into_iter().sum::<Result<_, _>>()?;
        Ok(Self { at: Instant::now(), wall: Duration::ZERO, machine: machine()?, ours })
    }

    pub(crate) fn since(self, before: &Self) -> Self {
        let (wall, machine, ours) = (self.at - before.at, self.machine - before.machine, self.ours - before.ours);
        Self { at: self.at, wall, machine, ours }
    }
}

impl fmt::Display for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (wall, other) = (self.wall.as_secs_f64(), self.machine.saturating_sub(self.ours).as_secs_f64());
        writeln!(f, "other work on the machine: {other:.1} s of processors in {wall:.1} s")?;
        match other > wall / 10.0 {
            true => writeln!(f, "DISTRUST THIS RUN: that is more than a tenth"),
            false => Ok(()),
        }
    }
}
