//! The configuration: layers, places of problems, secrets, and the example that cannot drift.

use std::fs;

use chunkgate::{
    auth::Judge,
    config::{Config, ConfigError, EXAMPLE, FlagValue, Loaded, Origin, Sources, load},
};
use secrecy::ExposeSecret as _;
use tempfile::TempDir;

/// A file, variables and nothing of the real environment.
fn with(file: &str, variables: &[(&str, &str)]) -> Result<Loaded, ConfigError> {
    let folder = TempDir::new().expect("a folder");
    let path = folder.path().join("c.toml");
    fs::write(&path, file).expect("a file");
    load(&Sources { file: Some(path), environment: environment(variables), ..Sources::default() })
}

fn environment(variables: &[(&str, &str)]) -> Vec<(String, String)> {
    variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// The problems as `line:column key: reason`, or as `VARIABLE key: reason`.
fn problems(of: Result<Loaded, ConfigError>) -> Vec<String> {
    let error = of.expect_err("is not valid");
    let place = |origin: &Origin| match origin {
        Origin::File { line, column, .. } => format!("{line}:{column}"),
        other => other.to_string(),
    };
    error.problems.iter().map(|found| format!("{} {}: {}", place(&found.origin), found.key, found.reason)).collect()
}

fn tree(config: &Config) -> serde_json::Value {
    serde_json::to_value(config).expect("settings serialize")
}

fn keys(path: &str, value: &serde_json::Value, found: &mut Vec<(String, bool)>) {
    match value {
        serde_json::Value::Object(table) => {
            let join = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
            table.iter().for_each(|(name, value)| keys(&join(name), value, found));
        }
        leaf => found.push((path.to_owned(), !leaf.is_null())),
    }
}

/// The example: what has defaults, and the realm that is commented out.
fn example() -> (&'static str, &'static str) {
    EXAMPLE.split_once("# ---- Further").expect("a part about realms")
}

/// Every key that a part of the example names, and whether its line is commented out.
fn named_in(example: &str) -> Vec<(String, bool)> {
    let mut section = String::new();
    let mut named = Vec::new();
    for line in example.lines() {
        let (line, live) = line.strip_prefix("# ").map_or((line, true), |line| (line, false));
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            section = name.to_owned();
        } else if let Some((key, _)) = line.split_once(" = ").filter(|(key, _)| !key.contains([' ', ':'])) {
            named.push((format!("{section}.{key}"), live));
        }
    }
    named
}

#[test]
fn the_example_is_the_defaults_and_names_every_key() {
    let example = with(EXAMPLE, &[]).expect("the example is valid");
    assert_eq!(tree(&example.config), tree(&Config::default()));
    let mut every = Vec::new();
    keys("", &tree(&Config::default()), &mut every);
    let mut named = named_in(self::example().0);
    every.sort();
    named.sort();
    assert_eq!(named, every, "left: assets/chunkgate.example.toml, right: Config");
    let uncommented: String = self::example()
        .0
        .lines()
        .map(|line| {
            line.strip_prefix("# ").filter(|line| line.contains(" = \"") && !line.contains(": ")).unwrap_or(line)
        })
        .map(|line| format!("{line}\n"))
        .collect();
    let all = with(&uncommented, &[]).expect("what is commented out is valid too");
    assert!(all.config.server.public_url.is_some() && all.config.uploads.retain_completed.is_some());
}

#[test]
fn the_example_has_a_realm_to_uncomment() {
    let text: String = example()
        .1
        .lines()
        .filter_map(|line| line.strip_prefix("# "))
        .filter(|line| line.starts_with('[') || line.split_once(" = ").is_some_and(|(key, _)| !key.contains(' ')))
        .map(|line| format!("{line}\n"))
        .collect();
    let loaded = with(&text, &[]).expect("valid");
    let mut every = Vec::new();
    keys("", &tree(&loaded.config)["realms"]["acme"], &mut every);
    let mut named: Vec<String> = named_in(&text).into_iter().map(|(key, _)| key).collect();
    let mut every: Vec<String> = every.into_iter().map(|(key, _)| format!("realms.acme.{key}")).collect();
    every.retain(|key| key != "realms.acme.identity.realm");
    every.sort();
    named.sort();
    assert_eq!(named, every);
    let shown = loaded.show();
    assert!(shown.contains("[realms.acme]\n") && shown.contains("hosts = [\"acme.example.org\"]  # "), "{shown}");
    assert!(with(&shown, &[]).is_ok(), "what is shown can be read again: {shown}");
}

