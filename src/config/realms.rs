//! Realms beside the default one, `[realms.NAME]`: what marks their requests, and their identity servers.
//!
//! Set in the file alone: a realm is a table, and a variable's name has one case of letters and no dash.

use secrecy::ExposeSecret as _;
use serde::{Deserialize, Serialize};

use super::{Config, rules};
use crate::{
    auth::identity,
    domain::{
        keys,
        realms::{LOCAL_REALM, Realm, Realms, hosts_meet, is_at_or_below},
    },
    http::cors,
};

/// Longest name of a realm, and longest beginning of a key.
const MAX_BYTES: usize = 64;

/// Section `realms.NAME` of the configuration.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct RealmSettings {
    /// Hosts at which it is reached, and nobody else is.
    pub hosts: Vec<String>,
    /// Beginnings of paths below which it is reached, and nobody else is.
    pub path_prefixes: Vec<String>,
    /// Beginnings of its users' keys.
    pub key_prefixes: Vec<String>,
    /// Origins of the pages that may use the service at its hosts and paths; absent: those of `cors`.
    pub allowed_origins: Option<Vec<String>>,
    /// Its identity server. The realm's name is that of its table, never `realm` here.
    pub identity: identity::Settings,
}

impl Config {
    /// By what requests find their realm.
    pub fn rule(&self) -> Realms {
        let further = self.realms.iter().map(|(name, realm)| Realm {
            name: name.clone(),
            hosts: realm.hosts.clone(),
            path_prefixes: realm.path_prefixes.clone(),
            key_prefixes: realm.key_prefixes.clone(),
        });
        Realms::new(&self.identity.realm, further)
    }

    /// Origins whose pages may use the service at whichever entrance.
    pub fn every_origin(&self) -> impl Iterator<Item = &String> {
        let own = self.realms.values().filter_map(|realm| realm.allowed_origins.as_ref());
        self.cors.allowed_origins.iter().chain(own.flatten())
    }

    /// The identity servers in the places of their realms.
    pub fn identities(&self) -> Vec<identity::Settings> {
        let named = |(name, realm): (&String, &RealmSettings)| identity::Settings {
            realm: name.clone(),
            ..realm.identity.clone()
        };
        [self.identity.clone()].into_iter().chain(self.realms.iter().map(named)).collect()
    }
}

/// A sentence about `identity.KEY`, about the identity server of that realm.
pub fn of_realm(config: &Config, realm: &str, reason: String) -> String {
    match reason.strip_prefix("identity.").filter(|_| config.realms.contains_key(realm)) {
        Some(rest) => format!("realms.{realm}.identity.{rest}"),
        None => reason,
    }
}

/// What is wrong: keys and reasons.
pub(super) type Findings = Vec<(String, String)>;

/// Judges the realms, each by itself and beside the others.
pub(super) fn check(config: &Config) -> Findings {
    let mut found = Findings::new();
    let mut before: Vec<(&str, &RealmSettings)> = Vec::new();
    for (name, realm) in &config.realms {
        let mut add = |key: &str, reason: String| found.push((format!("realms.{name}{key}"), reason));
        named(name, config, &mut add);
        marks(realm, config, &mut add);
        origins(realm, config, &mut add);
        for (key, reason) in rules::of_identity(&realm.identity) {
            add(&format!(".{key}"), reason);
        }
        own_events_token("identity", &realm.identity, &config.identity, &mut add);
        for (other, settings) in &before {
            beside(realm, other, settings, &mut add);
            own_events_token(&format!("realms.{other}.identity"), &realm.identity, &settings.identity, &mut add);
        }
        before.push((name, realm));
    }
    found
}

fn named(name: &str, config: &Config, add: &mut impl FnMut(&str, String)) {
    let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    if !plain || !(1..=MAX_BYTES).contains(&name.len()) {
        add("", format!("the name of a realm consists of 1 to {MAX_BYTES} letters, digits and dashes"));
    }
    if name.eq_ignore_ascii_case(LOCAL_REALM) {
        add("", format!("must not be {LOCAL_REALM}, under which the service files users of its own"));
    }
    if name.eq_ignore_ascii_case(&config.identity.realm) {
        add("", "is the name of the default realm, see identity.realm".into());
    }
    if config.realms.keys().any(|other| other.as_str() < name && other.eq_ignore_ascii_case(name)) {
        add("", "another realm's name differs by the case of its letters alone".into());
    }
}

