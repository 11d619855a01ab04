//! The peers that others wrote, as they are installed by name, set up for speed: no logs, no limits, nobody asked who
//! they are.

use std::{path::Path, process::Command};

use crate::{
    Fault,
    kinds::{Install, Kind, Start, program},
    peer::{Peer, Speech},
};

/// The ceiling of what HTTP allows: a program that does nothing but receive and rename.
pub(crate) const NGINX: Kind = Kind {
    name: "nginx",
    found: |site| program(site, "nginx/usr/sbin/nginx", "nginx"),
    install: Install::Script("mkdir -p nginx && cd nginx && apt-get download nginx && dpkg-deb -x nginx_*.deb ."),
    start: |_, start| nginx(start),
};

/// The reference implementation in JavaScript.
pub(crate) const TUS_NODE: Kind = Kind {
    name: "tus-node",
    found: |site| {
        let package = site.packages.join("node/node_modules/@tus/server/package.json");
        package.is_file().then(|| program(site, "node/bin/node", "node"))?
    },
    install: Install::Script("npm install --no-audit --no-fund --prefix node @tus/server@2.4.5 @tus/file-store@2.1.1"),
    start: |site, start| node(start, &site.packages.join("node")),
};

/// A crate that keeps a part for each request, on the disk before it answers.
pub(crate) const TUS_SERVER: Kind = Kind {
    name: "tus-server",
    found: |site| program(site, "bin/tus-server", "tus-server"),
    install: Install::Script("nice cargo install --locked --root . tus-server --version 0.1.0"),
    start: |_, start| tus_server(start),
};

/// A crate over actix.
pub(crate) const RUSTUS: Kind = Kind {
    name: "rustus",
    found: |site| program(site, "bin/rustus", "rustus"),
    install: Install::Script("nice cargo install --locked --root . rustus --version 0.5.10"),
    start: |_, start| rustus(start),
};

/// One of the two applications whose protocols chunkgate speaks.
pub(crate) const DJANGO: Kind = Kind {
    name: "django",
    found: |site| Some(site.packages.join("django/bin/gunicorn")).filter(|path| path.is_file()),
    install: Install::Script(
        "python3 -m venv django && \
         django/bin/pip install -q Django==5.2.19 django-chunked-upload==2.0.0 gunicorn==27.0.1",
    ),
    start: |_, start| django(start),
};

fn nginx(start: &Start) -> Result<Peer, Fault> {
    let files = start.made("files")?;
    let folder = start.folder.display();
    let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("    {kind}_temp_path {folder}/temporary-{kind};\n"))
        .concat();
    let text = include_str!("nginx.conf")
        .replace("FOLDER", &folder.to_string())
        .replace("LISTEN", &start.listen.to_string())
        .replace("TEMPORARY", temporary.trim());
    let settings = start.folder.join("nginx.conf");
    std::fs::write(&settings, text)?;
    let mut command = Command::new(&start.program);
    command.arg("-e").arg(start.folder.join("errors")).arg("-p").arg(&start.folder).arg("-c").arg(&settings);
    Ok(Peer::new(start.name, Speech::Put, start.listen, start.process(command)?).at("/", &files))
}

fn node(start: &Start, packages: &Path) -> Result<Peer, Fault> {
    let files = start.made("files")?;
    // Packages are looked for beside the script.
    let script = packages.join("tus-node.mjs");
    std::fs::write(&script, include_str!("tus-node.mjs"))?;
    let mut command = Command::new(&start.program);
    command.arg(script).arg(start.listen.port().to_string()).arg(&files);
    let peer = Peer::new(start.name, Speech::Tus, start.listen, start.process(command)?);
    Ok(peer.at("/files", &files).spared(0.25))
}

fn tus_server(start: &Start) -> Result<Peer, Fault> {
    let (files, state) = (start.made("files")?, start.made("state")?);
    let mut command = Command::new(&start.program);
    command.args(["serve", "--all-extensions", "--max-size=0", "--max-chunk-size=0", "--max-request-body-bytes=0"]);
    command.args(["--base-path", "/files", "--addr", &start.listen.to_string()]);
    command.args(["--base-url", &format!("http://{}", start.listen)]);
    command.args(["--storage-uri", &format!("fs://{}", files.display()), "--state-dir"]).arg(state);
    command.env("RUST_LOG", "error");
    let peer = Peer::new(start.name, Speech::Tus, start.listen, start.process(command)?);
    Ok(peer.at("/files", &files).spared(0.125))
}

fn rustus(start: &Start) -> Result<Peer, Fault> {
    let (files, facts) = (start.made("files")?, start.made("facts")?);
    let mut command = Command::new(&start.program);
    command.args(["--host", "127.0.0.1", "--port", &start.listen.port().to_string(), "--workers", "2"]);
    command.args(["--max-body-size", "4294967296", "--log-level", "ERROR", "--data-dir"]).arg(&files);
    command.arg("--info-dir").arg(facts);
    Ok(Peer::new(start.name, Speech::Tus, start.listen, start.process(command)?).at("/files", &files))
}

fn django(start: &Start) -> Result<Peer, Fault> {
    let files = start.made("files")?;
    std::fs::write(start.folder.join("django_peer.py"), include_str!("django_peer.py"))?;
    let command = |program: &str| {
        let mut command = Command::new(start.program.with_file_name(program));
        command.env("PEER_FOLDER", &start.folder).current_dir(&start.folder);
        command
    };
    let tables = command("python").arg("django_peer.py").output()?;
    if !tables.status.success() {
        return Err(String::from_utf8_lossy(&tables.stderr).into_owned().into());
    }
    let mut command = command("gunicorn");
    command.args(["--workers", "4", "--worker-class", "sync", "--timeout", "120", "--log-level", "error"]);
    command.args(["--bind", &start.listen.to_string(), "django_peer:application"]);
    let peer = Peer::new(start.name, Speech::Django, start.listen, start.process(command)?);
    Ok(peer.at("/", &files).spared(0.125))
}
