//! What others did on the machine while a scenario ran.

use std::time::{Duration, Instant};

use crate::{
    Fault,
    peer::Peer,
    process::{cpu, machine},
    table::Noise,
};

/// The work of the machine, and that of the bench and its peers, up to a moment.
pub(crate) struct Watch {
    at: Instant,
    machine: Duration,
    ours: Duration,
}

impl Watch {
    pub(crate) fn start(peers: &[Peer]) -> Result<Self, Fault> {
        let ours = cpu(std::process::id())? + peers.iter().map(Peer::cpu).sum::<Duration>();
        Ok(Self { at: Instant::now(), machine: machine()?, ours })
    }

    /// What came since.
    pub(crate) fn end(self, peers: &[Peer]) -> Result<Noise, Fault> {
        let now = Self::start(peers)?;
        let (machine, ours) = (now.machine - self.machine, now.ours - self.ours);
        let mut noise = Noise::default();
        noise.add(machine.saturating_sub(ours), now.at - self.at);
        Ok(noise)
    }
}