/// What marks its requests, apart from other realms.
fn marks(realm: &RealmSettings, config: &Config, add: &mut impl FnMut(&str, String)) {
    if [&realm.hosts, &realm.path_prefixes, &realm.key_prefixes].iter().all(|marks| marks.is_empty()) {
        add("", "needs hosts, path_prefixes or key_prefixes: no request would find it".into());
    }
    let common = config.server.public_url.as_deref().and_then(|url| url.split_once("://"));
    for host in &realm.hosts {
        if let Err(reason) = check_host(host) {
            add(".hosts", format!("`{host}` {reason}"));
        } else if common.is_some_and(|(_, common)| hosts_meet(host, common)) {
            add(".hosts", format!("`{host}` is the host of server.public_url, where the other realms come in"));
        }
    }
    for (at, prefix) in realm.path_prefixes.iter().enumerate() {
        if let Err(reason) = rules::prefix(prefix).and_then(|()| beside_doors(prefix, config)) {
            add(".path_prefixes", format!("`{prefix}` {reason}"));
        }
        if realm.path_prefixes[..at].iter().any(|other| nest(prefix, other)) {
            add(".path_prefixes", format!("`{prefix}` is above, at or below another of them"));
        }
    }
    for prefix in &realm.key_prefixes {
        if let Err(reason) = check_key_prefix(prefix) {
            add(".key_prefixes", format!("`{prefix}` {reason}"));
        }
    }
}

fn origins(realm: &RealmSettings, config: &Config, add: &mut impl FnMut(&str, String)) {
    let Some(own) = &realm.allowed_origins else { return };
    if realm.hosts.is_empty() && realm.path_prefixes.is_empty() {
        add(".allowed_origins", "needs hosts or path_prefixes: a preflight shows no key, so cors decides".into());
    }
    let cors = cors::Settings { allowed_origins: own.clone(), ..config.cors.clone() };
    for (_, reason) in cors.check().into_iter().filter(|(key, _)| *key == "cors.allowed_origins") {
        add(".allowed_origins", reason);
    }
}

/// What two realms must not share.
fn beside(realm: &RealmSettings, name: &str, other: &RealmSettings, add: &mut impl FnMut(&str, String)) {
    let mut shared = |key: &str, own: &[String], others: &[String], meet: fn(&str, &str) -> bool| {
        for mark in own.iter().filter(|own| others.iter().any(|other| meet(own, other))) {
            add(key, format!("`{mark}` overlaps with one of realms.{name}{key}"));
        }
    };
    shared(".hosts", &realm.hosts, &other.hosts, hosts_meet);
    shared(".path_prefixes", &realm.path_prefixes, &other.path_prefixes, nest);
    shared(".key_prefixes", &realm.key_prefixes, &other.key_prefixes, overlap);
}

/// A token tells one identity server from every other, and from whoever is asked.
fn own_events_token(
    of_other: &str,
    own: &identity::Settings,
    other: &identity::Settings,
    add: &mut impl FnMut(&str, String),
) {
    let [own, others, own_service, others_service] =
        [&own.events_token, &other.events_token, &own.token, &other.token].map(|secret| secret.expose_secret());
    if !own.is_empty() && own == others {
        add(".identity.events_token", format!("must be another secret than {of_other}.events_token"));
    }
    if !own.is_empty() && own == others_service {
        add(".identity.events_token", format!("must be another secret than {of_other}.token"));
    }
    if !own_service.is_empty() && own_service == others {
        add(".identity.token", format!("must be another secret than {of_other}.events_token"));
    }
}

fn check_host(host: &str) -> Result<(), String> {
    let shape = || "must be a host such as acme.example.org, with a port only where it is meant".to_owned();
    let authority: hyper::http::uri::Authority = host.parse().map_err(|_| shape())?;
    let plain = !host.contains('@') && !authority.host().is_empty() && !host.ends_with([':', '.']);
    if plain && !host.contains('*') { Ok(()) } else { Err(shape()) }
}

fn beside_doors(prefix: &str, config: &Config) -> Result<(), String> {
    let completion = format!("{}_complete", config.multipart.prefix);
    let doors = [("multipart.prefix", &config.multipart.prefix), ("multipart.prefix", &completion)];
    let others = [("raw.prefix", &config.raw.prefix), ("tus.prefix", &config.tus.prefix)];
    let taken = doors.into_iter().chain(others).find(|(_, door)| nest(prefix, door));
    taken.map_or(Ok(()), |(key, door)| Err(format!("is above, at or below {door}, see {key}")))
}

fn check_key_prefix(prefix: &str) -> Result<(), String> {
    if !(1..=MAX_BYTES).contains(&prefix.len()) || !prefix.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(format!("must be 1 to {MAX_BYTES} visible ASCII characters"));
    }
    match overlap(prefix, keys::PREFIX) {
        true => Err(format!("overlaps with {}, with which keys of local users begin", keys::PREFIX)),
        false => Ok(()),
    }
}

fn nest(one: &str, other: &str) -> bool {
    is_at_or_below(one, other) || is_at_or_below(other, one)
}

fn overlap(one: &str, other: &str) -> bool {
    one.starts_with(other) || other.starts_with(one)
}
