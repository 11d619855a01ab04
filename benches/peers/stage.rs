//! Who is measured in which scenarios, and the peers started for it.

use crate::{
    Args, Fault, completion,
    content::Content,
    faults,
    kinds::{KINDS, Kind, Site},
    memory,
    peer::Peer,
    slow,
    table::Table,
    throughput,
};

/// Who is measured, and where.
pub(crate) struct Stage {
    kinds: Vec<&'static Kind>,
    site: Site,
}

impl Stage {
    /// Everybody who is wanted and here.
    pub(crate) fn new(args: &Args, site: Site) -> Result<Self, Fault> {
        known(&args.peers, &KINDS.iter().map(|kind| kind.name).collect::<Vec<_>>())?;
        Ok(Self { kinds: wanted(args, &site)?, site })
    }

    /// Starts everybody, in a folder of this name.
    pub(crate) async fn open(&self, folder: &str) -> Result<Vec<Peer>, Fault> {
        let (site, mut peers) = (self.site.apart(folder), Vec::new());
        for kind in &self.kinds {
            match kind.open(&site).await {
                Ok(peer) => peers.push(peer),
                Err(fault) if kind.is_foreign() => eprintln!("left out: {fault}"),
                Err(fault) => return Err(fault),
            }
        }
        Ok(peers)
    }

    /// One scenario. Those about memory get peers that have done nothing before: what an allocator once had it may keep.
    pub(crate) async fn table(
        &self,
        args: &Args,
        name: &'static str,
        peers: &mut [Peer],
        content: &mut Content,
    ) -> Result<Table, Fault> {
        let Args { scale, rounds, .. } = *args;
        let mut table = match name {
            slow::NAME => slow::table(&mut self.open(name).await?, content, scale).await?,
            memory::NAME => memory::table(&mut self.open(name).await?, content, scale).await,
            completion::NAME => completion::table(peers, content, scale, rounds).await?,
            faults::NAME => faults::table(peers, content).await?,
            _ => {
                let scenario = throughput::SCENARIOS.iter().find(|scenario| scenario.name == name);
                scenario.ok_or("no such scenario")?.table(peers, content, scale, rounds).await
            }
        };
        if table.rows.is_empty() {
            table.faults.push("no figures".to_owned());
        }
        Ok(table)
    }
}

/// The scenarios that are wanted.
pub(crate) fn scenarios(args: &Args) -> Result<Vec<&'static str>, Fault> {
    let loads = throughput::SCENARIOS.iter().map(|scenario| scenario.name);
    let mut all: Vec<_> = loads.chain([slow::NAME, completion::NAME, memory::NAME, faults::NAME]).collect();
    known(&args.scenarios, &all)?;
    all.retain(|name| chosen(&args.scenarios, name));
    Ok(all)
}

/// Who is here of those that are wanted.
fn wanted(args: &Args, site: &Site) -> Result<Vec<&'static Kind>, Fault> {
    let mut wanted = Vec::new();
    for kind in KINDS.iter().filter(|kind| chosen(&args.peers, kind.name)) {
        if let (true, Err(fault)) = (args.install, kind.fetch(site)) {
            eprintln!("{fault}");
        }
        match (kind.found)(site) {
            Some(_) => wanted.push(kind),
            None if args.peers.is_empty() => eprintln!("{}", kind.advice()),
            None => return Err(kind.advice().into()),
        }
    }
    Ok(wanted)
}

/// Whatever is chosen must be there.
fn known(chosen: &[String], names: &[&str]) -> Result<(), Fault> {
    match chosen.iter().find(|name| !names.contains(&name.as_str())) {
        Some(name) => Err(format!("there is no {name}; there are {}", names.join(", ")).into()),
        None => Ok(()),
    }
}

/// Nothing chosen is everything.
fn chosen(names: &[String], name: &str) -> bool {
    names.is_empty() || names.iter().any(|known| known == name)
}
