//! `rollcall demo`: calendars that live, a simulated Recall, and the real service between them, in one terminal.
//!
//! The play has three acts. In the opening everybody connects at once, which is counted rather than told. Then the calendars
//! live, one happening at a time, each told from webhook to bot. At the close they rest, and the oracle compares the bots that
//! there are with those that there should be: they must agree, and go on agreeing for a while.

mod directory;
mod hearing;
mod narrator;
mod oracle;
mod stage;
mod summary;
mod voice;
mod wire;

use std::time::Duration;

use clap::Args;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::mpsc,
    time::{Instant, sleep_until},
};

use crate::sim::{Life, MessageState, Sim, WebhookRates};
use directory::Directory;
use hearing::Heard;
use narrator::Narrator;
use oracle::Difference;
use stage::{SWEEP_INTERVAL, Stage};
use voice::Voice;

/// The time between two happenings, in which the first can be read.
const PACE: Duration = Duration::from_millis(1300);
/// The happening at which a calendar is cut off, and that at which it is connected again.
const CUT_OFF_AT: u32 = 8;
const CONNECTED_AT: u32 = 15;
/// How often the webhooks under way, and the agreement awaited, are looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);
/// How long the opening may take.
const OPENING_LIMIT: Duration = Duration::from_secs(30);
/// How long bots and calendars may disagree once the calendars rest: three sweeps.
const AGREEMENT_LIMIT: Duration = Duration::from_secs(45);
/// How long they must agree without a break, so that no agreement is a passing one.
const AGREEMENT_LASTS: Duration = Duration::from_secs(2);
/// Of how many webhooks one is lost, and one is sent twice, while the calendars live.
const MISHAPS: WebhookRates = WebhookRates { lose: 0.08, duplicate: 0.06, reorder: 0.0, delay: 0.0, delay_secs: 0 };

/// Arguments of `rollcall demo`.
#[derive(Args, Clone, Debug)]
pub struct DemoArgs {
    /// How long the calendars live before the bots are checked
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    seconds: u64,
    /// Go on living and checking until Ctrl-C
    #[arg(long)]
    keep_running: bool,
    /// How many calendars
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=500))]
    calendars: u16,
    /// The same seed lives the same life; drawn if it is not given
    #[arg(long)]
    seed: Option<u64>,
}

/// How a demo ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Every check found exactly the bots that should be there.
    Agreed,
    /// A check found others.
    Differed,
    /// It was interrupted before the first check.
    Unchecked,
}

/// Plays until the check, or with `--keep-running` until interrupted. Leaves nothing behind in the database's server.
///
/// # Errors
/// What cannot start.
pub async fn run(args: &DemoArgs) -> anyhow::Result<Ending> {
    // Registered before anything is started: a signal from here on is not lost.
    let mut signals = [signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?];
    let (ear, heard) = mpsc::unbounded_channel();
    hearing::listen(ear)?;
    let seed = args.seed.unwrap_or_else(|| fastrand::u64(..10_000));
    let mut stage = Stage::set_up(seed).await?;
    let mut play = Play { narrator: Narrator::new(), heard, checks: Vec::new() };
    summary::introduce(&play.narrator, args, seed);
    let failed = tokio::select! {
        () = play.perform(&stage.sim, args, seed) => None,
        () = interrupted(&mut signals) => None,
        error = stage.service.failed() => Some(error),
    };
    if let Some(error) = failed {
        stage.tear_down().await;
        return Err(error);
    }
    let ending = play.ending();
    summary::conclude(&play.narrator, &stage.sim, ending);
    stage.tear_down().await;
    Ok(ending)
}

async fn interrupted([interrupt, terminate]: &mut [Signal; 2]) {
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}

struct Play {
    narrator: Narrator,
    heard: mpsc::UnboundedReceiver<Heard>,
    /// Whether each check so far agreed.
    checks: Vec<bool>,
}

