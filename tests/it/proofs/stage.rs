//! Real processes: an identity server and the service, on ports of their own, with all data in one folder.

use std::{
    fs::{File, OpenOptions},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use super::{
    client::{Client, Key},
    until,
};
use crate::support::{
    postgres,
    watch::{TAG, Watch, watch},
};

/// How long a process may take to answer after its start.
const START: Duration = Duration::from_secs(20);

/// The binary that is proved.
pub(super) fn binary() -> PathBuf {
    std::env::var_os("CHUNKGATE_TEST_BINARY").map_or_else(|| env!("CARGO_BIN_EXE_chunkgate").into(), PathBuf::from)
}

/// The two processes and everything they keep.
pub(super) struct Stage {
    pub(super) key: Key,
    /// What the service presents to the identity server; differs from what that expects if a test says so.
    pub(super) token: String,
    pub(super) identity: Process,
    pub(super) service: Process,
    /// Runs the service below another command, as `sh -c …` does.
    pub(super) below: Vec<String>,
    folder: tempfile::TempDir,
    settings: Vec<(String, String)>,
    ports: (u16, u16),
    expected_token: String,
    database: Option<String>,
    _turn: File,
}

impl Stage {
    /// Both processes, ready; `settings` as in the environment, without `CHUNKGATE_`.
    pub(super) async fn open(settings: &[(&str, &str)]) -> Self {
        let mut stage = Self::set_up(settings).await;
        stage.start_identity().await;
        stage.start().await;
        stage
    }

    /// Nothing runs yet. Waits for other proofs to end: figures of one would be spoilt by another.
    pub(super) async fn set_up(settings: &[(&str, &str)]) -> Self {
        let turn = Path::new(env!("CARGO_TARGET_TMPDIR")).join("proofs.lock");
        let turn = OpenOptions::new().create(true).append(true).open(turn).expect("a lock file");
        turn.lock().expect("a turn");
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
        let database = match std::env::var("CHUNKGATE_TEST_ENGINE").as_deref() {
            Ok("postgres") => Some(postgres::database().await.expect("PostgreSQL was asked for")),
            _ => None,
        };
        let token = random(&format!("token-{TAG}"));
        let stage = Self {
            key: Key { api_key: random("key"), secret: random(&format!("secret-{TAG}")) },
            token: token.clone(),
            identity: Process::none(),
            service: Process::none(),
            below: Vec::new(),
            folder,
            settings: settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
            ports: (free_port(), free_port()),
            expected_token: token,
            database,
            _turn: turn,
        };
        std::fs::write(stage.users(), stage.key.users_file()).expect("written");
        stage
    }

    /// Stops everything, and looks through what was written; removes what was made outside the folder.
    pub(super) async fn close(mut self) {
        self.service.kill();
        self.identity.kill();
        Watch::assert_kept(&self.written_down().await);
        if let Some(database) = &self.database {
            postgres::remove(database).await;
        }
    }

    /// Secrets in both error streams and in the database.
    async fn written_down(&self) -> Vec<String> {
        let logs = ["service.log", "second-service.log", "identity.log"].map(|log| self.folder.path().join(log));
        let mut found: Vec<String> = logs.iter().flat_map(|log| watch().search_file(log)).collect();
        let settings = chunkgate::db::Settings { url: self.database_url().into(), max_connections: 1 };
        found.extend(watch().search_database(&settings).await);
        found
    }

    /// Another service on the same database and the same identity server, with files of its own; and a client of it.
    pub(super) async fn second(&self) -> (Process, Client) {
        let port = free_port();
        let command = self.command(port, &self.folder.path().join("files-of-the-second"));
        let mut process = Process::spawn(command, self.folder.path().join("second-service.log"));
        let client = Client::new(format!("http://127.0.0.1:{port}"), self.key.clone());
        ready(&mut process, &client).await;
        (process, client)
    }

    /// Starts the service; answers with how long it took until it was ready.
    pub(super) async fn start(&mut self) -> Duration {
        let began = Instant::now();
        self.launch();
        let client = self.client();
        ready(&mut self.service, &client).await;
        began.elapsed()
    }

    fn launch(&mut self) {
        let command = self.command(self.ports.0, &self.storage());
        self.service = Process::spawn(command, self.folder.path().join("service.log"));
    }

    fn command(&self, port: u16, files: &Path) -> Command {
        let mut words = self.below.clone();
        words.push(binary().display().to_string());
        let mut command = clean(&words[0]);
        command.args(&words[1..]).args(["serve", "--listen", &format!("127.0.0.1:{port}")]);
        command.env("CHUNKGATE_DATABASE__URL", self.database_url());
        command.env("CHUNKGATE_STORAGE__LOCAL__PATH", files);
        command.env("CHUNKGATE_IDENTITY__URL", format!("http://127.0.0.1:{}", self.ports.1));
        command.env("CHUNKGATE_IDENTITY__TOKEN", &self.token);
        for (name, value) in &self.settings {
            command.env(format!("CHUNKGATE_{name}"), value);
        }
        command
    }

    /// Starts the identity server.
    pub(super) async fn start_identity(&mut self) {
        let listen = format!("127.0.0.1:{}", self.ports.1);
        let mut command = clean(&binary().display().to_string());
        command.args(["identity", "serve", "--listen", &listen, "--users"]).arg(self.users());
        command.env("CHUNKGATE_IDENTITY__TOKEN", &self.expected_token).stdout(Stdio::null());
        self.identity = Process::spawn(command, self.folder.path().join("identity.log"));
        let client = Client::new(format!("http://{listen}"), self.key.clone());
        until("the identity server answers", START, async || client.get("/v1/health").await.ok()).await;
    }

    /// Changes a setting for the next start.
    pub(super) fn set(&mut self, name: &str, value: &str) {
        self.settings.retain(|(known, _)| known != name);
        self.settings.push((name.to_owned(), value.to_owned()));
    }

    pub(super) fn client(&self) -> Client {
        Client::new(self.base(), self.key.clone())
    }

    pub(super) fn base(&self) -> String {
        format!("http://127.0.0.1:{}", self.ports.0)
    }

    pub(super) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Where contents live.
    pub(super) fn storage(&self) -> PathBuf {
        self.folder.path().join("files")
    }

    /// The growing files.
    pub(super) fn partial_files(&self) -> Vec<PathBuf> {
        let files = super::files_below(&self.storage().join("partial"));
        files.into_iter().filter(|path| path.extension().is_some_and(|it| it == "part")).collect()
    }

    /// The file of an upload, growing or finished.
    pub(super) fn file(&self, id: &str) -> Option<PathBuf> {
        let id: chunkgate::domain::UploadId = id.parse().expect("an id");
        let finished = super::files_below(&self.storage().join("chunked_uploads"));
        let finished = finished.into_iter().find(|path| path.ends_with(id.to_string()));
        let growing = self.storage().join(format!("partial/{id}.part"));
        finished.or_else(|| growing.exists().then_some(growing))
    }

    /// The file of the identity server's users; the one place where the secret is written.
    pub(super) fn users(&self) -> PathBuf {
        self.folder.path().join("users.toml")
    }

    fn database_url(&self) -> String {
        let file = || format!("sqlite:{}", self.folder.path().join("data/chunkgate.db").display());
        self.database.clone().unwrap_or_else(file)
    }
}

async fn ready(process: &mut Process, client: &Client) {
    until("the service is ready", START, async || {
        assert!(process.is_running(), "the service ended at its start; see {}", process.log());
        client.get("/readyz").await.ok().filter(|answer| answer.status == 200)
    })
    .await;
}

/// A process that ends with its value.
pub(super) struct Process {
    child: Option<Child>,
    log: PathBuf,
}

impl Process {
    fn none() -> Self {
        Self { child: None, log: PathBuf::new() }
    }

    /// Starts `command`; its error stream is appended to `log`.
    pub(super) fn spawn(mut command: Command, log: PathBuf) -> Self {
        let stderr = OpenOptions::new().create(true).append(true).open(&log).expect("a log");
        command.stdin(Stdio::null()).stderr(stderr);
        Self { child: Some(command.spawn().expect("starts")), log }
    }

    pub(super) fn id(&self) -> u32 {
        self.child.as_ref().expect("runs").id()
    }

    /// What the process wrote to its error stream.
    pub(super) fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    pub(super) fn is_running(&mut self) -> bool {
        self.child.as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(None)))
    }

    /// Sends it `TERM`, `STOP` or `CONT`.
    pub(super) fn signal(&self, name: &str) {
        let sent = Command::new("kill").arg(format!("-{name}")).arg(self.id().to_string()).status();
        assert!(sent.expect("kill(1)").success(), "SIG{name}");
    }

    /// Stops it, and waits until none of its threads runs any more: a signal is only on its way when `kill` returns.
    pub(super) async fn freeze(&self) {
        self.signal("STOP");
        let threads = format!("/proc/{}/task", self.id());
        let stands = |thread: std::io::Result<std::fs::DirEntry>| {
            let stat = std::fs::read_to_string(thread.expect("a thread").path().join("stat")).unwrap_or_default();
            // proc_pid_stat(5): the state follows the name, which stands in parentheses.
            stat.rsplit_once(')').is_none_or(|(_, rest)| rest.trim_start().starts_with('T'))
        };
        let stopped = async || std::fs::read_dir(&threads).expect("runs").all(stands).then_some(());
        until("every thread stands still", Duration::from_secs(10), stopped).await;
    }

    /// Ends it at once, as `kill -9` does.
    pub(super) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Waits for its end.
    pub(super) async fn ended(&mut self, within: Duration) -> ExitStatus {
        let child = self.child.as_mut().expect("runs");
        until("the process ends", within, async || child.try_wait().expect("waits")).await
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A command that inherits no settings.
pub(super) fn clean(program: &str) -> Command {
    let mut command = Command::new(program);
    command.env_clear().envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
    command
}

/// Words that occur nowhere else.
fn random(what: &str) -> String {
    format!("{what}-{}", uuid::Uuid::new_v4().simple())
}

/// A port below those that the system hands out by itself: nothing else takes it while the service is down, and no
/// client connects to itself.
pub(super) fn free_port() -> u16 {
    loop {
        let port = rand::random_range(20_000..32_000);
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}
