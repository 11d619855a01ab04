//! `chunkgate config`: the commented example, the check, and what is in effect.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{Failure, print};
use crate::{
    auth::Judge,
    config::{self, EXAMPLE, Loaded, Sources},
};

/// Arguments of `chunkgate config`.
#[derive(Debug, Clone, Args)]
pub struct ConfigArgs {
    #[command(subcommand)]
    deed: Deed,
}

#[derive(Debug, Clone, Subcommand)]
enum Deed {
    /// Print a commented file with every setting and its default
    Example,
    /// Judge a file together with the environment; tells every problem with its place
    Check(Which),
    /// Print the effective settings, and where those were given that are not defaults; secrets are hidden
    Show(Which),
}

#[derive(Debug, Clone, Args)]
struct Which {
    /// The file [default: the one that CHUNKGATE_CONFIG names, if it is set]
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    /// The same, spelled as for `serve`
    #[arg(long, value_name = "FILE", conflicts_with = "file")]
    config: Option<PathBuf>,
}

impl Which {
    fn load(&self) -> Result<Loaded, Failure> {
        let file = self.file.clone().or_else(|| self.config.clone());
        config::load(&Sources::of_process(file)).map_err(|error| Failure::Failed(error.to_string()))
    }
}

/// Does what was asked.
///
/// # Errors
/// Every problem of the configuration.
pub fn run(args: &ConfigArgs) -> Result<(), Failure> {
    match &args.deed {
        Deed::Example => print(EXAMPLE),
        Deed::Check(which) => {
            let config = which.load()?.config;
            // The one thing that has no default and that `serve` cannot do without.
            if config.auth.judged_by(Judge::Identity).next().is_some() {
                for identity in config.identities() {
                    identity.check_token().map_err(|reason| config::of_realm(&config, &identity.realm, reason))?;
                }
            }
            print("the configuration is valid\n");
        }
        Deed::Show(which) => print(&which.load()?.show()),
    }
    Ok(())
}
