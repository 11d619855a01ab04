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
mod stage;
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
use kinds::Site;
use stage::{Stage, scenarios};
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
    let (scenarios, stage) = (scenarios(args)?, Stage::new(args, site)?);
    let mut peers = stage.open("all").await?;
    let mut content = Content::new();
    let (about, mut tables) = (about(args), Vec::new());
    println!("{about}\n");
    for name in scenarios {
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

fn told(args: &Args, table: Table) -> Table {
    match args.markdown {
        true => println!("{}", table.markdown()),
        false => println!("{table}"),
    }
    table
}