/// A realm with nothing wrong in it, and further lines: of its table, and of that of its identity server.
fn realm(table: &str, identity: &str) -> Result<Loaded, ConfigError> {
    with(&format!("[realms.acme]\n{table}\n[realms.acme.identity]\n{identity}\n"), &[])
}

#[test]
fn each_wrong_value_of_a_realm_is_told() {
    const HOSTS: &str = "hosts = ['a.example']";
    realm(HOSTS, "token = 't'\nevents_token = 'a-token-of-sixteen'").expect("valid");
    for (table, identity, told) in [
        ("", "token = 't'", "4:1 realms.acme: needs hosts, path_prefixes or key_prefixes"),
        ("hosts = []", "", "2:1 realms.acme: needs hosts"),
        ("hosts = ['https://a.example']", "", "2:1 realms.acme.hosts: `https://a.example` must be a host"),
        ("hosts = ['*.a.example']", "", "2:1 realms.acme.hosts: `*.a.example` must be a host"),
        ("hosts = ['']", "", "2:1 realms.acme.hosts: `` must be a host"),
        ("hosts = 'a.example'", "", "2:1 realms.acme.hosts: invalid type"),
        ("host = ['a.example']", "", "2:1 realms.acme.host: unknown key; did you mean realms.acme.hosts?"),
        ("path_prefixes = ['acme']", "", "2:1 realms.acme.path_prefixes: `acme` must begin with /"),
        ("path_prefixes = ['/api/x']", "", "2:1 realms.acme.path_prefixes: `/api/x` /api is a route"),
        (
            "path_prefixes = ['/chunked_upload']",
            "",
            "2:1 realms.acme.path_prefixes: `/chunked_upload` is above, at or below",
        ),
        ("path_prefixes = ['/chunked_upload_complete/x']", "", "2:1 realms.acme.path_prefixes"),
        ("path_prefixes = ['/chunked_uploads/x']", "", "2:1 realms.acme.path_prefixes"),
        ("path_prefixes = ['/files']", "", "2:1 realms.acme.path_prefixes"),
        ("path_prefixes = ['/a', '/a/b']", "", "2:1 realms.acme.path_prefixes: `/a/b` is above, at or below another"),
        ("key_prefixes = ['']", "", "2:1 realms.acme.key_prefixes: `` must be 1 to 64 visible"),
        ("key_prefixes = ['cg_1']", "", "2:1 realms.acme.key_prefixes: `cg_1` overlaps with cg_"),
        ("key_prefixes = ['c']", "", "2:1 realms.acme.key_prefixes: `c` overlaps with cg_"),
        (
            "key_prefixes = ['k']\nallowed_origins = []",
            "",
            "3:1 realms.acme.allowed_origins: needs hosts or path_prefixes",
        ),
        ("hosts = ['a']\nallowed_origins = ['x']", "", "3:1 realms.acme.allowed_origins: `x` must be scheme://host"),
        ("hosts = ['a']\nallowed_origins = ['*']", "", "3:1 realms.acme.allowed_origins: `*` needs"),
        (HOSTS, "realm = 'acme'", "4:1 realms.acme.identity.realm: is the name of the realm's table already"),
        (
            HOSTS,
            "ulr = 'http://x'",
            "4:1 realms.acme.identity.ulr: unknown key; did you mean realms.acme.identity.url?",
        ),
        (HOSTS, "url = 'x'", "4:1 realms.acme.identity.url: must be an absolute URL"),
        (
            HOSTS,
            "token = 't'\ntoken_file = '/t'",
            "5:1 realms.acme.identity.token_file: realms.acme.identity.token and",
        ),
        (HOSTS, "token_file = '/nowhere/t'", "4:1 realms.acme.identity.token_file: /nowhere/t cannot be read"),
        (HOSTS, "events_token = 'short'", "4:1 realms.acme.identity.events_token: must be at least 16"),
        (HOSTS, "try_timeout = '1h'", "4:1 realms.acme.identity.try_timeout: must lie between"),
        (HOSTS, "audience = 'a b'", "4:1 realms.acme.identity.audience: must consist of"),
    ] {
        let found = problems(realm(table, identity));
        assert!(found[0].starts_with(told), "{found:?} is not {told}");
    }
}