impl Play {
    async fn perform(&mut self, sim: &Sim, args: &DemoArgs, seed: u64) {
        let mut life = self.open(sim, args, seed).await;
        loop {
            self.live(sim, &mut life, Duration::from_secs(args.seconds)).await;
            self.check(sim).await;
            if !args.keep_running {
                return;
            }
            self.narrator.tell(Voice::Check, "the calendars live on; Ctrl-C ends the demo");
        }
    }

    /// Everybody connects at once.
    async fn open(&mut self, sim: &Sim, args: &DemoArgs, seed: u64) -> Life {
        let life = Life::start(sim, usize::from(args.calendars), seed, sim.clock().now());
        self.narrator.directory = Directory(life.owners().map(|(id, name)| (id, name.to_owned())).collect());
        self.await_agreement(sim, OPENING_LIMIT).await;
        self.narrator.is_silent = false;
        summary::tell_opening(&self.narrator, sim);
        life
    }

    /// One happening at a time. Once a calendar is cut off for a while, whatever the seed has in store.
    async fn live(&mut self, sim: &Sim, life: &mut Life, length: Duration) {
        let ends_at = Instant::now() + length;
        sim.knobs(|knobs| knobs.webhook_rates = MISHAPS);
        let mut steps = 0;
        while Instant::now() + PACE < ends_at {
            steps += 1;
            let arranged = match steps {
                CUT_OFF_AT => life.disconnect(sim),
                CONNECTED_AT => life.reconnect(sim),
                _ => None,
            };
            let happening = arranged.unwrap_or_else(|| life.step(sim, sim.clock().now()));
            self.narrator.tell_happening(&happening);
            self.narrator.watch_webhooks(sim);
            self.listen_until(sim, Instant::now() + PACE).await;
        }
        sim.knobs(|knobs| knobs.webhook_rates = WebhookRates::default());
    }

    /// Waits, within bounds, until bots and calendars agree, and says how it came out.
    async fn check(&mut self, sim: &Sim) {
        let what = format!(
            "the calendars rest; waiting until bots and calendars agree. What lost webhooks hid is found within {SWEEP_INTERVAL}"
        );
        self.narrator.tell(Voice::Check, &what);
        let differences = self.await_agreement(sim, AGREEMENT_LIMIT).await;
        self.checks.push(differences.is_empty());
        summary::tell_check(&self.narrator, sim, &differences);
    }

    /// None when bots and calendars have agreed for a while; those that are left when the time is up.
    async fn await_agreement(&mut self, sim: &Sim, limit: Duration) -> Vec<Difference> {
        let gives_up_at = Instant::now() + limit;
        let mut agreed_since = None;
        loop {
            self.listen_until(sim, Instant::now() + LOOK_INTERVAL).await;
            let now = Instant::now();
            let is_late = now >= gives_up_at;
            let differences = oracle::find_differences(sim);
            let agrees = differences.is_empty() && (is_late || !is_webhook_under_way(sim));
            if agrees {
                if now - *agreed_since.get_or_insert(now) >= AGREEMENT_LASTS {
                    return differences;
                }
            } else if is_late {
                return differences;
            } else {
                agreed_since = None;
            }
        }
    }

    /// Tells what happens until then.
    async fn listen_until(&mut self, sim: &Sim, until: Instant) {
        loop {
            let look_at = until.min(Instant::now() + LOOK_INTERVAL);
            tokio::select! {
                Some(heard) = self.heard.recv() => self.narrator.hear(&heard, sim),
                () = sleep_until(look_at) => {
                    self.narrator.watch_webhooks(sim);
                    if look_at >= until {
                        return;
                    }
                }
            }
        }
    }

    fn ending(&self) -> Ending {
        match self.checks[..] {
            [] => Ending::Unchecked,
            _ if self.checks.contains(&false) => Ending::Differed,
            _ => Ending::Agreed,
        }
    }
}

fn is_webhook_under_way(sim: &Sim) -> bool {
    let is_under_way = |state| matches!(state, MessageState::Pending | MessageState::Sending);
    sim.pending_webhooks().iter().any(|message| is_under_way(message.state))
}
