//! `chunkgate key`: API keys of local users. A key is shown once, when it is made; what is kept cannot show it again.

use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::{
    Failure,
    direct::{Direct, Place, failed, moment},
    print, printable,
};
use crate::{
    auth::operators::{KeptKey, NewKey, OperatorError},
    domain::{
        Clock as _, SystemClock, Timestamp,
        keys::{ApiKey, KeyId},
        principal::{Scope, Scopes},
    },
};

/// Arguments of `chunkgate key`.
#[derive(Debug, Clone, Args)]
pub struct KeyArgs {
    #[command(subcommand)]
    deed: Deed,
}

#[derive(Debug, Clone, Subcommand)]
enum Deed {
    /// Make a key for a user and show it, this once
    Create(CreateArgs),
    /// List keys, without what admits
    List(ListArgs),
    /// Make the key that follows another; the old one stays good for a while
    Rotate(RotateArgs),
    /// Refuse a key from the next request on
    Revoke(RevokeArgs),
}

#[derive(Debug, Clone, Args)]
struct CreateArgs {
    /// Whose key
    username: String,
    #[command(flatten)]
    place: Place,
    /// What to call it
    #[arg(long, default_value = "")]
    label: String,
    /// What it is good for: upload:create, upload:read, upload:write, upload:delete [default: all four]; or
    /// admin, to operate the service
    #[arg(long = "scope", value_name = "SCOPE", value_parser = scope)]
    scopes: Vec<Scope>,
    /// How long it is good, as in 90d [default: until it is revoked]
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    expires_in: Option<Duration>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Args)]
struct ListArgs {
    /// Only this user's
    username: Option<String>,
    #[command(flatten)]
    place: Place,
    /// Print JSON, one object a line
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Args)]
struct RotateArgs {
    /// The old key's id, as `key list` shows it
    id: KeyId,
    #[command(flatten)]
    place: Place,
    /// How long the old key stays good
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = humantime::parse_duration)]
    overlap: Duration,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Args)]
struct RevokeArgs {
    /// The key's id, as `key list` shows it
    id: KeyId,
    #[command(flatten)]
    place: Place,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

fn scope(name: &str) -> Result<Scope, String> {
    Scope::named(name).ok_or_else(|| format!("is one of {}", Scope::ALL.map(Scope::name).join(", ")))
}

/// Does what was asked.
///
/// # Errors
/// What is wrong with the configuration, the database or what was asked.
pub async fn run(args: &KeyArgs) -> Result<(), Failure> {
    match &args.deed {
        Deed::Create(args) => create(args).await,
        Deed::List(args) => list(args).await,
        Deed::Rotate(args) => rotate(args).await,
        Deed::Revoke(args) => revoke(args).await,
    }
}

async fn create(args: &CreateArgs) -> Result<(), Failure> {
    let direct = Direct::open(&args.place).await?;
    let user = direct.user(&args.username).await?.user;
    let scopes = if args.scopes.is_empty() { Scopes::ALL } else { args.scopes.iter().copied().collect() };
    let new = NewKey { label: args.label.clone(), scopes, life: args.expires_in };
    let (key, kept) = direct.operators.create_key(&direct.by, user.id, new).await.map_err(failed)?;
    reveal(&key, &kept, &user.username, args.json);
    direct.close().await;
    Ok(())
}

async fn list(args: &ListArgs) -> Result<(), Failure> {
    let direct = Direct::open(&args.place).await?;
    let users = match &args.username {
        Some(name) => vec![direct.user(name).await?],
        None => direct.operators.locals(&direct.by).await.map_err(failed)?,
    };
    let now = SystemClock.now();
    if !args.json {
        let (last, expires) = ("LAST USED", "EXPIRES");
        print(&format!("{:<16}  {:<16}  {:<8}  {last:<19}  {expires:<19}  LABEL\n", "ID", "USER", "STATE"));
    }
    for user in users.iter().map(|person| &person.user) {
        for kept in direct.operators.keys(&direct.by, user.id).await.map_err(failed)? {
            match args.json {
                true => print(&format!("{}\n", object(&kept, &user.username, now))),
                false => print(&line(&kept, &user.username, now)),
            }
        }
    }
    direct.close().await;
    Ok(())
}

async fn rotate(args: &RotateArgs) -> Result<(), Failure> {
    let direct = Direct::open(&args.place).await?;
    let (_, owner) = direct.operators.key(&direct.by, args.id).await.map_err(|error| unknown(args.id, error))?;
    let (key, kept, until) = direct.operators.rotate_key(&direct.by, args.id, args.overlap).await.map_err(failed)?;
    reveal(&key, &kept, &owner, args.json);
    eprintln!("the old key {} is good until {}", args.id, moment(Some(until)));
    direct.close().await;
    Ok(())
}

async fn revoke(args: &RevokeArgs) -> Result<(), Failure> {
    let direct = Direct::open(&args.place).await?;
    let revoked = direct.operators.revoke_key(&direct.by, args.id).await;
    let (kept, owner) = revoked.map_err(|error| unknown(args.id, error))?;
    match args.json {
        true => print(&format!("{}\n", object(&kept, &owner, SystemClock.now()))),
        false => print(&format!("{} revoked\n", args.id)),
    }
    direct.close().await;
    Ok(())
}

/// A failure about a key, which may be that there is none.
fn unknown(id: KeyId, error: OperatorError) -> Failure {
    match error {
        OperatorError::NotFound => format!("there is no key {id}; `chunkgate key list` shows all").into(),
        error => failed(error),
    }
}

/// Prints the key itself, alone on the output stream so that it can be piped.
fn reveal(key: &ApiKey, kept: &KeptKey, owner: &str, json: bool) {
    if json {
        let mut object = object(kept, owner, kept.created);
        object["api_key"] = key.reveal().into();
        return print(&format!("{object}\n"));
    }
    print(&format!("{}\n", key.reveal()));
    eprintln!("keep it: it is not shown again");
}

fn object(kept: &KeptKey, owner: &str, now: Timestamp) -> Value {
    json!({
        "id": kept.id.to_string(),
        "username": owner,
        "label": kept.label,
        "scopes": kept.scopes.names(),
        "state": kept.state(now),
        "created": kept.created,
        "expires": kept.expires,
        "last_used": kept.last_used,
        "revoked": kept.revoked,
        "replaced_by": kept.replaced_by.map(|id| id.to_string()),
        "overlap_until": kept.overlap_until,
    })
}

fn line(kept: &KeptKey, owner: &str, now: Timestamp) -> String {
    let ends = kept.expires.into_iter().chain(kept.overlap_until).min();
    format!(
        "{:<16}  {:<16}  {:<8}  {:<19}  {:<19}  {}\n",
        kept.id,
        printable(owner),
        kept.state(now),
        moment(kept.last_used),
        moment(ends),
        printable(&kept.label),
    )
}