#[test]
fn realms_are_kept_apart_by_the_configuration() {
    let realm = |name: &str, lines: &str| format!("[realms.{name}]\n{lines}\n");
    let secret = |name: &str, token: &str, events: &str| {
        format!(
            "[realms.{name}]\nhosts = ['{name}']\n[realms.{name}.identity]\ntoken = '{token}'\nevents_token = '{events}'\n"
        )
    };
    const ONE: &str = "a-token-of-sixteen";
    const OTHER: &str = "another-of-sixteen";
    for (file, told) in [
        (realm("local", "hosts = ['a']"), "realms.local: must not be local"),
        (realm("default", "hosts = ['a']"), "realms.default: is the name of the default realm"),
        (realm("a_b", "hosts = ['a']"), "realms.a_b: the name of a realm consists of"),
        (realm("a", ""), "realms.a: is a section: its keys are written as realms.a.KEY"),
        (
            "[server]\npublic_url = 'https://a.example'\n".to_owned() + &realm("a", "hosts = ['A.example:443']"),
            "realms.a.hosts: `A.example:443` is the host of server.public_url",
        ),
        (
            realm("a", "hosts = ['x']") + &realm("b", "hosts = ['X:80']"),
            "realms.b.hosts: `X:80` overlaps with one of realms.a.hosts",
        ),
        (realm("a", "hosts = ['x']") + &realm("A", "hosts = ['y']"), "realms.a: another realm's name differs"),
        (
            realm("a", "path_prefixes = ['/x']") + &realm("b", "path_prefixes = ['/x/y']"),
            "realms.b.path_prefixes: `/x/y` overlaps",
        ),
        (
            realm("a", "key_prefixes = ['x_y']") + &realm("b", "key_prefixes = ['x_']"),
            "realms.b.key_prefixes: `x_` overlaps",
        ),
        (
            secret("a", "t", ONE) + &secret("b", "u", ONE),
            "realms.b.identity.events_token: must be another secret than realms.a.identity.events_token",
        ),
        (
            secret("a", ONE, OTHER) + &secret("b", "u", ONE),
            "realms.b.identity.events_token: must be another secret than realms.a.identity.token",
        ),
        (
            secret("a", "t", ONE) + &secret("b", ONE, OTHER),
            "realms.b.identity.token: must be another secret than realms.a.identity.events_token",
        ),
        (
            format!("[identity]\nevents_token = '{ONE}'\n") + &secret("b", "u", ONE),
            "realms.b.identity.events_token: must be another secret than identity.events_token",
        ),
    ] {
        let found = problems(with(&file, &[]));
        let (place, found_told) = found[0].split_once(' ').expect("a place");
        assert!(place.contains(':') && found_told.starts_with(told), "{found:?} is not {told}");
    }
    with(&(realm("a", "path_prefixes = ['/x']") + &realm("b", "path_prefixes = ['/xy']")), &[])
        .expect("another segment");
    let found = problems(with("", &[("CHUNKGATE_REALMS__ACME__HOSTS", "['a']")]));
    assert_eq!(found, ["CHUNKGATE_REALMS__ACME__HOSTS : realms are set in the file alone: remove this variable"]);
}

#[test]
fn the_secrets_of_a_realm_are_hidden() {
    let folder = TempDir::new().expect("a folder");
    let path = folder.path().join("token");
    fs::write(&path, "t0ken-of-acme\n").expect("a file");
    let file = format!("token_file = '{}'\nevents_token = 'ev3nts-of-acme-are'", path.display());
    let loaded = realm("hosts = ['a']", &file).expect("valid");
    let identity = &loaded.config.identities()[1];
    assert_eq!((identity.realm.as_str(), identity.token.expose_secret()), ("acme", "t0ken-of-acme"));
    for shown in [loaded.show(), format!("{loaded:?}")] {
        assert!(!shown.contains("t0ken") && !shown.contains("ev3nts"), "{shown}");
    }
}

#[test]
fn nothing_given_is_the_defaults() {
    let loaded = load(&Sources::default()).expect("defaults are valid");
    assert_eq!(tree(&loaded.config), tree(&Config::default()));
    assert_eq!(loaded.origin("server.listen"), Origin::Builtin);
}

