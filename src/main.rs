//! The `chunkgate` binary.

fn main() -> std::process::ExitCode {
    chunkgate::cli::main()
}
