//! What the commands share that act on the database itself, also beside a running service.

use std::{io::Read as _, path::PathBuf, sync::Arc};

use clap::Args;
use secrecy::SecretString;

use super::Failure;
use crate::{
    auth::{
        operators::{OperatorError, Operators, Person},
        passwords,
    },
    config::{self, Sources},
    db::{self, Stores},
    domain::{SystemClock, Timestamp, operators::Operator},
};

/// Which database.
#[derive(Debug, Clone, Args)]
pub struct Place {
    /// The service's configuration [default: the file that CHUNKGATE_CONFIG names, if it is set]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// An open database, and what operators do in it. Whoever holds the database itself is one.
pub(super) struct Direct {
    pub(super) operators: Operators,
    pub(super) by: Operator,
    stores: Stores,
}

impl Direct {
    pub(super) async fn open(place: &Place) -> Result<Self, Failure> {
        let loaded = config::load(&Sources::of_process(place.config.clone())).map_err(|error| error.to_string())?;
        let (config, clock) = (loaded.config, Arc::new(SystemClock));
        let stores = db::connect(&config.database, config.storage.local.durability).await;
        let stores = stores.map_err(|error| error.to_string())?;
        let (facts, credentials) = (stores.operations.clone(), stores.credentials.clone());
        let operators = Operators::new(facts, credentials, clock, config.auth.pepper);
        Ok(Self { operators, by: Operator::of_the_shell(), stores })
    }

    /// The local user of that name.
    pub(super) async fn user(&self, name: &str) -> Result<Person, Failure> {
        self.operators.named(&self.by, name).await.map_err(|error| match error {
            OperatorError::NotFound => {
                Failure::Failed(format!("there is no local user {name:?}; `chunkgate user list` shows all"))
            }
            error => failed(error),
        })
    }

    pub(super) async fn close(self) {
        self.stores.close().await;
    }
}

/// A failure of the deed.
pub(super) fn failed(error: OperatorError) -> Failure {
    Failure::Failed(error.to_string())
}

/// Reads a new password: the first line of a file, or of the standard input if the file is `-`.
pub(super) fn new_password(file: &str) -> Result<SecretString, Failure> {
    // Somewhat more than the longest, so that a longer one is refused and not cut.
    let most = passwords::MAX_PASSWORD_BYTES as u64 + 2;
    let mut text = String::new();
    let read = match file {
        "-" => std::io::stdin().lock().take(most).read_to_string(&mut text),
        path => std::fs::File::open(path).and_then(|file| file.take(most).read_to_string(&mut text)),
    };
    read.map_err(|error| Failure::Failed(format!("the password cannot be read: {error}")))?;
    let line = text.strip_suffix('\n').unwrap_or(&text);
    let line = line.strip_suffix('\r').unwrap_or(line);
    passwords::check(line)?;
    Ok(line.into())
}

/// A moment for people, to the second.
pub(super) fn moment(at: Option<Timestamp>) -> String {
    at.map_or_else(|| "-".to_owned(), |at| at.to_string().chars().take(19).collect())
}