#[test]
fn later_layers_win_key_by_key() {
    let folder = TempDir::new().expect("a folder");
    let path = folder.path().join("c.toml");
    fs::write(&path, "[server]\nlisten = '127.0.0.1:1'\nmax_head = '16KiB'\n[log]\nlevel = 'warn'\n").expect("a file");
    let loaded = load(&Sources {
        defaults: vec![("log.level".into(), "debug".into()), ("auth.query_credentials".into(), "true".into())],
        file: Some(path),
        environment: environment(&[("CHUNKGATE_SERVER__LISTEN", "127.0.0.1:2"), ("CHUNKGATE_LOG__FORMAT", "json")]),
        flags: vec![FlagValue { flag: "--listen", key: "server.listen".into(), value: "127.0.0.1:3".into() }],
    })
    .expect("valid");
    let config = &loaded.config;
    assert_eq!(config.server.listen.port(), 3);
    assert_eq!(config.server.max_head.as_u64(), 16 * 1024);
    assert_eq!(config.log.level, "warn");
    assert!(config.auth.query_credentials);
    assert_eq!(loaded.origin("server.listen"), Origin::Flag("--listen"));
    assert_eq!(loaded.origin("log.format"), Origin::Variable("CHUNKGATE_LOG__FORMAT".into()));
    let shown = loaded.show();
    assert!(shown.contains("listen = \"127.0.0.1:3\"  # --listen\n"), "{shown}");
    assert!(shown.contains("c.toml:3:1\n"), "{shown}");
    shown.parse::<toml::Table>().expect("what is shown is TOML");
}

#[test]
fn a_variable_is_read_as_the_type_wanted() {
    let loaded = with(
        "",
        &[
            ("CHUNKGATE_IDENTITY__REALM", "20"),
            ("CHUNKGATE_DATABASE__MAX_CONNECTIONS", "20"),
            ("CHUNKGATE_AUTH__ANONYMOUS", "true"),
            ("CHUNKGATE_AUTH__METHODS", "[\"signature\"]"),
            ("CHUNKGATE_UPLOADS__MAX_BYTES", "1024"),
            ("CHUNKGATE_STORAGE__LOCAL__PATH", "true"),
            ("CHUNKGATE_LOG__LEVEL", ""),
            ("CHUNKGATE_PORT_8080_TCP", "tcp://10.0.0.1:8080"),
            ("CHUNKGATE_SECRET", "demo-secret"),
            ("OTHER__THING", "1"),
        ],
    )
    .expect("valid");
    let config = loaded.config;
    assert_eq!((config.identity.realm.as_str(), config.database.max_connections), ("20", 20));
    assert!(config.auth.anonymous);
    assert_eq!(config.uploads.max_bytes.map(|limit| limit.as_u64()), Some(1024));
    assert_eq!(config.storage.local.path.to_str(), Some("true"));
    assert_eq!(config.log.level, "info");
}

#[test]
fn the_environment_can_name_the_file() {
    let folder = TempDir::new().expect("a folder");
    let path = folder.path().join("c.toml");
    fs::write(&path, "[log]\nlevel = 'warn'\n").expect("a file");
    let named = environment(&[("CHUNKGATE_CONFIG", path.to_str().expect("text"))]);
    let loaded = load(&Sources { environment: named, ..Sources::default() }).expect("valid");
    assert_eq!(loaded.config.log.level, "warn");
    let missing = environment(&[("CHUNKGATE_CONFIG", "/nowhere/c.toml")]);
    let error = load(&Sources { environment: missing, ..Sources::default() }).expect_err("is not there");
    assert!(error.to_string().contains("/nowhere/c.toml:1:1: cannot be read"), "{error}");
}

#[test]
fn all_problems_are_told_with_their_places() {
    let found = problems(with(
        "[server]\nlistn = '127.0.0.1:1'\nidle_timeout = 30\nmax_head = '1KiB'\n\n[webhooks]\nurl = 'https://x'\n\
         \n[uplods]\nexpires_after = '1h'\n\n[auth]\nmethods = ['signature', 'upload_token']\n\n[storage]\nkind = 's3'\n",
        &[
            ("CHUNKGATE_SERVER__PUBLIC_ULR", "https://x"),
            ("CHUNKGATE_SERVER_LISTEN", "127.0.0.1:1"),
            ("CHUNKGATE_DATABASE__MAX_CONNECTIONS", "many"),
        ],
    ));
    let expected = [
        "2:1 server.listn: unknown key; did you mean server.listen?",
        "3:1 server.idle_timeout: invalid type: integer `30`, expected a string",
        "6:2 webhooks: is not available in this version",
        "9:2 uplods: unknown key; did you mean uploads?",
        "13:1 auth.methods: `upload_token` is not available in this version",
        "16:1 storage.kind: `s3` is not available in this version",
        "CHUNKGATE_SERVER_LISTEN : sections end with two underscores: CHUNKGATE_SERVER__LISTEN",
        "CHUNKGATE_DATABASE__MAX_CONNECTIONS database.max_connections: invalid type: string \"many\", expected u32",
        "CHUNKGATE_SERVER__PUBLIC_ULR server.public_ulr: unknown key; did you mean CHUNKGATE_SERVER__PUBLIC_URL?",
        "4:1 server.max_head: must lie between 8KiB and 1MiB",
    ];
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    for (found, expected) in found.iter().zip(expected) {
        assert!(found.starts_with(expected), "{found} is not {expected}");
    }
}

