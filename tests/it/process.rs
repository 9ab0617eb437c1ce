//! The binary: what stops its start, how it is ended, and that slow clients do not hold it.

use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    fmt::Debug,
    os::unix::ffi::OsStringExt,
    process::{Output, Stdio},
    time::{Duration, Instant},
};

use rollcall::sim::{self, Delivery, Endpoint, Fault, NewCalendar, NewEvent, Sim, SimConfig};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpSocket, TcpStream},
    process::{Child, Command},
    time::timeout,
};

use crate::{
    life::until,
    receive::update,
    world::{LINK, create_database, drop_database},
};

pub const BINARY: &str = env!("CARGO_BIN_EXE_rollcall");
const TOKEN: &str = "token-of-the-process-tests";

fn variables(base_url: &str, database_url: &str) -> BTreeMap<&'static str, String> {
    BTreeMap::from([
        ("DATABASE_URL", database_url.into()),
        ("RECALL_API_KEY", sim::DEFAULT_API_KEY.into()),
        ("RECALL_BASE_URL", base_url.into()),
        ("RECALL_WEBHOOK_SECRETS", sim::DEFAULT_SECRET.into()),
        ("RECALL_WEBHOOK_TOKENS", TOKEN.into()),
        ("LISTEN_ADDR", "127.0.0.1:0".into()),
    ])
}

async fn run(variables: &BTreeMap<&'static str, impl AsRef<OsStr> + Debug>) -> Output {
    let run = Command::new(BINARY).arg("serve").env_clear().envs(variables).kill_on_drop(true).output();
    timeout(Duration::from_secs(20), run)
        .await
        .unwrap_or_else(|_| panic!("the start was not stopped: {variables:?}"))
        .unwrap()
}

