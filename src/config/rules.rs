//! What a valid configuration is, beyond its types. Pure: settings in, keys and reasons out, all of them.

use std::{ops::RangeInclusive, time::Duration};

use hyper::{
    Uri,
    header::{HeaderName, HeaderValue},
};
use secrecy::ExposeSecret as _;

use super::{Config, realms};
use crate::{
    auth::identity::{Settings as Identity, check_name},
    domain::{realms::is_at_or_below, token::LONGEST_LIFE},
};

/// First path segments that belong to the service itself.
const OWN_ROUTES: [&str; 8] = ["admin", "api", "client", "demo", "healthz", "metrics", "openapi.json", "readyz"];
/// Form fields with a meaning of their own.
const OWN_FIELDS: [&str; 6] = ["api_key", "md5", "signature", "timestamp", "upload_id", "username"];
/// Headers that mean something else on every request.
const OWN_HEADERS: [&str; 6] =
    ["authorization", "connection", "content-length", "content-type", "host", "transfer-encoding"];
/// Least length of a token that others must not guess.
const LEAST_TOKEN_BYTES: usize = 16;
/// What counts as for ever; more only overflows somewhere.
const LONGEST: Duration = Duration::from_secs(100 * 366 * 24 * 60 * 60);
const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(60 * 60);

