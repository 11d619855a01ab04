//! Memory that the host has given already.
//!
//! A virtual machine gives free pages back to its host after seconds, and taking one again can cost ten times the write
//! that needs it. Whoever came first would pay for all. So touched memory is held before a run, and let go as fast as
//! the run takes memory.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread::{JoinHandle, sleep, spawn},
    time::Duration,
};

use crate::peer::field;

/// So large that an allocator gives it back to the kernel at once.
const BLOCK_BYTES: usize = 64 << 20;
/// This much stays free ahead of the run.
const AHEAD_BYTES: u64 = 256 << 20;
const PAGE_BYTES: usize = 4096;

/// Memory that is given back while it lives.
pub(crate) struct Warm {
    over: Arc<AtomicBool>,
    keeper: Option<JoinHandle<()>>,
}

impl Warm {
    /// Holds memory for a run that will take so many bytes, as far as there are as many to spare.
    pub(crate) fn hold(bytes: u64) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let (told, held) = mpsc::channel();
        let keeper = spawn({
            let over = over.clone();
            move || keep(bytes, &over, &told)
        });
        // Not an answer, but the end of the first step.
        let _ = held.recv();
        Self { over, keeper: Some(keeper) }
    }
}

impl Drop for Warm {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(keeper) = self.keeper.take() {
            let _ = keeper.join();
        }
    }
}

fn keep(bytes: u64, over: &AtomicBool, told: &mpsc::Sender<()>) {
    let spare = meminfo("MemAvailable:") / 2;
    let count = bytes.min(spare).saturating_add(AHEAD_BYTES) as usize / BLOCK_BYTES;
    let mut blocks: Vec<Vec<u8>> = (0..count).map(|_| touched()).collect();
    let (free, mut released) = (meminfo("MemFree:"), 0);
    while !over.load(Ordering::Relaxed) && !blocks.is_empty() {
        let taken = (free + released).saturating_sub(meminfo("MemFree:"));
        while released < taken + AHEAD_BYTES && blocks.pop().is_some() {
            released += BLOCK_BYTES as u64;
        }
        let _ = told.send(());
        sleep(Duration::from_millis(8));
    }
}

fn touched() -> Vec<u8> {
    let mut block = vec![0; BLOCK_BYTES];
    block.iter_mut().step_by(PAGE_BYTES).for_each(|byte| *byte = 1);
    std::hint::black_box(block)
}

fn meminfo(name: &str) -> u64 {
    field("/proc/meminfo", name).unwrap_or(0)
}
