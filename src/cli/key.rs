//! `chunkgate key`: API keys of local users. A key is shown once, when it is made; what is kept cannot show it again.

use std::time::Duration;

use clap::{Args, Subcommand};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use super::{
    Failure,
    direct::{Direct, Place, failed, moment},
    print, printable,
};
use crate::{
    db::KeptKey,
    domain::{
        Clock as _, SystemClock, Timestamp, UserId, after,
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
    /// What it is good for: upload:create, upload:read, upload:write, upload:delete [default: all]
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
    Scope::named(name).ok_or_else(|| format!("is one of {}", Scopes::ALL.names().join(", ")))
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
    let user = direct.user(&args.username).await?.account.user;
    let scopes = if args.scopes.is_empty() { Scopes::ALL } else { args.scopes.iter().copied().collect() };
    let expires = args.expires_in.map(|life| after(SystemClock.now(), life));
    let (key, kept) = make(&direct, user.id, &args.label, scopes, expires)?;
    direct.stores.credentials.add_key(&kept).await.map_err(failed)?;
    reveal(&key, &kept, &user.username, args.json);
    direct.stores.close().await;
    Ok(())
}

async fn list(args: &ListArgs) -> Result<(), Failure> {
    let direct = Direct::open(&args.place).await?;
    let users = match &args.username {
        Some(name) => vec![direct.user(name).await?],
        None => direct.stores.credentials.users().await.map_err(failed)?,
    };
    let now = SystemClock.now();
    if !args.json {
        let (last, expires) = ("LAST USED", "EXPIRES");
        print(&format!("{:<16}  {:<16}  {:<8}  {last:<19}  {expires:<19}  LABEL\n", "ID", "USER", "STATE"));
    }
    for user in users.iter().map(|user| &user.account.user) {
        for kept in direct.stores.credentials.keys(user.id).await.map_err(failed)? {
            match args.json {
                true => print(&format!("{}\n", object(&kept, &user.username, now))),
                false => print(&line(&kept, &user.username, now)),
            }
        }
    }
    direct.stores.close().await;
    Ok(())
}

async fn rotate(args: &RotateArgs) -> Result<(), Failure> {
    let direct = Direct::open(&args.place).await?;
    let (old, owner) = known(&direct, args.id).await?;
    let now = SystemClock.now();
    // As long a life as the old one had.
    let life = old.expires.and_then(|end| Duration::try_from(end.duration_since(old.created)).ok());
    let (key, kept) = make(&direct, old.user, &old.label, old.scopes, life.map(|life| after(now, life)))?;
    let until = after(now, args.overlap);
    if !old.is_good(now) || !direct.stores.credentials.rotate_key(old.id, &kept, until).await.map_err(failed)? {
        let id = old.id;
        return Err(Failure::Failed(format!("the key {id} is no longer good or already rotated; create a new one")));
    }
    reveal(&key, &kept, &owner, args.json);
    eprintln!("the old key {} is good until {}", old.id, moment(Some(until)));
    direct.stores.close().await;
    Ok(())
}

async fn revoke(args: &RevokeArgs) -> Result<(), Failure> {
    let direct = Direct::open(&args.place).await?;
    let (_, owner) = known(&direct, args.id).await?;
    direct.stores.credentials.revoke_key(args.id, SystemClock.now()).await.map_err(failed)?;
    match args.json {
        true => print(&format!("{}\n", object(&known(&direct, args.id).await?.0, &owner, SystemClock.now()))),
        false => print(&format!("{} revoked\n", args.id)),
    }
    direct.stores.close().await;
    Ok(())
}

/// The key of that id and its owner's name.
async fn known(direct: &Direct, id: KeyId) -> Result<(KeptKey, String), Failure> {
    let found = direct.stores.credentials.key(id).await.map_err(failed)?;
    let (kept, owner) = found.ok_or_else(|| format!("there is no key {id}; `chunkgate key list` shows all"))?;
    Ok((kept, owner.user.username))
}

/// A new key, and what is kept of it.
fn make(
    direct: &Direct,
    user: UserId,
    label: &str,
    scopes: Scopes,
    expires: Option<Timestamp>,
) -> Result<(ApiKey, KeptKey), Failure> {
    let auth = &direct.config.auth;
    auth.check_pepper().map_err(|reason| format!("auth.pepper {reason}"))?;
    let (mut id, mut secret) = ([0; 8], [0; 32]);
    rand::fill(&mut id);
    rand::fill(&mut secret);
    let key = ApiKey::new(id, secret);
    let kept = KeptKey {
        id: key.id(),
        user,
        hash: key.hash(auth.pepper.expose_secret().as_bytes()),
        label: label.to_owned(),
        scopes,
        created: SystemClock.now(),
        expires,
        last_used: None,
        revoked: None,
        replaced_by: None,
        overlap_until: None,
    };
    Ok((key, kept))
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

fn state(kept: &KeptKey, now: Timestamp) -> &'static str {
    match (kept.revoked, kept.is_good(now), kept.replaced_by) {
        (Some(_), ..) => "revoked",
        (None, false, None) => "expired",
        (None, false, Some(_)) => "replaced",
        (None, true, Some(_)) => "overlap",
        (None, true, None) => "active",
    }
}

fn object(kept: &KeptKey, owner: &str, now: Timestamp) -> Value {
    json!({
        "id": kept.id.to_string(),
        "username": owner,
        "label": kept.label,
        "scopes": kept.scopes.names(),
        "state": state(kept, now),
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
        state(kept, now),
        moment(kept.last_used),
        moment(ends),
        printable(&kept.label),
    )
}
