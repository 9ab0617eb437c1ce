//! What the API, the sender and the test's hands share: one world behind one lock, and the clock.
//!
//! Everybody enters by [`Shared::with`], which brings the world up to the clock and queues the webhooks that came up, before
//! and after; so no order of API calls, deliveries and people's doings can see a world that lags behind its clock. The
//! lock is never held across an `await`.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use chrono::{DateTime, Utc};
use tokio::sync::{Notify, watch};

use super::api::Replies;
use super::calls::CallLog;
use super::clock::SimClock;
use super::config::SimConfig;
use super::faults::Faults;
use super::limiter::Limiter;
use super::model::Workspace;
use super::outbox::Outbox;

/// All state.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) workspace: Workspace,
    pub(crate) outbox: Outbox,
    pub(crate) faults: Faults,
    pub(crate) limiter: Limiter,
    pub(crate) log: CallLog,
    pub(crate) replies: Replies,
    /// Deduplication keys of calls under way.
    pub(crate) held_keys: HashSet<String>,
    /// For faults by probability.
    pub(crate) rng: fastrand::Rng,
}

/// The world and what surrounds it.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) api_key: String,
    pub(crate) address: SocketAddr,
    pub(crate) clock: SimClock,
    pub(crate) client: reqwest::Client,
    /// Something was queued or changed: the live sender looks again.
    pub(crate) changed: Notify,
    pub(crate) hanging: AtomicUsize,
    released: watch::Sender<u64>,
    world: Mutex<World>,
}

impl Shared {
    pub(crate) fn new(config: SimConfig, address: SocketAddr, client: reqwest::Client) -> Self {
        let world = World {
            workspace: Workspace::new(config.knobs, config.seed),
            // Each draws from its own stream: a fault more does not change the ids.
            outbox: Outbox::new(config.endpoints, config.speed, config.seed.wrapping_add(1)),
            faults: Faults::default(),
            limiter: Limiter::new(config.limits),
            log: CallLog::default(),
            replies: Replies::default(),
            held_keys: HashSet::new(),
            rng: fastrand::Rng::with_seed(config.seed.wrapping_add(2)),
        };
        Self {
            api_key: config.api_key.trim_start_matches("Token ").to_owned(),
            address,
            clock: config.clock,
            client,
            changed: Notify::new(),
            hanging: AtomicUsize::new(0),
            released: watch::Sender::new(0),
            world: Mutex::new(world),
        }
    }

    /// Does something to the world, as of the clock's now.
    pub(crate) fn with<T>(&self, act: impl FnOnce(&mut World, DateTime<Utc>) -> T) -> T {
        let mut guard = self.world.lock().unwrap_or_else(PoisonError::into_inner);
        let world = &mut *guard;
        let now = self.clock.now();
        self.catch_up(world, now);
        let result = act(world, now);
        self.catch_up(world, now);
        result
    }

    fn catch_up(&self, world: &mut World, now: DateTime<Utc>) {
        world.workspace.tick(now);
        let notices = world.workspace.take_notices();
        if !notices.is_empty() {
            self.changed.notify_one();
        }
        for notice in notices {
            world.outbox.queue_notice(&notice, &world.workspace.knobs, now);
        }
    }

    /// Waits until [`release`](Self::release) is next called.
    pub(crate) async fn hang(&self) {
        let mut released = self.released.subscribe();
        self.hanging.fetch_add(1, Ordering::SeqCst);
        // An error means that the simulator is gone, which lets go too.
        let _ = released.changed().await;
        self.hanging.fetch_sub(1, Ordering::SeqCst);
    }

    pub(crate) fn release(&self) {
        self.released.send_modify(|times| *times += 1);
    }
}
