//! Roof: what the commands of the binary do. The shape of a command line lives beside its deed.
//!
//! Every command ends in one of three ways: done (0), failed (1), wrongly used (2). A failure is one clear sentence on
//! the error stream that says what to do; results go to the output stream, so that they can be piped.

pub mod client;
pub mod config;
pub mod conformance;
pub mod demo;
pub mod direct;
pub mod health;
pub mod identity;
pub mod key;
pub mod serve;
pub mod sign;
pub mod upload;
pub mod uploads;
pub mod user;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Threads for work on files and digests at most. tokio would start 512, whose stacks and arenas cost more memory than
/// hundreds of uploads; no disk and no processor is quicker for more than these.
const BLOCKING_THREADS: usize = 64;

/// The command line.
#[derive(Debug, Parser)]
#[command(name = "chunkgate", version, about, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Try everything at once: service, identity server and a page, on this machine only
    Demo(demo::DemoArgs),
    /// Run the service
    Serve(serve::ServeArgs),
    /// Run an identity server, or check one
    #[command(subcommand)]
    Identity(IdentityCommand),
    /// Print the proof of a request
    Sign(sign::SignArgs),
    /// Ask a running service whether it is ready
    Health(health::HealthArgs),
    /// Upload files, resuming where an earlier try stopped
    Upload(upload::UploadArgs),
    /// List, show and cancel uploads; as an operator everybody's
    Uploads(uploads::UploadsArgs),
    /// List, add and disable local users, and set their passwords
    User(user::UserArgs),
    /// Create, list, rotate and revoke API keys of local users
    Key(key::KeyArgs),
    /// Explain, check and show the configuration
    Config(config::ConfigArgs),
}

#[derive(Debug, Subcommand)]
enum IdentityCommand {
    /// Serve the users of a file
    Serve(identity::ServeArgs),
    /// Ask anybody's identity server whether it keeps the protocol
    Check(conformance::CheckArgs),
}

/// Why a command did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// It failed; the sentence says why and what to do.
    Failed(String),
    /// It was used wrongly; the sentence says how to use it.
    Usage(String),
    /// It failed and has already said so.
    Told,
}

impl From<String> for Failure {
    fn from(sentence: String) -> Self {
        Self::Failed(sentence)
    }
}

/// Parses the arguments, does the deed, and says how it ended.
pub fn main() -> ExitCode {
    // Prints help and wrong usage itself, and ends with 0 or 2.
    let cli = Cli::parse();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().max_blocking_threads(BLOCKING_THREADS).build();
    let ended = match runtime {
        Ok(runtime) => runtime.block_on(run(cli)),
        Err(error) => Err(Failure::Failed(format!("the runtime cannot start: {error}"))),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Told) => ExitCode::from(1),
        Err(Failure::Failed(sentence)) => told(&sentence, 1),
        Err(Failure::Usage(sentence)) => told(&sentence, 2),
    }
}

fn told(sentence: &str, code: u8) -> ExitCode {
    eprintln!("chunkgate: {sentence}");
    ExitCode::from(code)
}

/// Does what the command line asks.
///
/// # Errors
/// What the command failed at.
pub async fn run(cli: Cli) -> Result<(), Failure> {
    match cli.command {
        Command::Demo(args) => demo::run(&args).await,
        Command::Serve(args) => serve::run(&args).await,
        Command::Identity(IdentityCommand::Serve(args)) => {
            serve::log_to_stderr(&crate::telemetry::Settings::default())?;
            Ok(identity::run(args, serve::told_to_stop()).await?)
        }
        Command::Identity(IdentityCommand::Check(args)) => conformance::run(&args).await,
        Command::Sign(args) => sign::run(&args).map_err(Failure::Usage),
        Command::Health(args) => health::run(&args).await,
        Command::Upload(args) => upload::run(&args).await,
        Command::Uploads(args) => uploads::run(&args).await,
        Command::User(args) => user::run(&args).await,
        Command::Key(args) => key::run(&args).await,
        Command::Config(args) => config::run(&args),
    }
}

/// Writes to the output stream. A reader that left (`| head`) is no error.
pub(crate) fn print(text: &str) {
    use std::io::Write as _;
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// Text of others made fit for a terminal: no control characters, which could rewrite the screen.
pub(crate) fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        super::Cli::command().debug_assert();
    }
}
