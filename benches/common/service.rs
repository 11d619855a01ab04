//! The service and its identity server as processes, and the signature of the one user they know.

use std::{net::SocketAddr, path::Path};

use chunkgate::domain::{Clock as _, SystemClock, signing};

use crate::{
    Fault,
    process::{Process, clean},
};

/// The one user's key.
pub(crate) const API_KEY: &str = "bench-key";
/// The secret of it.
pub(crate) const SECRET: &str = "bench-secret";
/// What the service proves itself with at the identity server.
const TOKEN: &str = "bench-token";

/// Starts the service with its data in `folder` and, of the settings that nobody needs to tell, `settings`.
pub(crate) fn start_service(
    binary: &Path,
    folder: &Path,
    [listen, identity]: [SocketAddr; 2],
    settings: &[(&str, &str)],
) -> Result<Process, Fault> {
    let mut command = clean(binary);
    command.args(["serve", "--listen", &listen.to_string()]);
    let ours = [
        ("DATABASE__URL", format!("sqlite:{}", folder.join("data/chunkgate.db").display())),
        ("IDENTITY__TOKEN", TOKEN.to_owned()),
        ("IDENTITY__URL", format!("http://{identity}")),
        ("STORAGE__LOCAL__COMPLETED_PATH", "done/{upload_id}".to_owned()),
        ("STORAGE__LOCAL__PATH", folder.join("files").display().to_string()),
    ];
    // Who asks for another value of one of these has it: the later one wins.
    for (name, value) in ours.iter().map(|(name, value)| (*name, value.as_str())).chain(settings.iter().copied()) {
        command.env(format!("CHUNKGATE_{name}"), value);
    }
    Process::start(command, folder.join("service.log"))
}

/// Starts the reference identity server, which knows one user.
pub(crate) fn start_identity(binary: &Path, folder: &Path, listen: SocketAddr) -> Result<Process, Fault> {
    let users = folder.join("users.toml");
    let user = "[[users]]\nid = \"subject-ann\"\nusername = \"ann\"\n[[users.keys]]";
    std::fs::write(&users, format!("{user}\napi_key = \"{API_KEY}\"\nsecret = \"{SECRET}\"\n"))?;
    let mut command = clean(binary);
    command.args(["identity", "serve", "--listen", &listen.to_string(), "--users"]).arg(users);
    command.env("CHUNKGATE_IDENTITY__TOKEN", TOKEN);
    Process::start(command, folder.join("identity.log"))
}

/// A v1 signature of this moment, as headers.
pub(crate) fn sign_v1() -> [(&'static str, String); 3] {
    let timestamp = SystemClock.now().as_millisecond().to_string();
    let signature = signing::sign_v1(SECRET.as_bytes(), &timestamp);
    [("x-api-key", API_KEY.to_owned()), ("x-timestamp", timestamp), ("x-signature", signature)]
}
