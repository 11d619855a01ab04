//! The `chunkgate` binary.

fn main() {}
