//! The command line.

use std::{
    io::{Read, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream},
    process::ExitCode,
    time::Duration,
};

use anyhow::Context;
use clap::{Parser, Subcommand};
use rollcall::{
    app::App,
    clock::Clock,
    config::Config,
    demo, operator,
    sim::command::{self, SimArgs},
    telemetry,
};
use tokio::signal::unix::{SignalKind, signal};

/// Receives Recall.ai Calendar V2 webhooks and keeps exactly one bot on every meeting that should have one.
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Receive webhooks and take care of bots. Configured by environment variables; see .env.example.
    Serve,
    /// Tell why an event has its bot, or none. This and the commands below need DATABASE_URL alone; `plan`, the policy too.
    Explain(operator::ExplainArgs),
    /// Tell what the configured policy, or another one, would change. Nothing is called, and nothing written.
    Plan(operator::PlanArgs),
    /// Say that an event, a series or a calendar has bots or none, whatever the rule says.
    Override(operator::OverrideArgs),
    /// Remove the bots of a calendar, or all, until it is resumed.
    Pause(operator::PauseArgs),
    /// End a pause: the bots come back.
    Resume(operator::PauseArgs),
    /// Give a calendar a rule or a bot of its own.
    Set(operator::SetArgs),
    /// Print what was said by override, pause and set.
    Settings,
    /// Look after the rules.
    #[command(subcommand)]
    Policy(operator::PolicyCommand),
    /// Ask the rollcall on this machine (LISTEN_ADDR or PORT) whether it is alive. For a container's health check.
    Healthcheck,
    /// Play living calendars and a simulated Recall around the real service, and check the bots. Needs DATABASE_URL alone.
    Demo(demo::DemoArgs),
    /// Serve a simulated Recall, for tests and for trying things out. Needs no database.
    Sim(SimArgs),
}

fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Serve => serve(),
        Command::Explain(args) => operate(operator::explain_event(&args)),
        Command::Plan(args) => operate(operator::plan(&args)),
        Command::Override(args) => operate(operator::say(&args)),
        Command::Pause(args) => operate(operator::pause(&args)),
        Command::Resume(args) => operate(operator::resume(&args)),
        Command::Set(args) => operate(operator::set(&args)),
        Command::Settings => operate(operator::list()),
        Command::Policy(command) => operate(operator::policy(&command)),
        Command::Healthcheck => healthcheck(),
        Command::Demo(args) => play(&args),
        Command::Sim(args) => simulate(args),
    }
}

fn serve() -> ExitCode {
    let config = match Config::from_env() {
        Ok(config) => config,
        Err(error) => return fail(2, &error.to_string()),
    };
    if let Err(error) = telemetry::init_logging() {
        return fail(2, &error.to_string());
    }
    match in_runtime(run(config)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            fail(1, &format!("{error:#}"))
        }
    }
}

/// 0: the bots are as they should be, 1: they are not, 2: the demo cannot start, 130: interrupted before it knew.
fn play(args: &demo::DemoArgs) -> ExitCode {
    match in_runtime(demo::run(args)) {
        Ok(demo::Ending::Agreed) => ExitCode::SUCCESS,
        Ok(demo::Ending::Differed) => ExitCode::from(1),
        Ok(demo::Ending::Unchecked) => ExitCode::from(130),
        Err(error) => fail(2, &format!("{error:#}")),
    }
}

fn simulate(args: SimArgs) -> ExitCode {
    if let Err(error) = telemetry::init_logging() {
        return fail(2, &error.to_string());
    }
    match in_runtime(async { Ok(command::run(args).await?) }) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(1, &format!("{error:#}")),
    }
}

fn operate(command: impl Future<Output = anyhow::Result<()>>) -> ExitCode {
    match in_runtime(command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(1, &format!("{error:#}")),
    }
}

async fn run(config: Config) -> anyhow::Result<()> {
    // Registered before anything is started: a signal from here on is not lost.
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let app = App::start(config, Clock::system()).await?;
    let told_to_stop = async {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    app.run(told_to_stop).await
}

fn in_runtime<T>(future: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Runtime::new().context("cannot start the async runtime")?;
    let result = runtime.block_on(future);
    runtime.shutdown_background();
    result
}

/// Needs no runtime and no configuration but the port, so that it works in an image without a shell.
fn healthcheck() -> ExitCode {
    let variable =
        |name| std::env::var(name).ok().map(|value| value.trim().to_owned()).filter(|value| !value.is_empty());
    let addr = match (variable("LISTEN_ADDR"), variable("PORT")) {
        (Some(addr), _) => addr.parse().ok(),
        (None, Some(port)) => port.parse().ok().map(|port| SocketAddr::from(([0, 0, 0, 0], port))),
        (None, None) => Some(SocketAddr::from(([0, 0, 0, 0], 8080))),
    };
    let Some(mut addr) = addr else { return fail(2, "LISTEN_ADDR or PORT is malformed") };
    // Listening on all interfaces is listening on loopback.
    match addr.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => addr.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => addr.set_ip(Ipv6Addr::LOCALHOST.into()),
        IpAddr::V4(_) | IpAddr::V6(_) => {}
    }
    match ask_livez(addr) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => fail(1, "/livez did not answer 200"),
        Err(error) => fail(1, &format!("/livez did not answer: {error}")),
    }
}

fn ask_livez(addr: SocketAddr) -> std::io::Result<bool> {
    let limit = Duration::from_secs(3);
    let mut connection = TcpStream::connect_timeout(&addr, limit)?;
    connection.set_read_timeout(Some(limit))?;
    connection.write_all(b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut head = [0; 12];
    connection.read_exact(&mut head)?;
    Ok(&head == b"HTTP/1.1 200")
}

fn fail(code: u8, message: &str) -> ExitCode {
    eprintln!("rollcall: {message}");
    ExitCode::from(code)
}
