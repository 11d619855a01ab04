//! `chunkgate user`: users who are known to the service itself.

use clap::{Args, Subcommand};
use secrecy::ExposeSecret as _;
use serde_json::json;

use super::{
    Failure,
    direct::{Direct, Place, failed, moment, new_password},
    print, printable,
};
use crate::{
    auth::{credentials, passwords},
    db::{LocalUser, NewUser, StoreError},
    domain::{Clock as _, SystemClock},
};

/// Arguments of `chunkgate user`.
#[derive(Debug, Clone, Args)]
pub struct UserArgs {
    #[command(subcommand)]
    deed: Deed,
}

#[derive(Debug, Clone, Subcommand)]
enum Deed {
    /// List local users
    List(ListArgs),
    /// Make a user; without a password only API keys admit
    Add(AddArgs),
    /// Refuse a user from the next request on
    Disable(OneArgs),
    /// Admit a disabled user again
    Enable(OneArgs),
    /// Set a user's password, read from the standard input or a file
    Password(PasswordArgs),
}

#[derive(Debug, Clone, Args)]
struct ListArgs {
    #[command(flatten)]
    place: Place,
    /// Print JSON, one object a line
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Args)]
struct AddArgs {
    /// The name, without a colon
    username: String,
    #[command(flatten)]
    place: Place,
    /// Mail address
    #[arg(long)]
    email: Option<String>,
    /// Full name
    #[arg(long, value_name = "NAME")]
    display_name: Option<String>,
    /// File with the password; - is the standard input
    #[arg(long, value_name = "FILE")]
    password_file: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Args)]
struct OneArgs {
    /// The name
    username: String,
    #[command(flatten)]
    place: Place,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Args)]
struct PasswordArgs {
    #[command(flatten)]
    one: OneArgs,
    /// File with the password; - is the standard input
    #[arg(long, value_name = "FILE", default_value = "-")]
    password_file: String,
}

/// Does what was asked.
///
/// # Errors
/// What is wrong with the configuration, the database or what was asked.
pub async fn run(args: &UserArgs) -> Result<(), Failure> {
    match &args.deed {
        Deed::List(args) => list(args).await,
        Deed::Add(args) => add(args).await,
        Deed::Disable(args) => set_disabled(args, true).await,
        Deed::Enable(args) => set_disabled(args, false).await,
        Deed::Password(args) => password(args).await,
    }
}

async fn list(args: &ListArgs) -> Result<(), Failure> {
    let direct = Direct::open(&args.place).await?;
    let users = direct.stores.credentials.users().await.map_err(failed)?;
    if !args.json {
        print(&format!("{:<24}  {:<8}  {:<8}  {:<19}  EMAIL\n", "NAME", "STATE", "PASSWORD", "CREATED"));
    }
    users.iter().for_each(|user| show(user, args.json));
    direct.stores.close().await;
    Ok(())
}

async fn add(args: &AddArgs) -> Result<(), Failure> {
    let name = &args.username;
    if !credentials::is_username(name) {
        return Err(Failure::Usage("the name must have 1 to 255 bytes, without colon and control characters".into()));
    }
    let password = args.password_file.as_deref().map(new_password).transpose()?;
    let direct = Direct::open(&args.place).await?;
    let (email, display_name) = (args.email.clone(), args.display_name.clone());
    let new = NewUser { username: name.clone(), email, display_name };
    let added = direct.stores.credentials.add_user(&new, SystemClock.now()).await;
    let user = added.map_err(|error| match error {
        StoreError::Conflict => Failure::Failed(format!("there already is a local user {name:?}")),
        error => failed(error),
    })?;
    if let Some(password) = password {
        let phc = passwords::hash(password.expose_secret());
        direct.stores.credentials.set_password(user.account.user.id, &phc, SystemClock.now()).await.map_err(failed)?;
    }
    told(&direct, name, args.json, "added").await
}

async fn set_disabled(args: &OneArgs, disabled: bool) -> Result<(), Failure> {
    let direct = Direct::open(&args.place).await?;
    let id = direct.user(&args.username).await?.account.user.id;
    direct.stores.credentials.set_user_disabled(id, disabled, SystemClock.now()).await.map_err(failed)?;
    told(&direct, &args.username, args.json, if disabled { "disabled" } else { "enabled" }).await
}

async fn password(args: &PasswordArgs) -> Result<(), Failure> {
    let direct = Direct::open(&args.one.place).await?;
    let id = direct.user(&args.one.username).await?.account.user.id;
    let phc = passwords::hash(new_password(&args.password_file)?.expose_secret());
    direct.stores.credentials.set_password(id, &phc, SystemClock.now()).await.map_err(failed)?;
    told(&direct, &args.one.username, args.one.json, "has a new password").await
}

/// Says what became of the user.
async fn told(direct: &Direct, name: &str, json: bool, what: &str) -> Result<(), Failure> {
    match json {
        true => show(&direct.user(name).await?, true),
        false => print(&format!("{} {what}\n", printable(name))),
    }
    direct.stores.close().await;
    Ok(())
}

fn show(user: &LocalUser, json: bool) {
    let known = &user.account.user;
    if json {
        let object = json!({
            "id": known.id.to_string(),
            "username": known.username,
            "email": user.email,
            "display_name": user.display_name,
            "disabled": user.account.disabled,
            "password": user.phc.is_some(),
            "created": user.created,
        });
        return print(&format!("{object}\n"));
    }
    print(&format!(
        "{:<24}  {:<8}  {:<8}  {:<19}  {}\n",
        printable(&known.username),
        if user.account.disabled { "disabled" } else { "active" },
        if user.phc.is_some() { "set" } else { "none" },
        moment(Some(user.created)),
        printable(user.email.as_deref().unwrap_or("-")),
    ));
}
