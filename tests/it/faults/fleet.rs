//! The processes: two replicas of `rollcall serve`, a `rollcall sim`, and the way from the one to the others.

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::Duration,
};

use rollcall::{config::Config, domain::policy::Policy, sim, sim::Limits, store};
use sqlx::PgPool;
use tokio::process::{Child, Command};
use uuid::Uuid;

use super::{binary, free_port, recall::Recall, seed, until, wire::Wire};
use crate::{histories::proxy::Proxy, process::tell_to_stop};

/// The token that stands in for a signature.
pub const TOKEN: &str = "token-of-the-fault-tests";
/// A process is up within this time.
const START_LIMIT: Duration = Duration::from_secs(20);

/// All processes of a fault.
pub struct Fleet {
    pub recall: Recall,
    pub replicas: Vec<Replica>,
    /// The test's own look at the database.
    pub db: PgPool,
    /// The environment variables of replicas that are started from now on.
    pub vars: BTreeMap<&'static str, String>,
    _way_in: Proxy,
    _simulator: Child,
    folder: Folder,
}

/// A replica, and the one that follows it when it is gone: port and log are the same.
pub struct Replica {
    pub addr: String,
    process: Option<Child>,
    log: PathBuf,
}

impl Fleet {
    /// Two replicas and a simulator with this database, and with these variables set as well.
    pub async fn start(database_url: &str, vars: &[(&'static str, &str)]) -> Self {
        let folder = Folder::new();
        let replica = |number| {
            let addr = format!("127.0.0.1:{}", free_port());
            Replica { addr, process: None, log: folder.0.join(format!("replica-{number}.log")) }
        };
        let replicas: Vec<Replica> = (0..2).map(replica).collect();
        let way_in = Proxy::among(replicas.iter().map(|replica| replica.addr.clone()).collect()).await;
        let (simulator, recall) = start_simulator(&folder.0, &format!("http://{}", way_in.address)).await;
        let mut all = BTreeMap::from([
            ("DATABASE_URL", database_url.to_owned()),
            ("RECALL_API_KEY", sim::DEFAULT_API_KEY.to_owned()),
            ("RECALL_BASE_URL", recall.base_url.clone()),
            ("RECALL_WEBHOOK_SECRETS", sim::DEFAULT_SECRET.to_owned()),
            ("RECALL_WEBHOOK_TOKENS", TOKEN.to_owned()),
            ("RECALL_LIMITS", "list=6000,read=6000,bot=6000".to_owned()),
            // Each start sweeps. Further sweeps would hide what was lost.
            ("SWEEP_INTERVAL", "1h".to_owned()),
        ]);
        all.extend(vars.iter().map(|(name, value)| (*name, (*value).to_owned())));
        let db = store::pool(&database_url.into(), 2).unwrap();
        let mut fleet = Self { recall, replicas, db, vars: all, _way_in: way_in, _simulator: simulator, folder };
        for number in 0..fleet.replicas.len() {
            fleet.start_replica(number);
        }
        for number in 0..fleet.replicas.len() {
            fleet.until_ready(number).await;
        }
        fleet
    }

    /// Starts a replica that is not there.
    pub fn start_replica(&mut self, number: usize) {
        let replica = &mut self.replicas[number];
        assert!(replica.process.is_none());
        let mut command = Command::new(binary());
        command.arg("serve").env_clear().envs(&self.vars).env("LISTEN_ADDR", &replica.addr);
        replica.process = Some(spawn(command, &replica.log));
    }

    /// Waits until a replica can commit webhooks.
    pub async fn until_ready(&self, number: usize) -> Duration {
        let addr = &self.replicas[number].addr;
        until("a replica is ready", START_LIMIT, async || get(addr, "/readyz").await == Some(200)).await
    }

    /// Kills a replica as `kill -9` does, and waits until it is gone.
    pub async fn kill_replica(&mut self, number: usize) {
        self.replicas[number].process.take().unwrap().kill().await.unwrap();
    }

    /// Tells a replica to stop by SIGTERM, and waits until it has.
    pub async fn stop_replica(&mut self, number: usize) -> ExitStatus {
        let mut process = self.replicas[number].process.take().unwrap();
        tell_to_stop(&process).await;
        process.wait().await.unwrap()
    }

    /// Has both replicas follow themselves with a variable set anew.
    pub async fn restart_with(&mut self, variable: &'static str, value: &str) {
        self.vars.insert(variable, value.to_owned());
        for number in 0..self.replicas.len() {
            assert_eq!(self.stop_replica(number).await.code(), Some(0));
            self.start_replica(number);
            self.until_ready(number).await;
        }
    }

    pub fn addresses(&self) -> Vec<String> {
        self.replicas.iter().map(|replica| replica.addr.clone()).collect()
    }

    /// The process ids of the replicas.
    pub fn pids(&self) -> Vec<u32> {
        self.replicas.iter().map(|replica| replica.process.as_ref().unwrap().id().unwrap()).collect()
    }

    /// Which events get a bot, by the variables.
    pub fn policy(&self) -> Policy {
        let with_address = |name: &str| match name {
            "LISTEN_ADDR" => Some("127.0.0.1:0".to_owned()),
            _ => self.vars.get(name).cloned(),
        };
        Config::from_lookup(&with_address).unwrap().policy
    }

    /// The error lines that the replicas logged.
    ///
    /// Not counted: that a bot is refused for an event that people have deleted, or a calendar that they have disconnected,
    /// while the call was on its way. What wakes the key again is on its way as well, and that it came the empty queue shows.
    pub fn errors(&self) -> Vec<String> {
        let is_race = |line: &str| line.contains("Schedule Bot was answered 400") && line.contains("parked until");
        let logs = self.replicas.iter().map(|replica| fs::read_to_string(&replica.log).unwrap_or_default());
        let lines = logs.flat_map(|log| log.lines().map(str::to_owned).collect::<Vec<_>>());
        lines.filter(|line| line.contains("\"level\":\"ERROR\"") && !is_race(line)).collect()
    }

    /// Ends all processes and forgets their logs.
    pub async fn end(mut self) {
        for number in 0..self.replicas.len() {
            self.kill_replica(number).await;
        }
        self.db.close().await;
        self.folder.1 = false;
    }
}

async fn start_simulator(folder: &Path, way_in: &str) -> (Child, Recall) {
    let addr = format!("127.0.0.1:{}", free_port());
    let mut command = Command::new(binary());
    let webhook_url = format!("{way_in}/webhooks/recall");
    // At this speed what fails for a day with Recall fails for minutes.
    command.args(["sim", "--listen", &addr, "--webhook-url", &webhook_url, "--speed", "600"]);
    command.args(["--seed", &seed().to_string()]).env_clear();
    let process = spawn(command, &folder.join("sim.log"));
    let recall = Recall::at(format!("http://{addr}"));
    until("the simulator is up", START_LIMIT, async || recall.is_up().await).await;
    recall.limits(&Limits::unlimited()).await;
    (process, recall)
}

fn spawn(mut command: Command, log: &Path) -> Child {
    let log: File = OpenOptions::new().create(true).append(true).open(log).unwrap();
    command.stdout(log.try_clone().unwrap()).stderr(log).stdin(Stdio::null()).kill_on_drop(true).spawn().unwrap()
}

/// The status of a route's answer, if there is one within two seconds.
pub async fn get(addr: &str, path: &str) -> Option<u16> {
    let ask = async {
        let mut wire = Wire::connect(addr).await?;
        wire.ask(format!("GET {path} HTTP/1.1\r\nHost: rollcall\r\nConnection: close\r\n\r\n").as_bytes()).await
    };
    Some(tokio::time::timeout(Duration::from_secs(2), ask).await.ok()?.ok()?.status)
}

/// A folder for logs, which stays if the test fails.
struct Folder(PathBuf, bool);

impl Folder {
    fn new() -> Self {
        let path = std::env::temp_dir().join(format!("rollcall-faults-{}", Uuid::new_v4().simple()));
        fs::create_dir(&path).unwrap();
        Self(path, true)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if self.1 {
            println!("logs are in {}", self.0.display());
        } else {
            let _ = fs::remove_dir_all(&self.0);
        }
    }
}
