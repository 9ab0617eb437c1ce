//! A Postgres of the test's own, to be stopped, started, and followed by a standby that takes its place.
//!
//! As durable as one comes: what was committed outlives the server, and with a standby also its machine. The programs are
//! those that `scripts/with-postgres` puts on PATH; like it, this runs them as an unprivileged user and asks for a password.

use std::{
    fs,
    os::unix::fs::chown,
    path::PathBuf,
    process::{Output, Stdio},
};

use reqwest::Url;
use tokio::process::Command;
use uuid::Uuid;

use super::free_port;

/// A server, and its folder.
pub struct Cluster {
    folder: PathBuf,
    port: u16,
    password: String,
    /// Who runs it: `None` is who runs the tests.
    user: Option<(u32, u32)>,
}

impl Cluster {
    /// A new server, which runs.
    pub async fn new() -> Self {
        let cluster = Self::empty(&Uuid::new_v4().simple().to_string()).await;
        let password_file = cluster.folder.join("password");
        fs::write(&password_file, &cluster.password).unwrap();
        let arguments = ["-N", "-A", "password", "-U", "rollcall", "-E", "UTF8", "--locale=C", "--pwfile"];
        cluster.run("initdb", &arguments, &[password_file.to_str().unwrap(), "-D", &cluster.data()]).await;
        cluster.start().await;
        cluster
    }

    /// A standby of a server, which runs and follows it.
    pub async fn standby_of(primary: &Self) -> Self {
        let standby = Self::empty(&primary.password).await;
        let url = primary.url();
        standby
            .run("pg_basebackup", &["-R", "-X", "stream", "-c", "fast"], &["-d", url.as_str(), "-D", &standby.data()])
            .await;
        standby.start().await;
        standby
    }

    async fn empty(password: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("rollcall-cluster-{}", Uuid::new_v4().simple()));
        fs::create_dir(&folder).unwrap();
        let user = unprivileged_user().await;
        if let Some((uid, gid)) = user {
            chown(&folder, Some(uid), Some(gid)).unwrap();
        }
        Self { folder, port: free_port(), password: password.into(), user }
    }

    pub fn url(&self) -> Url {
        Url::parse(&format!("postgres://rollcall:{}@127.0.0.1:{}/postgres", self.password, self.port)).unwrap()
    }

    pub async fn start(&self) {
        let socket = "-c listen_addresses=127.0.0.1 -c unix_socket_directories=''";
        let options = format!("-p {} {socket}", self.port);
        let log = self.folder.join("log");
        self.run(
            "pg_ctl",
            &["-w", "-t", "60", "start"],
            &["-D", &self.data(), "-o", &options, "-l", log.to_str().unwrap()],
        )
        .await;
    }

    /// Sets something, from now on, which standbys that were made before do not take over.
    pub async fn set(&self, line: &str) {
        let path = self.folder.join("data/postgresql.conf");
        let settings = fs::read_to_string(&path).unwrap();
        fs::write(&path, format!("{settings}\n{line}\n")).unwrap();
        self.run("pg_ctl", &["reload"], &["-D", &self.data()]).await;
    }

    /// Stops it at once, as a crash does: it recovers when it is started.
    pub async fn crash(&self) {
        self.run("pg_ctl", &["-w", "-m", "immediate", "stop"], &["-D", &self.data()]).await;
    }

    /// Stops it, without waiting for clients, and starts it again.
    pub async fn restart(&self) {
        self.run("pg_ctl", &["-w", "-m", "fast", "stop"], &["-D", &self.data()]).await;
        self.start().await;
    }

    /// Makes a standby a server of its own.
    pub async fn promote(&self) {
        self.run("pg_ctl", &["-w", "promote"], &["-D", &self.data()]).await;
    }

    fn data(&self) -> String {
        self.folder.join("data").to_str().unwrap().to_owned()
    }

    async fn run(&self, program: &str, arguments: &[&str], more: &[&str]) {
        let output = self.output(program, arguments, more).await;
        assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    }

    async fn output(&self, program: &str, arguments: &[&str], more: &[&str]) -> Output {
        let mut command = Command::new(program);
        if let Some((uid, gid)) = self.user {
            command.uid(uid).gid(gid);
        }
        // Into a file: what the server inherits stays open for as long as it runs.
        let said = self.folder.join(format!("said-{}", Uuid::new_v4().simple()));
        let file = fs::File::create(&said).unwrap();
        command.args(arguments).args(more).current_dir(&self.folder).stdin(Stdio::null());
        let status = command.stdout(file.try_clone().unwrap()).stderr(file).status().await.unwrap();
        Output { status, stdout: vec![], stderr: fs::read(&said).unwrap() }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let mut command = std::process::Command::new("pg_ctl");
        if let Some((uid, gid)) = self.user {
            std::os::unix::process::CommandExt::uid(&mut command, uid);
            std::os::unix::process::CommandExt::gid(&mut command, gid);
        }
        command.args(["-D", &self.data(), "-m", "immediate", "stop"]).current_dir(&self.folder);
        let _ = command.stdout(Stdio::null()).stderr(Stdio::null()).status();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Postgres refuses to run as root: somebody whom every system has then runs it.
async fn unprivileged_user() -> Option<(u32, u32)> {
    if id(&["-u"]).await != Some(0) {
        return None;
    }
    for user in ["postgres", "nobody"] {
        if let (Some(uid), Some(gid)) = (id(&["-u", user]).await, id(&["-g", user]).await) {
            return Some((uid, gid));
        }
    }
    panic!("there is no user postgres or nobody")
}

async fn id(arguments: &[&str]) -> Option<u32> {
    let output = Command::new("id").args(arguments).output().await.unwrap();
    String::from_utf8(output.stdout).unwrap().trim().parse().ok()
}