/// What is wrong: keys and reasons. Those of realms are made of their names.
type Findings = Vec<(&'static str, String)>;

/// Judges a configuration.
pub(super) fn check(config: &Config) -> realms::Findings {
    let mut found = Findings::new();
    server(config, &mut found);
    database(config, &mut found);
    storage(config, &mut found);
    uploads(config, &mut found);
    gate(config, &mut found);
    found.extend(of_identity(&config.identity));
    names(config, &mut found);
    found.extend(config.cors.check());
    multipart(config, &mut found);
    raw(config, &mut found);
    tus(config, &mut found);
    log(config, &mut found);
    let found = found.into_iter().map(|(key, reason)| (key.to_owned(), reason));
    found.chain(realms::check(config)).collect()
}

fn server(config: &Config, found: &mut Findings) {
    let server = &config.server;
    if let Some(Err(reason)) = server.public_url.as_deref().map(origin) {
        found.push(("server.public_url", reason));
    }
    between("server.idle_timeout", server.idle_timeout, SECOND..=HOUR, found);
    between("server.shutdown_grace", server.shutdown_grace, Duration::ZERO..=HOUR, found);
    let head = server.max_head.as_u64();
    if !(8 * 1024..=1024 * 1024).contains(&head) {
        found.push(("server.max_head", "must lie between 8KiB and 1MiB".into()));
    }
}

fn database(config: &Config, found: &mut Findings) {
    if let Err(reason) = config.database.check() {
        found.push(("database.url", reason));
    }
    if config.database.max_connections == 0 {
        found.push(("database.max_connections", "must be at least 1".into()));
    }
}

fn storage(config: &Config, found: &mut Findings) {
    let local = &config.storage.local;
    if local.path.as_os_str().is_empty() {
        found.push(("storage.local.path", "must name a folder".into()));
    }
    found.extend(local.check());
}

fn uploads(config: &Config, found: &mut Findings) {
    let uploads = &config.uploads;
    match uploads.max_bytes.map(|limit| limit.as_u64()) {
        Some(0) => found.push(("uploads.max_bytes", "must be at least 1; leave it out for no limit".into())),
        Some(limit) if i64::try_from(limit).is_err() => {
            found.push(("uploads.max_bytes", "must be less than 8EiB".into()));
        }
        _ => {}
    }
    between("uploads.expires_after", uploads.expires_after, SECOND..=LONGEST, found);
    between("uploads.tombstones", uploads.tombstones, Duration::ZERO..=LONGEST, found);
    if let Some(life) = uploads.retain_completed {
        between("uploads.retain_completed", life, SECOND..=LONGEST, found);
    }
}

fn gate(config: &Config, found: &mut Findings) {
    let auth = &config.auth;
    if auth.methods.is_empty() && !auth.anonymous {
        found.push(("auth.methods", "must name a method, or nobody can upload".into()));
    }
    let repeated = auth.methods.iter().enumerate().any(|(at, method)| auth.methods[..at].contains(method));
    if repeated {
        found.push(("auth.methods", "names a method twice".into()));
    }
    if (auth.needs_pepper() || !auth.pepper.expose_secret().is_empty())
        && let Err(reason) = auth.check_pepper()
    {
        found.push(("auth.pepper", reason));
    }
    between("auth.signature.window", auth.signature.window, 5 * SECOND..=15 * MINUTE, found);
    between("auth.tokens.life", auth.tokens.life, MINUTE..=LONGEST_LIFE, found);
    between("auth.tokens.rotate_every", auth.tokens.rotate_every, HOUR..=LONGEST, found);
}

/// The name under which the default realm's users are filed. Others are named by their tables.
fn names(config: &Config, found: &mut Findings) {
    let identity = &config.identity;
    if let Err(reason) = check_name(&identity.realm).and_then(|()| identity.check_realm()) {
        found.push(("identity.realm", reason));
    }
}

/// Judges an identity server, of whichever realm.
pub(super) fn of_identity(identity: &Identity) -> Findings {
    let found = &mut Findings::new();
    if let Err(reason) = base_url(&identity.url).map(|_| ()).and_then(|()| identity.check_url()) {
        found.push(("identity.url", reason));
    }
    if !identity.token.expose_secret().bytes().all(|byte| byte.is_ascii_graphic()) {
        found.push(("identity.token", "must consist of visible ASCII characters: it is sent in a header".into()));
    }
    if let Some(reason) = events_token(identity) {
        found.push(("identity.events_token", reason.into()));
    }
    if let Err(reason) = check_name(&identity.audience) {
        found.push(("identity.audience", reason));
    }
    let instant = Duration::from_millis(1);
    between("identity.connect_timeout", identity.connect_timeout, instant..=MINUTE, found);
    between("identity.try_timeout", identity.try_timeout, instant..=MINUTE, found);
    between("identity.deadline", identity.deadline, instant..=MINUTE, found);
    between("identity.revalidate_every", identity.revalidate_every, MINUTE..=24 * HOUR, found);
    between("identity.stale_if_error", identity.stale_if_error, Duration::ZERO..=24 * HOUR, found);
    if (identity.deadline..=MINUTE).contains(&identity.try_timeout) && identity.try_timeout != identity.deadline {
        found.push(("identity.try_timeout", "must not be longer than identity.deadline".into()));
    }
    std::mem::take(found)
}

fn events_token(identity: &Identity) -> Option<&'static str> {
    let token = identity.events_token.expose_secret();
    if token.is_empty() {
        None
    } else if token.len() < LEAST_TOKEN_BYTES || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        Some("must be at least 16 visible ASCII characters")
    } else if token == identity.token.expose_secret() {
        Some("must be another secret than identity.token, or whoever is asked could speak for the identity server")
    } else {
        None
    }
}

fn multipart(config: &Config, found: &mut Findings) {
    let multipart = &config.multipart;
    if let Err(reason) = prefix(&multipart.prefix) {
        found.push(("multipart.prefix", reason));
    }
    let field = multipart.field_name.as_str();
    if field.is_empty() || field.chars().any(|c| c.is_control() || c == '"') {
        found.push(("multipart.field_name", "must be a name without quotes and control characters".into()));
    } else if OWN_FIELDS.contains(&field) {
        found.push(("multipart.field_name", format!("`{field}` already has a meaning in the form")));
    }
    match HeaderName::from_bytes(multipart.content_range_header.as_bytes()) {
        Err(_) => found.push(("multipart.content_range_header", "is not a header name".into())),
        Ok(name) if OWN_HEADERS.contains(&name.as_str()) => {
            found.push(("multipart.content_range_header", format!("`{name}` already has a meaning in HTTP")));
        }
        Ok(_) => {}
    }
    if !is_content_type(&multipart.content_type) {
        found.push(("multipart.content_type", "must be a content type such as application/json".into()));
    }
}