#[tokio::test]
async fn each_malformed_variable_stops_the_start_with_one_line_that_names_it() {
    let cases = [
        ("DATABASE_URL", ""),
        ("DATABASE_URL", "mysql://user:hunter2@host/db"),
        ("DATABASE_MAX_CONNECTIONS", "1"),
        ("WORKER_CONCURRENCY", "many"),
        ("RECALL_API_KEY", ""),
        ("RECALL_API_KEY", "Token "),
        ("RECALL_API_KEY", "hunter2 hunter2"),
        ("RECALL_REGION", "mars-1"),
        ("RECALL_BASE_URL", "recall.ai"),
        ("RECALL_BASE_URL", "https://us-west-2.recall.ai/api/v2/"),
        ("RECALL_BASE_URL", "https://user:hunter2@recall.ai"),
        ("RECALL_WEBHOOK_SECRETS", "whsec_hunter2!"),
        ("RECALL_WEBHOOK_SECRETS", "hunter2"),
        ("LISTEN_ADDR", "8080"),
        ("DEDUPLICATION", "none"),
        ("ALLOW_DEDUPLICATION_CHANGE", "maybe"),
        ("JOIN_EARLY", "11m"),
        ("POLICY_MAX_CHANGES", "-1"),
        ("BOT_CONFIG", "{"),
        ("BOT_CONFIG", "[]"),
        ("BOT_CONFIG", r#"{"join_at":"2026-01-20T21:30:00Z"}"#),
        ("BOT_CONFIG", r#"{"metadata":{"a":1}}"#),
        ("BOT_CONFIG", r#"{"bot_name":"{{ event.titel }}"}"#),
        ("BOT_CONFIG", r#"{"bot_name":"{{ hunter2"}"#),
        ("BOT_CONFIG_FILE", "/does/not/exist.json"),
        ("RECALL_LIMITS", "list=0"),
        ("RECALL_LIMITS", "lists=60"),
        ("SWEEP_INTERVAL", "15"),
        ("FULL_SYNC_INTERVAL", "soon"),
        ("RUST_LOG", "rollcall=shouting"),
        ("RUST_LOG", "warning"),
        ("LOG_FORMAT", "xml"),
    ];
    for (variable, value) in cases {
        let mut variables = variables("http://127.0.0.1:1", "postgres://127.0.0.1:1/none");
        variables.insert(variable, value.into());
        let output = run(&variables).await;
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{variable}={value}: {text}");
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(text.starts_with(&format!("rollcall: {variable} ")), "{text}");
        assert!(!text.contains("hunter2"), "{text}");
    }
    for variable in ["RECORD_WHEN", "ADMIN_TOKEN", "RUST_LOG"] {
        let variables = variables("http://127.0.0.1:1", "postgres://127.0.0.1:1/none");
        let mut variables: BTreeMap<_, _> = variables.into_iter().map(|(name, value)| (name, value.into())).collect();
        variables.insert(variable, OsString::from_vec(b"priv\xe9".to_vec()));
        let output = run(&variables).await;
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(
            (output.status.code(), text),
            (Some(2), format!("rollcall: {variable} is not UTF-8: write it anew\n"))
        );
    }
    let mut open = variables("http://127.0.0.1:1", "postgres://127.0.0.1:1/none");
    open.retain(|name, _| !name.starts_with("RECALL_WEBHOOK_"));
    let text = String::from_utf8(run(&open).await.stderr).unwrap();
    assert!(text.contains("RECALL_WEBHOOK_SECRETS and RECALL_WEBHOOK_TOKENS are both unset"), "{text}");
}

#[tokio::test]
async fn a_mistake_in_the_rule_stops_the_start_and_is_shown_at_its_place() {
    for (rule, told) in [
        ("externl", "there is no `externl`: did you mean `external`?\n  externl\n  ^\n"),
        (
            "event.duration > 10",
            "`>` does not work with a duration and a number\n  event.duration > 10\n                 ^\n",
        ),
        ("external &&", "\n  external &&\n"),
    ] {
        let mut variables = variables("http://127.0.0.1:1", "postgres://127.0.0.1:1/none");
        variables.insert("RECORD_WHEN", rule.into());
        let output = run(&variables).await;
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{text}");
        assert!(text.starts_with("rollcall: RECORD_WHEN is no rule: ") && text.contains(told), "{text}");
    }
}

/// A running `rollcall serve`, the address it says that it listens on, what it logged before, and the lines after.
struct Running {
    child: Child,
    addr: String,
    logs: String,
    lines: tokio::io::Lines<BufReader<tokio::process::ChildStdout>>,
}

impl Running {
    async fn start(variables: &BTreeMap<&'static str, String>) -> Self {
        let mut child = Command::new(BINARY)
            .arg("serve")
            .env_clear()
            .envs(variables)
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut logs = String::new();
        let addr = loop {
            let text = lines.next_line().await.unwrap().unwrap();
            logs = logs + &text + "\n";
            let line: serde_json::Value =
                serde_json::from_str(&text).expect("logs are JSON where there is no terminal");
            if let Some(addr) = line["addr"].as_str() {
                break addr.to_owned();
            }
        };
        Self { child, addr, logs, lines }
    }

    /// SIGTERM. Returns the exit code, how long it took, and what was logged.
    async fn terminate(mut self) -> (Option<i32>, Duration, String) {
        let started = Instant::now();
        tell_to_stop(&self.child).await;
        while let Ok(Some(line)) = self.lines.next_line().await {
            self.logs = self.logs + &line + "\n";
        }
        let status = self.child.wait().await.unwrap();
        (status.code(), started.elapsed(), self.logs)
    }
}

#[tokio::test]
async fn of_a_parameter_that_is_not_known_the_name_is_logged_and_no_value() {
    let url = "postgres://127.0.0.1:1/none?sslpassword=hunter2&sslmode=disable&paswsord=hunter2";
    let mut variables = variables("http://127.0.0.1:1", url);
    variables.insert("RUST_LOG", "trace".into());
    let (_, _, logs) = Running::start(&variables).await.terminate().await;
    assert!(logs.contains("not known, and so are ignored: sslpassword, paswsord\""), "{logs}");
    assert!(!logs.contains("hunter2"), "{logs}");
}

/// SIGTERM, by the shell: not every system has the program.
pub async fn tell_to_stop(child: &Child) {
    let pid = child.id().expect("it runs").to_string();
    assert!(Command::new("sh").args(["-c", "kill -TERM $0", &pid]).status().await.unwrap().success());
}

#[tokio::test]
async fn sigterm_drains_exits_0_in_time_and_loses_nothing() {
    let sim = Sim::start(SimConfig { delivery: Delivery::Live, ..SimConfig::default() }).await.unwrap();
    let (database, url) = create_database().await;
    let variables = variables(&sim.base_url(), &url);
    let running = Running::start(&variables).await;
    sim.set_endpoint(&format!("http://{}/webhooks/recall", running.addr));
    let calendar = sim.connect_calendar(NewCalendar::google("ada@acme.test"));
    // A turn is in hand, and will not end by itself.
    sim.fail_next(Endpoint::ScheduleBot, Fault::Hang, 1);
    let start = sim.clock().now() + chrono::TimeDelta::hours(2);
    let event = sim.create_event(calendar, NewEvent::new("Weekly sync", start, 30).at(LINK));
    until(async || sim.hanging() == 1).await;

    let (code, took, logs) = running.terminate().await;
    assert_eq!(code, Some(0), "{logs}");
    assert!(took < Duration::from_secs(10), "{took:?}");
    assert!(!logs.contains("ERROR"), "{logs}");
    assert!(logs.contains("stopped"), "{logs}");

    // The key was given back, so another process need not wait for a lease.
    sim.release();
    let running = Running::start(&variables).await;
    until(async || sim.live_bots().iter().any(|bot| bot.events.contains(&event))).await;
    assert_eq!(running.terminate().await.0, Some(0));
    drop_database(&database).await;
}

#[tokio::test]
async fn the_binary_checks_its_own_health() {
    let (database, url) = create_database().await;
    let running = Running::start(&variables("http://127.0.0.1:1", &url)).await;
    let check = async |addr: &str| {
        let check = Command::new(BINARY).arg("healthcheck").env_clear().env("LISTEN_ADDR", addr).output();
        check.await.unwrap().status.code()
    };
    assert_eq!(check(&running.addr).await, Some(0));
    running.terminate().await;
    let closed = TcpSocket::new_v4().unwrap();
    closed.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    assert_eq!(check(&closed.local_addr().unwrap().to_string()).await, Some(1));
    drop_database(&database).await;
}

#[tokio::test]
async fn slow_clients_are_dropped() {
    let (database, url) = create_database().await;
    let running = Running::start(&variables("http://127.0.0.1:1", &url)).await;
    let silent = talk(&running.addr, String::new());
    let half_a_head = talk(&running.addr, "POST /webhooks/recall HTTP/1.1\r\nHost: x\r\nX-Half".into());
    let body = update();
    let half_a_body = talk(
        &running.addr,
        format!(
            "POST /webhooks/recall?token={TOKEN} HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{}",
            body.len(),
            &body[..20]
        ),
    );
    let (silent, half_a_head, half_a_body) = tokio::join!(silent, half_a_head, half_a_body);
    assert_eq!(silent, "");
    assert!(half_a_head.is_empty() || half_a_head.starts_with("HTTP/1.1 408"), "{half_a_head}");
    assert!(half_a_body.starts_with("HTTP/1.1 408"), "{half_a_body}");
    running.terminate().await;
    drop_database(&database).await;
}

/// Sends `text` and then nothing. Returns what is answered until the server hangs up.
pub async fn talk(addr: &str, text: String) -> String {
    let mut connection = TcpStream::connect(addr).await.unwrap();
    connection.write_all(text.as_bytes()).await.unwrap();
    let mut answer = vec![];
    timeout(Duration::from_secs(20), connection.read_to_end(&mut answer)).await.expect("the server hangs up").unwrap();
    String::from_utf8(answer).unwrap()
}

/// What a command prints, which must succeed.
async fn command(database_url: &str, arguments: &[&str]) -> String {
    let output = Command::new(BINARY).args(arguments).env_clear().env("DATABASE_URL", database_url).output();
    let output = output.await.unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test]
async fn the_commands_say_plan_and_explain_what_the_service_does() {
    let sim = Sim::start(SimConfig { delivery: Delivery::Live, ..SimConfig::default() }).await.unwrap();
    let (database, url) = create_database().await;
    let running = Running::start(&variables(&sim.base_url(), &url)).await;
    sim.set_endpoint(&format!("http://{}/webhooks/recall", running.addr));
    let calendar = sim.connect_calendar(NewCalendar::google("ada@acme.test"));
    let in_an_hour = sim.clock().now() + chrono::TimeDelta::hours(1);
    let event = sim.create_event(calendar, NewEvent::new("Weekly sync", in_an_hour, 30).at(LINK)).to_string();
    let calendar = calendar.to_string();
    until(async || sim.live_bots().len() == 1).await;

    // The service records what it has done after it has done it.
    let external = ["plan", "--record-when", "external"];
    until(async || command(&url, &external).await.contains("removes 1")).await;
    let plan = command(&url, &external).await;
    assert!(plan.contains(&format!("{event} ada@acme.test: the rule does not want it (rule `external`)")), "{plan}");
    assert!(plan.ends_with("This policy adds 0 bots, removes 1, changes 0; 0 events stay as they are.\n"), "{plan}");
    let plan = command(&url, &["plan", "--bot-config", r#"{"bot_name":"N"}"#, "--calendar", &calendar, "--json"]).await;
    let plan: serde_json::Value = serde_json::from_str(&plan).unwrap();
    assert_eq!((&plan["summary"]["changes"], &plan["effects"][0]["effect"]), (&1.into(), &"changes".into()));
    assert_eq!(sim.live_bots().len(), 1);

    let said = command(&url, &["override", "event", &event, "--skip", "--who", "ann", "--why", "asked to"]).await;
    assert_eq!(said, "1 events are looked at again\n");
    until(async || sim.live_bots().is_empty()).await;
    until(async || command(&url, &["explain", &event]).await.contains("Decided by skip")).await;
    let told = command(&url, &["explain", &event]).await;
    assert!(told.contains("Decided by skip for this event, set by ann: asked to, after a setting by ann."), "{told}");
    // Of another machine's policy there may be no file.
    let elsewhere = [("DATABASE_URL", url.as_str()), ("BOT_CONFIG_FILE", "/does/not/exist.json")];
    let settings = Command::new(BINARY).arg("settings").env_clear().envs(elsewhere).output().await.unwrap();
    let settings = String::from_utf8(settings.stdout).unwrap();
    assert!(settings.contains(r#""why": "asked to""#), "{settings}");
    command(&url, &["override", "event", &event, "--clear"]).await;
    until(async || sim.live_bots().len() == 1).await;
    command(&url, &["pause", &calendar]).await;
    until(async || sim.live_bots().is_empty()).await;
    command(&url, &["resume", &calendar]).await;
    until(async || sim.live_bots().len() == 1).await;
    command(&url, &["set", &calendar, "--record-when", "external"]).await;
    until(async || sim.live_bots().is_empty()).await;
    assert!(command(&url, &["policy", "presets"]).await.contains("external   event.external_count > 0 "));
    assert_eq!(command(&url, &["policy", "confirm"]).await, "nothing is held back\n");

    let refused =
        Command::new(BINARY).args(["override", "series", &event, "--skip"]).env("DATABASE_URL", &url).output();
    let refused = refused.await.unwrap();
    let error = format!("rollcall: no event {event} is mirrored that is an occurrence of a series\n");
    assert_eq!((refused.status.code(), String::from_utf8(refused.stderr).unwrap()), (Some(1), error));
    assert_eq!(running.terminate().await.0, Some(0));
    drop_database(&database).await;
}