#[test]
fn what_is_no_toml_says_where() {
    let found = problems(with("[server]\nlisten = \n", &[]));
    assert!(found[0].starts_with("2:"), "{found:?}");
}

#[test]
fn each_wrong_value_is_told() {
    for (key, value) in [
        ("server.public_url", "'upload.example.org'"),
        ("server.public_url", "'ftp://upload.example.org'"),
        ("server.public_url", "'https://upload.example.org/path'"),
        ("server.public_url", "'https://upload.example.org/'"),
        ("server.public_url", "'https://a:b@upload.example.org'"),
        ("server.trusted_proxies", "['10.0.0.1/8']"),
        ("server.trusted_proxies", "['0.0.0.0/0']"),
        ("server.trusted_proxies", "['localhost']"),
        ("server.trusted_proxies", "'10.0.0.0/8'"),
        ("server.listen", "'8080'"),
        ("server.idle_timeout", "'0s'"),
        ("server.idle_timeout", "'soon'"),
        ("server.min_rate", "'fast'"),
        ("database.url", "'mysql://x'"),
        ("database.url", "5"),
        ("database.max_connections", "0"),
        ("storage.local.completed_path", "'files/%Y'"),
        ("storage.local.completed_path", "'../{upload_id}'"),
        ("storage.local.completed_path", "'a/../../{upload_id}'"),
        ("storage.local.completed_path", "'/srv/{upload_id}'"),
        ("storage.local.completed_path", "'a//{upload_id}'"),
        ("storage.local.completed_path", "'{filename}/{upload_id}'"),
        ("storage.local.completed_path", "'%c/{upload_id}'"),
        ("storage.local.completed_path", "'{upload_id}/%'"),
        ("storage.local.completed_path", "'partial/{upload_id}.part'"),
        ("storage.local.partial_path", "'partial'"),
        ("storage.local.path", "''"),
        ("storage.kind", "'tape'"),
        ("uploads.max_bytes", "0"),
        ("uploads.max_bytes", "'8EiB'"),
        ("uploads.expires_after", "'0s'"),
        ("uploads.retain_completed", "'0s'"),
        ("uploads.expires_from", "'now'"),
        ("auth.methods", "[]"),
        ("auth.methods", "['signature', 'signature']"),
        ("auth.pepper", "'too short'"),
        ("auth.signature.window", "'0s'"),
        ("identity.url", "'127.0.0.1:8081'"),
        ("identity.url", "'http://x/?a=b'"),
        ("identity.token", "'a b'"),
        ("identity.realm", "'a\"b'"),
        ("identity.realm", "'local'"),
        ("identity.try_timeout", "'1h'"),
        ("multipart.prefix", "'chunked_upload'"),
        ("multipart.prefix", "'/chunked_upload/'"),
        ("multipart.prefix", "'/'"),
        ("multipart.prefix", "'/a//b'"),
        ("multipart.prefix", "'/{id}'"),
        ("multipart.prefix", "'/api'"),
        ("multipart.prefix", "'/api/v1/uploads'"),
        ("multipart.prefix", "'/healthz'"),
        ("raw.prefix", "'chunked_uploads'"),
        ("raw.prefix", "'/api'"),
        ("multipart.prefix", "'/chunked_uploads/upload'"),
        ("multipart.field_name", "''"),
        ("multipart.field_name", "'upload_id'"),
        ("multipart.content_range_header", "'Content Range'"),
        ("multipart.content_range_header", "'Content-Length'"),
        ("multipart.content_type", "'json'"),
        ("cors.allowed_origins", "['*']"),
        ("cors.allowed_origins", "'https://example.org/'"),
        ("cors.allowed_methods", "['get']"),
        ("cors.expose_headers", "'*'"),
        ("cors.allow_credentials", "'perhaps'"),
        ("cors.max_age", "'2days'"),
        ("log.level", "'inof'"),
        ("log.format", "'xml'"),
        ("tus.prefix", "'/chunked_uploads/x'"),
        ("server.tls", "true"),
    ] {
        let (section, name) = key.rsplit_once('.').expect("section and key");
        let found = problems(with(&format!("[{section}]\n{name} = {value}\n"), &[]));
        let placed = ["2:1 ", "1:2 "].iter().any(|place| found[0].starts_with(place));
        assert!(found.len() == 1 && placed, "{key} {value}: {found:?}");
        // An empty variable is absent, and a number is a fine string.
        let text = value.trim_matches('\'');
        if !matches!(text, "" | "5") {
            let found = problems(with("", &[(&variable(key), text)]));
            assert!(found.len() == 1 && found[0].starts_with("CHUNKGATE_"), "{key} {value}: {found:?}");
        }
    }
}