fn raw(config: &Config, found: &mut Findings) {
    if let Err(reason) = prefix(&config.raw.prefix) {
        found.push(("raw.prefix", reason));
    }
    let (taken, route) = (&config.multipart.prefix, format!("{}/upload", config.raw.prefix));
    if *taken == route || format!("{taken}_complete") == route {
        found.push(("multipart.prefix", format!("{route} is a route of the raw door, see raw.prefix")));
    }
}

fn tus(config: &Config, found: &mut Findings) {
    let own = &config.tus.prefix;
    if let Err(reason) = prefix(own) {
        found.push(("tus.prefix", reason));
    }
    let completion = format!("{}_complete", config.multipart.prefix);
    for taken in [&config.multipart.prefix, &completion, &config.raw.prefix] {
        if is_at_or_below(own, taken) || is_at_or_below(taken, own) {
            found.push(("tus.prefix", format!("{own} and {taken} of another door would share paths")));
        }
    }
}

fn log(config: &Config, found: &mut Findings) {
    const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
    let level = &config.log.level;
    // The filter would take a misspelled level for the name of a module, and log nothing.
    let lone = |word: &str| !word.contains(['=', '[', ':']);
    if let Some(word) = level.split(',').find(|word| lone(word) && !LEVELS.contains(&word.trim())) {
        found.push(("log.level", format!("`{word}` is not one of {}", LEVELS.join(", "))));
    } else if let Err(error) = tracing_subscriber::EnvFilter::builder().parse(level) {
        found.push(("log.level", error.to_string()));
    }
}

fn between(key: &'static str, life: Duration, allowed: RangeInclusive<Duration>, found: &mut Findings) {
    if !allowed.contains(&life) {
        let spell = humantime::format_duration;
        found.push((key, format!("must lie between {} and {}", spell(*allowed.start()), spell(*allowed.end()))));
    }
}

/// An absolute URL of http or https without credentials, query and fragment.
fn base_url(text: &str) -> Result<Uri, String> {
    let shape = || "must be an absolute URL such as https://upload.example.org".to_owned();
    let uri: Uri = text.parse().map_err(|_| shape())?;
    let authority = uri.authority().ok_or_else(shape)?;
    if !matches!(uri.scheme_str(), Some("http" | "https")) || authority.host().is_empty() {
        return Err(shape());
    }
    if authority.as_str().contains('@') {
        return Err("must not contain credentials".into());
    }
    if uri.query().is_some() || text.contains('#') {
        return Err("must not have a query or a fragment".into());
    }
    Ok(uri)
}

/// A [`base_url`] without a path.
fn origin(text: &str) -> Result<(), String> {
    let uri = base_url(text)?;
    if uri.path() != "/" || text.ends_with('/') {
        return Err("must be scheme and host only, without a path or a slash at its end".into());
    }
    Ok(())
}

pub(super) fn prefix(prefix: &str) -> Result<(), String> {
    let Some(path) = prefix.strip_prefix('/') else { return Err("must begin with /".into()) };
    if path.is_empty() || path.ends_with('/') {
        return Err("must name a path and not end with /".into());
    }
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    if !path.split('/').all(|part| !matches!(part, "" | "." | "..") && part.bytes().all(plain)) {
        return Err("must consist of letters, digits and -._~ between single slashes".into());
    }
    match path.split('/').next() {
        Some(first) if OWN_ROUTES.contains(&first) => Err(format!("/{first} is a route of the service itself")),
        _ => Ok(()),
    }
}

fn is_content_type(text: &str) -> bool {
    let essence = text.split(';').next().unwrap_or_default().trim();
    let token = |part: &str| !part.is_empty() && HeaderName::from_bytes(part.as_bytes()).is_ok();
    let shaped = essence.split_once('/').is_some_and(|(kind, of)| token(kind) && token(of));
    shaped && HeaderValue::from_str(text).is_ok()
}
