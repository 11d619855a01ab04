//! chunkgate beside others: the same load on each, in turns, with what it cost and whether it arrived.
//!
//! ```text
//! cargo bench --bench peers
//! cargo bench --bench peers -- --scale 0.1 --rounds 2
//! cargo bench --bench peers -- --install --markdown
//! ```
//!
//! Every peer runs as processes of its own, on loopback, with its files on the same disk. The client is one thread, so
//! that it takes little of the processors that it shares with what it measures. Rounds go forward and backward through
//! the peers; ratios are taken within a round. What was stored is compared with what was sent.
//!
//! What it deliberately does not do: judge. Aims stand beside the figures; `proto-docs/performance.md` tells how to
//! read them. It fails where something was not stored as it was sent.

mod completion;
mod content;
mod faults;
mod figures;
mod kinds;
mod memory;
#[path = "../common/noise.rs"]
mod noise;
mod others;
mod peer;
#[path = "../common/process.rs"]
mod process;
mod run;
#[path = "../common/service.rs"]
mod service;
mod sink;
mod slow;
mod table;
mod throughput;
mod tus;
mod upload;
mod warm;
mod watch;
mod wire;

use std::path::{Path, PathBuf};

use chunkgate::domain::{Clock as _, SystemClock};
use clap::{Parser, Subcommand};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::signal::unix::{SignalKind, signal};

use content::Content;
use kinds::{KINDS, Kind, Site};
use peer::Peer;
use table::Table;

/// Anything that keeps the figures from being true.
type Fault = Box<dyn std::error::Error>;

/// chunkgate beside others
#[derive(Parser)]
#[command(args_conflicts_with_subcommands = true)]
struct Args {
    /// Rounds that count
    #[arg(long, default_value_t = 5)]
    rounds: u64,
    /// How large the loads are; 0.1 takes a minute or two
    #[arg(long, default_value_t = 1.0)]
    scale: f64,
    /// These scenarios only, separated by commas
    #[arg(long, value_delimiter = ',')]
    scenarios: Vec<String>,
    /// These peers only, separated by commas
    #[arg(long, value_delimiter = ',')]
    peers: Vec<String>,
    /// Fetches the peers that are not here, from the registries, into target/bench-peers
    #[arg(long)]
    install: bool,
    /// Writes all figures into a file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Prints the tables as Markdown
    #[arg(long)]
    markdown: bool,
    /// The program to measure [default: the one built along]
    #[arg(long, default_value = env!("CARGO_BIN_EXE_chunkgate"), hide_default_value = true)]
    binary: PathBuf,
    /// Said by cargo
    #[arg(long, hide = true)]
    bench: bool,
    #[command(subcommand)]
    instead: Option<Instead>,
}

#[derive(Subcommand)]
enum Instead {
    #[command(hide = true)]
    Sink(sink::Sink),
}

fn main() -> Result<(), Fault> {
    let args = Args::parse();
    if let Some(Instead::Sink(sink)) = &args.instead {
        return sink.run();
    }
    let open = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: open.maximum, ..open })?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        let mut hangup = signal(SignalKind::hangup())?;
        // Whatever ends the bench, its processes and files end with it.
        tokio::select! {
            result = bench(&args) => result,
            _ = interrupt.recv() => Err("interrupted".into()),
            _ = terminate.recv() => Err("terminated".into()),
            _ = hangup.recv() => Err("left alone".into()),
        }
    })
}

async fn bench(args: &Args) -> Result<(), Fault> {
    let temporary = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let folder = tempfile::tempdir_in(temporary)?;
    let packages = temporary.with_file_name("bench-peers");
    let site = Site { binary: args.binary.clone(), packages, folder: folder.path().to_owned() };
    known(&args.peers, &KINDS.iter().map(|kind| kind.name).collect::<Vec<_>>())?;
    known(&args.scenarios, &scenarios())?;
    let stage = Stage { kinds: wanted(args, &site)?, site };
    let mut peers = stage.open("all").await?;
    let mut content = Content::new();
    let (about, mut tables) = (about(args), Vec::new());
    println!("{about}\n");
    for name in scenarios().into_iter().filter(|name| chosen(&args.scenarios, name)) {
        eprintln!("{name}");
        tables.push(told(args, stage.table(args, name, &mut peers, &mut content).await?));
    }
    if let Some(file) = &args.json {
        let tables: Vec<_> = tables.iter().map(Table::json).collect();
        let all = serde_json::json!({ "about": about, "scenarios": tables });
        std::fs::write(file, serde_json::to_string_pretty(&all)?)?;
    }
    match tables.iter().map(|table| table.faults.len()).sum() {
        0 => Ok(()),
        faults => Err(format!("{faults} loads failed").into()),
    }
}

/// When, where and how much.
fn about(args: &Args) -> String {
    let today = SystemClock.now().strftime("%Y-%m-%d");
    let processors = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let Args { scale, rounds, .. } = args;
    format!("{today}, {processors} processors, Linux {}, scale {scale}, rounds: {rounds}", kernel.trim())
}

/// What can be chosen.
fn scenarios() -> Vec<&'static str> {
    let loads = throughput::SCENARIOS.iter().map(|scenario| scenario.name);
    loads.chain([slow::NAME, completion::NAME, memory::NAME, faults::NAME]).collect()
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

/// Who is measured, and where.
struct Stage {
    kinds: Vec<&'static Kind>,
    site: Site,
}

impl Stage {
    /// Starts everybody, in a folder of this name.
    async fn open(&self, folder: &str) -> Result<Vec<Peer>, Fault> {
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
    async fn table(
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

fn told(args: &Args, table: Table) -> Table {
    match args.markdown {
        true => println!("{}", table.markdown()),
        false => println!("{table}"),
    }
    table
}
