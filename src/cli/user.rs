//! `chunkgate user`: users who are known to the service itself.

use clap::{Args, Subcommand};
use serde_json::json;

use super::{
    Failure,
    direct::{Direct, Place, failed, moment, new_password},
    print, printable,
};
use crate::auth::operators::{NewPerson, OperatorError, Person};

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
    /// Let a user's password admit as operator
    Promote(OneArgs),
    /// Let it admit as an ordinary user again
    Demote(OneArgs),
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
    /// Let the password admit as operator; a key does if it is made with --scope admin
    #[arg(long)]
    admin: bool,
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
        Deed::Promote(args) => set_admin(args, true).await,
        Deed::Demote(args) => set_admin(args, false).await,
        Deed::Password(args) => password(args).await,
    }
}

async fn list(args: &ListArgs) -> Result<(), Failure> {
    let direct = Direct::open(&args.place).await?;
    let users = direct.operators.locals(&direct.by).await.map_err(failed)?;
    if !args.json {
        let (state, password) = ("STATE", "PASSWORD");
        print(&format!("{:<24}  {state:<8}  {password:<8}  {:<8}  {:<19}  EMAIL\n", "NAME", "ROLE", "CREATED"));
    }
    users.iter().for_each(|user| show(user, args.json));
    direct.close().await;
    Ok(())
}

async fn add(args: &AddArgs) -> Result<(), Failure> {
    let password = args.password_file.as_deref().map(new_password).transpose()?;
    let direct = Direct::open(&args.place).await?;
    let new = NewPerson {
        username: args.username.clone(),
        email: args.email.clone(),
        display_name: args.display_name.clone(),
        admin: args.admin,
        password,
    };
    let user = direct.operators.add(&direct.by, new).await.map_err(|error| match error {
        OperatorError::Invalid(how) => Failure::Usage(how),
        error => failed(error),
    })?;
    told(direct, &user, args.json, "added").await
}

async fn set_disabled(args: &OneArgs, disabled: bool) -> Result<(), Failure> {
    let direct = Direct::open(&args.place).await?;
    let id = direct.user(&args.username).await?.user.id;
    let user = direct.operators.set_disabled(&direct.by, id, disabled).await.map_err(failed)?;
    told(direct, &user, args.json, if disabled { "disabled" } else { "enabled" }).await
}

async fn set_admin(args: &OneArgs, admin: bool) -> Result<(), Failure> {
    let direct = Direct::open(&args.place).await?;
    let id = direct.user(&args.username).await?.user.id;
    let user = direct.operators.set_admin(&direct.by, id, admin).await.map_err(failed)?;
    told(direct, &user, args.json, if admin { "is an operator" } else { "is an ordinary user" }).await
}

async fn password(args: &PasswordArgs) -> Result<(), Failure> {
    let direct = Direct::open(&args.one.place).await?;
    let id = direct.user(&args.one.username).await?.user.id;
    let password = new_password(&args.password_file)?;
    let user = direct.operators.set_password(&direct.by, id, password).await.map_err(failed)?;
    told(direct, &user, args.one.json, "has a new password").await
}

/// Says what became of the user.
async fn told(direct: Direct, user: &Person, json: bool, what: &str) -> Result<(), Failure> {
    match json {
        true => show(user, true),
        false => print(&format!("{} {what}\n", printable(&user.user.username))),
    }
    direct.close().await;
    Ok(())
}

fn show(person: &Person, json: bool) {
    let disabled = person.disabled_by_admin || person.disabled_by_idp;
    if json {
        let object = json!({
            "id": person.user.id.to_string(),
            "username": person.user.username,
            "email": person.email,
            "display_name": person.display_name,
            "admin": person.admin,
            "disabled": disabled,
            "password": person.has_password,
            "created": person.created,
        });
        return print(&format!("{object}\n"));
    }
    print(&format!(
        "{:<24}  {:<8}  {:<8}  {:<8}  {:<19}  {}\n",
        printable(&person.user.username),
        if disabled { "disabled" } else { "active" },
        if person.has_password { "set" } else { "none" },
        if person.admin { "operator" } else { "-" },
        moment(Some(person.created)),
        printable(person.email.as_deref().unwrap_or("-")),
    ));
}