fn variable(key: &str) -> String {
    format!("CHUNKGATE_{}", key.replace('.', "__").to_uppercase())
}

#[test]
fn api_keys_need_a_pepper() {
    let found = problems(with("[auth]\nmethods = ['api_key', 'basic']\n", &[]));
    assert_eq!(found, ["default auth.pepper: must be a secret of at least 16 bytes, for API keys"]);
    let loaded = with("[auth]\nmethods = ['api_key']\npepper = 'a pepper of twenty'\n", &[]).expect("valid");
    assert!(!loaded.show().contains("twenty") && !format!("{loaded:?}").contains("twenty"));
    with("[auth]\nmethods = ['basic']\n", &[]).expect("passwords need none");
}

#[test]
fn keys_and_passwords_may_be_judged_elsewhere() {
    let elsewhere = "[auth]\nmethods = ['api_key', 'basic']\napi_key = 'identity'\nbasic = 'identity'\n";
    let auth = with(elsewhere, &[]).expect("no pepper is needed").config.auth;
    assert_eq!((auth.api_key, auth.basic), (Judge::Identity, Judge::Identity));
    let found = problems(with(&elsewhere.replace("api_key = 'identity'", "api_key = 'local'"), &[]));
    assert_eq!(found, ["default auth.pepper: must be a secret of at least 16 bytes, for API keys"]);
    assert!(problems(with("[auth]\nbasic = 'somebody'\n", &[]))[0].contains("auth.basic"));
    let found = problems(with(&format!("{elsewhere}[identity]\nurl = ''\n"), &[]));
    assert!(found[0].contains("identity.url"), "{found:?}");
}

#[test]
fn secrets_come_from_files_and_are_never_shown() {
    let folder = TempDir::new().expect("a folder");
    let secret = folder.path().join("token");
    fs::write(&secret, "s3cr3t-token\n").expect("a file");
    let path = secret.to_str().expect("text");
    let file = format!("[identity]\ntoken_file = '{path}'\n[database]\nurl = 'postgres://u:hunter2@h/d'\n");
    let loaded = with(&file, &[]).expect("valid");
    assert_eq!(loaded.config.identity.token.expose_secret(), "s3cr3t-token");
    for text in [format!("{loaded:?}"), loaded.show()] {
        assert!(!text.contains("s3cr3t") && !text.contains("hunter2"), "{text}");
    }

    let found = problems(with(&format!("[identity]\ntoken = 'a'\ntoken_file = '{path}'\n"), &[]));
    assert_eq!(
        found,
        ["3:1 identity.token_file: identity.token and identity.token_file are both given: keep one of them"]
    );
    let later = with("[identity]\ntoken = 'a'\n", &[("CHUNKGATE_IDENTITY__TOKEN_FILE", path)]).expect("later wins");
    assert_eq!(later.config.identity.token.expose_secret(), "s3cr3t-token");

    let found = problems(with("[identity]\ntoken_file = '/nowhere'\n", &[]));
    assert!(found[0].contains("/nowhere cannot be read"), "{found:?}");
    let found = problems(with("[identity]\ntoken = 12345\n", &[]));
    assert_eq!(found, ["2:1 identity.token: must be a string"]);
}
