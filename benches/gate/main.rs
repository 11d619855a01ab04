//! What the gate costs: 64 KiB chunks through the raw door, one connection, in four ways that differ only in the proof.
//!
//! ```text
//! cargo bench --bench gate
//! cargo bench --bench gate -- --rounds 31
//! ```
//!
//! The service and an identity server run as processes of their own, on loopback, with SQLite and durability `os`. Every
//! way sends one file a round; the ways take turns, forward in even rounds and backward in odd ones, and are compared
//! within a round, because two rounds of a busy machine differ more than two ways of one round. Requests are written
//! down and signed before the clock starts. Every answer must be a success, every file must come back as it was sent,
//! and the identity server must have been asked as often as the way says: refusals are not measured by accident.
//!
//! What it deliberately does not do: judge. `proto-docs/performance.md` tells how to read the table, and what it was.

mod block;
mod figures;
mod load;
#[path = "../common/noise.rs"]
mod noise;
#[path = "../common/process.rs"]
mod process;
#[path = "../common/service.rs"]
mod service;
mod stage;
mod way;
mod wire;

use clap::Parser;

use block::Block;
use figures::Figures;
use load::Load;
use stage::Stage;
use way::Way;

/// Anything that keeps the figures from being true.
type Fault = Box<dyn std::error::Error>;

/// What the gate costs
#[derive(Parser)]
struct Args {
    /// Rounds that count; one more goes before them to warm up
    #[arg(long, default_value_t = 15)]
    rounds: usize,
    /// Timed chunks of a file
    #[arg(long, default_value_t = 256)]
    chunks: usize,
    /// The program to measure [default: the one built along]
    #[arg(long, default_value = env!("CARGO_BIN_EXE_chunkgate"), hide_default_value = true)]
    binary: std::path::PathBuf,
    /// A PostgreSQL database of its own, instead of a file of SQLite
    #[arg(long)]
    database: Option<String>,
    /// Said by cargo
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> Result<(), Fault> {
    let args = Args::parse();
    let stage = Stage::open(&args.binary, args.database.as_deref())?;
    round(&stage, 0, args.chunks)?;
    let (mut figures, load) = (Figures::default(), Load::now(&stage)?);
    for number in 1..=args.rounds {
        figures.add(round(&stage, number, args.chunks)?);
    }
    let load = Load::now(&stage)?.since(&load);
    let size = block::CHUNK_BYTES / 1024;
    println!("{} rounds of {} chunks of {size} KiB; medians of rounds\n", args.rounds, args.chunks);
    print!("{figures}\n{load}");
    Ok(())
}

/// Each way once.
fn round(stage: &Stage, number: usize, chunks: usize) -> Result<Vec<(Way, Block)>, Fault> {
    let mut ways = Way::ALL;
    if number % 2 == 1 {
        ways.reverse();
    }
    let block = |way: Way| {
        let block = block::send(stage, way, number, chunks);
        block.map(|block| (way, block)).map_err(|fault| format!("{}: {fault}", way.name()).into())
    };
    ways.into_iter().map(block).collect()
}
