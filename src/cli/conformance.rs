//! `chunkgate identity check`: asks anybody's identity server the questions of a table, and says what of the protocol
//! it does not keep, why that matters and what to do.
//!
//! It asks as the service asks (the same question, client and time limits) but reads more leniently, so that one fault
//! of a server fails the one case that is about it. It changes nothing, needs one key that is good for something, and
//! prints no token, secret or signature of its own accord. What it does not judge: how a server keeps its secrets, whether it
//! compares in constant time, and rates.

mod asking;
mod caller;
mod cases;
mod expect;
mod questions;
mod report;

use std::{path::PathBuf, time::Duration};

use clap::Args;
use secrecy::{ExposeSecret as _, SecretString};

pub use report::{Finding, Outcome, Report};

use super::{Failure, print};
use crate::{
    auth::identity,
    domain::{Clock as _, SystemClock, signing},
};
use asking::{Exchange, Line};
use caller::{Caller, Pair};
use cases::{CASES, Case};

/// Arguments of `chunkgate identity check`.
#[derive(Debug, Clone, Args)]
pub struct CheckArgs {
    /// Base URL of the identity server; `/v1/verify` is appended
    #[arg(long, env = "CHUNKGATE_IDENTITY__URL")]
    pub url: String,
    /// The token with which a service proves itself to it
    #[arg(long, env = "CHUNKGATE_IDENTITY__TOKEN", hide_env_values = true, required_unless_present = "token_file")]
    pub token: Option<SecretString>,
    /// A file that holds the token instead
    #[arg(long, env = "CHUNKGATE_IDENTITY__TOKEN_FILE", value_name = "FILE", conflicts_with = "token")]
    pub token_file: Option<PathBuf>,
    /// A key of a user who may act
    #[arg(long, env = "CHUNKGATE_API_KEY", value_name = "KEY")]
    pub api_key: String,
    /// The key's secret; better given in the environment, where other users of the machine do not see it
    #[arg(long, env = "CHUNKGATE_SECRET", hide_env_values = true)]
    pub secret: SecretString,
    /// Also: a key, with its secret, of a user who is disabled
    #[arg(long, value_name = "KEY:SECRET")]
    pub disabled_user: Option<SecretString>,
    /// Also: a key, with its secret, that is disabled itself
    #[arg(long, value_name = "KEY:SECRET")]
    pub disabled_key: Option<SecretString>,
    /// Also: a key that is shown as it is and signs nothing, if the server judges such
    #[arg(long, value_name = "USERNAME:KEY")]
    pub plain_key: Option<SecretString>,
    /// Also: a name and a password, if the server judges such
    #[arg(long, value_name = "USERNAME:PASSWORD")]
    pub basic: Option<SecretString>,
    /// Also: the id of a user who may act, if the server offers `/v1/introspect`
    #[arg(long, value_name = "ID")]
    pub user_id: Option<String>,
    /// The name under which the server knows the service
    #[arg(long, env = "CHUNKGATE_IDENTITY__AUDIENCE", default_value = "chunkgate")]
    pub audience: String,
    /// The realm that questions name
    #[arg(long, env = "CHUNKGATE_IDENTITY__REALM", default_value = "default")]
    pub realm: String,
    /// How far a signed time may lie from the server's clock, on either side
    #[arg(long, default_value = "300s", value_parser = humantime::parse_duration)]
    pub window: Duration,
    /// How long one answer may take
    #[arg(long, default_value = "2s", value_parser = humantime::parse_duration)]
    pub try_timeout: Duration,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Checks and prints; a line a case.
///
/// # Errors
/// The server does not keep the protocol, or an argument cannot be used.
pub async fn run(args: &CheckArgs) -> Result<(), Failure> {
    let told = |finding: &Finding| {
        if !args.json {
            print(&finding.text());
        }
    };
    let report = check(args, told).await?;
    print(&if args.json { report.json() } else { report.summary() });
    if report.passed() { Ok(()) } else { Err(Failure::Told) }
}

/// Runs every case; `told` hears of each as soon as it is judged.
///
/// # Errors
/// An argument cannot be used.
pub async fn check(args: &CheckArgs, told: impl Fn(&Finding)) -> Result<Report, Failure> {
    let settings = settings(args);
    let line = Line::to(&settings).map_err(usage)?;
    let caller = caller(args, &settings).map_err(Failure::Usage)?;
    let mut report = Report::of(line.endpoint());
    for case in CASES {
        if report.deaf() {
            report.findings.push(Finding::skipped(case, "the first case failed, on which this one builds"));
            continue;
        }
        let finding = judged(case, &caller, &line).await;
        told(&finding);
        report.findings.push(finding);
    }
    Ok(report)
}

async fn judged(case: &'static Case, caller: &Caller, line: &Line) -> Finding {
    let Some(asks) = (case.questions)(caller) else { return Finding::skipped(case, case.needs) };
    let exchanges = if case.at_once { line.at_once(asks).await } else { line.in_turn(asks).await };
    if case.optional && exchanges.iter().all(Exchange::is_nowhere) {
        return Finding::skipped(case, "not offered: the server has no such route, and need not have it");
    }
    Finding::of(case, case.expect.flaw(&exchanges, line.try_timeout()), &exchanges)
}

fn settings(args: &CheckArgs) -> identity::Settings {
    identity::Settings {
        url: args.url.clone(),
        token: args.token.clone().unwrap_or_default(),
        token_file: args.token_file.clone().filter(|_| args.token.is_none()),
        audience: args.audience.clone(),
        realm: args.realm.clone(),
        try_timeout: args.try_timeout,
        ..identity::Settings::default()
    }
}

/// The settings' own sentence, in the words of the command line.
fn usage(sentence: String) -> Failure {
    let options = ["url", "token_file", "token", "audience", "realm", "try_timeout"];
    let renamed = options.map(|name| (format!("identity.{name}"), format!("--{}", name.replace('_', "-"))));
    Failure::Usage(renamed.iter().fold(sentence, |text, (from, to)| text.replace(from.as_str(), to)))
}

fn caller(args: &CheckArgs, settings: &identity::Settings) -> Result<Caller, String> {
    if !signing::is_api_key(&args.api_key) {
        return Err("--api-key must be 1 to 256 visible ASCII characters".into());
    }
    if args.secret.expose_secret().is_empty() {
        return Err("--secret is empty; give it, or set CHUNKGATE_SECRET".into());
    }
    Ok(Caller {
        good: Pair { name: args.api_key.clone(), secret: args.secret.clone() },
        disabled_user: pair("--disabled-user", args.disabled_user.as_ref())?,
        disabled_key: pair("--disabled-key", args.disabled_key.as_ref())?,
        plain_key: pair("--plain-key", args.plain_key.as_ref())?,
        basic: pair("--basic", args.basic.as_ref())?,
        user_id: args.user_id.clone(),
        audience: settings.audience.clone(),
        realm: settings.realm.clone(),
        window: args.window,
        made: 0.into(),
        began: SystemClock.now().as_second(),
    })
}

fn pair(option: &str, given: Option<&SecretString>) -> Result<Option<Pair>, String> {
    let Some(given) = given else { return Ok(None) };
    match given.expose_secret().split_once(':') {
        Some((name, secret)) if !name.is_empty() && !secret.is_empty() => {
            Ok(Some(Pair { name: name.to_owned(), secret: secret.into() }))
        }
        _ => Err(format!("{option} must be two texts with a colon between them")),
    }
}
