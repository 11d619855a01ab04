//! The peers that others wrote, as they are installed by name, set up for speed: no logs, no limits, no checks of who asks.

use std::process::Command;

use crate::{
    Fault,
    kinds::{Install, Kind, Start, program},
    peer::{Peer, Speech},
};

/// The ceiling of what HTTP allows: a program that does nothing but receive and rename.
pub(crate) const NGINX: Kind = Kind {
    name: "nginx",
    found: |site| program(site, "nginx/usr/sbin/nginx", "nginx"),
    install: Install::Script(
        "mkdir -p nginx && cd nginx
        apt-get download nginx
        dpkg-deb -x nginx_*.deb .",
    ),
    start: |_, start| nginx(start),
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
