//! A real PostgreSQL for tests: one cluster per test process (or a running one), one fresh database per test.
//!
//! `CHUNKGATE_TEST_POSTGRES=postgres://…` names a database of a running cluster whose user may create databases; a
//! runner that gives every test its own process saves a second per test with it. Without it the cluster is started from
//! the binaries that Debian's `postgresql` installs, by a small shell script that waits for the end of its input and
//! then stops the server and removes its folder. The other end of that pipe is held by this process, so the server goes
//! however the process ends, killed included.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::OnceLock,
};

use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

/// Starts a cluster; `$0` is the folder of the binaries. Prints the cluster's folder, which is also that of its socket,
/// once the cluster answers.
const CLUSTER: &str = r#"
trap '' PIPE
trap exit INT TERM HUP
dir=$(mktemp -d /tmp/chunkgate-postgres.XXXXXX) || exit 1
trap 'kill -QUIT $server 2>/dev/null; wait; rm -rf "$dir"' EXIT
fail() { echo "PostgreSQL did not start"; cat "$dir/log"; exit 1; }
"$0/initdb" -D "$dir/data" -U postgres --auth=trust --no-sync --no-locale -E UTF8 >"$dir/log" 2>&1 || fail
"$0/postgres" -D "$dir/data" -k "$dir" -c listen_addresses= -c fsync=off -c full_page_writes=off \
    -c max_connections=300 -c shared_buffers=32MB >>"$dir/log" 2>&1 </dev/null &
server=$!
until "$0/pg_isready" -q -h "$dir"; do kill -0 $server 2>/dev/null || fail; sleep 0.05; done
echo "$dir"
cat >/dev/null
"#;

/// Runs the script `$1` as an unprivileged user: the server refuses to run as root.
const UNPRIVILEGED: &str = r#"
[ "$(id -u)" = 0 ] && exec runuser -u postgres -- sh -c "$1" "$0"
exec sh -c "$1" "$0"
"#;

/// A fresh database, as a URL. Nothing, after one clear line, where PostgreSQL is not installed.
///
/// # Panics
/// Where `CI=true` and PostgreSQL is not installed, or if the cluster cannot be used.
pub(crate) async fn database() -> Option<String> {
    let cluster = cluster()?;
    let name = format!("test_{}", uuid::Uuid::new_v4().simple());
    admin(cluster, format!("CREATE DATABASE {name}")).await;
    Some(with_database(cluster, &name))
}

/// Removes a database made by [`database`]. One that is left behind by a failed test goes with its cluster.
pub(crate) async fn remove(url: &str) {
    let cluster = cluster().expect("the database was made on one");
    let name = url.split('?').next().and_then(|url| url.rsplit('/').next()).expect("a path");
    admin(cluster, format!("DROP DATABASE {name} WITH (FORCE)")).await;
}

async fn admin(cluster: &str, statement: String) {
    let mut connection = PgConnection::connect(cluster).await.expect("the test cluster answers");
    sqlx::query(AssertSqlSafe(statement)).execute(&mut connection).await.expect("may create databases");
    connection.close().await.expect("closes");
}

/// Every row of every table, as text. Bytes are told as text where they are some.
pub(crate) async fn dump(url: &str) -> Vec<u8> {
    const TABLES: &str = "SELECT quote_ident(tablename) FROM pg_tables WHERE schemaname = 'public'";
    let mut connection = PgConnection::connect(url).await.expect("the database answers");
    sqlx::query("SET bytea_output = 'escape'").execute(&mut connection).await.expect("a setting");
    let tables: Vec<String> = sqlx::query_scalar(TABLES).fetch_all(&mut connection).await.expect("tables");
    let mut dump = Vec::new();
    for table in tables {
        let rows = AssertSqlSafe(format!("SELECT t::text FROM {table} t"));
        let rows: Vec<String> = sqlx::query_scalar(rows).fetch_all(&mut connection).await.expect("rows");
        dump.extend(rows.join("\n").into_bytes());
    }
    connection.close().await.expect("closes");
    dump
}

/// The same URL with another database.
fn with_database(url: &str, name: &str) -> String {
    let (base, query) = url.split_once('?').map_or((url, String::new()), |(base, query)| (base, format!("?{query}")));
    let (server, _) = base.rsplit_once('/').expect("a URL with a database");
    format!("{server}/{name}{query}")
}

/// URL of a database to administrate the cluster from.
fn cluster() -> Option<&'static str> {
    static URL: OnceLock<Option<String>> = OnceLock::new();
    URL.get_or_init(|| std::env::var("CHUNKGATE_TEST_POSTGRES").ok().or_else(start)).as_deref()
}

fn start() -> Option<String> {
    // Never taken down here: its input closes when the process ends.
    static WATCH: OnceLock<Child> = OnceLock::new();
    let Some(binaries) = newest_binaries() else {
        // Not `eprintln!`, which the test harness keeps to itself.
        let reason = "no PostgreSQL under /usr/lib/postgresql (Debian's package `postgresql`)";
        let _ = writeln!(std::io::stderr(), "SKIPPED postgres: {reason}");
        assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "PostgreSQL must be tested where CI=true");
        return None;
    };
    let mut watch = watch(&binaries).spawn().expect("a shell to start PostgreSQL with");
    let mut output = BufReader::new(watch.stdout.take().expect("piped"));
    let mut folder = String::new();
    output.read_line(&mut folder).expect("output of the script");
    if !folder.starts_with('/') {
        let _ = output.read_to_string(&mut folder);
        panic!("{folder}");
    }
    WATCH.set(watch).expect("started once");
    Some(format!("postgres://postgres:S3CR3T@localhost/postgres?host={}", folder.trim().replace('/', "%2F")))
}

/// The script in a process group of its own, so that what ends the test's group leaves it to clean up.
fn watch(binaries: &Path) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", UNPRIVILEGED]).arg(binaries).arg(CLUSTER).current_dir("/").process_group(0);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    command
}

/// The folder of binaries with the highest version.
fn newest_binaries() -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").ok()?.flatten();
    let versions = versions.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let folder = |version| PathBuf::from(format!("/usr/lib/postgresql/{version}/bin"));
    versions.filter(|version| folder(*version).join("initdb").exists()).max().map(folder)
}
