//! How a fault ends: nothing goes wrong any more, nobody helps, and everything comes right.

use std::time::{Duration, Instant};

use chrono::DateTime;
use rollcall::{
    clock::Clock,
    domain::calendar::CalendarId,
    store::queue::{self, Key, Request},
};
use sqlx::PgPool;
use uuid::Uuid;

use super::{fleet::Fleet, load::Sent, until};
use crate::histories::oracle::{Past, check_bots};

/// Longer than the lease of a replica that was killed, and the attempts that then follow.
const CONVERGE_LIMIT: Duration = Duration::from_secs(150);

/// How everything came right.
pub struct Ending {
    pub took: Duration,
    /// Upcoming meetings' bots.
    pub bots: usize,
    /// Deliveries that were acknowledged, Recall's and the load's, each of which is recorded.
    pub recorded: usize,
    /// Whether the bots were right as soon as the queue had come to rest, before the next sweep and full syncs: what a call did
    /// whose answer was lost may be found by those alone.
    pub is_by_hints: bool,
}

impl Fleet {
    /// Waits until the queue is empty, and checks all that must hold then.
    pub async fn converge(&self, sent: &Sent) -> Ending {
        let began = Instant::now();
        self.settle(Queue::IsParked).await;
        let took = began.elapsed();
        let (nothing, policy) = (Past::default(), self.policy());
        let is_by_hints = check_bots(&self.recall.seen().await, &policy, &nothing).is_ok();
        // As the histories end, since a change of bots that touched no event is found by a full sync, and what that does may
        // be another such change.
        for _ in 0..if is_by_hints { 0 } else { 2 } {
            self.request_full_syncs().await;
            self.settle(Queue::IsParked).await;
        }
        // What was refused for a reason that has passed, such as a calendar that was cut off, leaves with the next sweep.
        self.request(&[Request {
            key: Key::Sweep,
            since: None,
            deadline: Clock::system().now(),
            cause: "a test",
            events_only: false,
        }])
        .await;
        self.settle(Queue::IsEmpty).await;
        let seen = self.recall.seen().await;
        if let Err(violation) = check_bots(&seen, &policy, &nothing) {
            panic!("{violation}");
        }
        let recorded = self.check_recorded(sent).await;
        let errors = self.errors();
        assert!(errors.is_empty(), "errors were logged: {errors:#?}");
        let bots = seen.bots.iter().filter(|bot| bot.is_live()).count();
        Ending { took, bots, recorded, is_by_hints }
    }

    async fn settle(&self, queue: Queue) {
        let began = Instant::now();
        while self.recall.has_pending_webhooks().await || !waiting(&self.db, queue).await.is_empty() {
            let waiting = waiting(&self.db, queue).await;
            assert!(began.elapsed() < CONVERGE_LIMIT, "the queue does not come to rest: {waiting}");
            tokio::time::sleep(super::LOOK_AGAIN).await;
        }
    }

    async fn request_full_syncs(&self) {
        let connected = sqlx::query_scalar("select id from calendars where status = 'connected' and gone_at is null");
        let ids: Vec<Uuid> = connected.fetch_all(&self.db).await.unwrap();
        let (since, deadline) = (Some(DateTime::UNIX_EPOCH), Clock::system().now());
        let full =
            |id| Request { key: Key::Calendar(CalendarId(id)), since, deadline, cause: "a test", events_only: false };
        self.request(&ids.into_iter().map(full).collect::<Vec<_>>()).await;
    }

    async fn request(&self, requests: &[Request<'_>]) {
        let mut db = self.db.acquire().await.unwrap();
        queue::request(&mut db, requests, Clock::system().now()).await.unwrap();
    }

    /// P1: what was acknowledged is recorded, and of the load nothing else: each delivery was sent until it was.
    async fn check_recorded(&self, sent: &Sent) -> usize {
        let mut acknowledged = self.recall.acknowledged().await;
        acknowledged.extend(sent.acknowledged.iter().cloned());
        let lost = sqlx::query_scalar::<_, i64>(
            "select count(*) from unnest($1::text[]) as id
             where not exists (select from deliveries where deliveries.id = id.id)",
        );
        let lost = lost.bind(&acknowledged).fetch_one(&self.db).await.unwrap();
        assert_eq!(lost, 0, "of {} acknowledged deliveries so many are lost", acknowledged.len());
        let of_load = sqlx::query_scalar::<_, i64>("select count(*) from deliveries where id like 'msg\\_load%'");
        let of_load = of_load.fetch_one(&self.db).await.unwrap();
        assert_eq!(of_load, i64::try_from(sent.acknowledged.len()).unwrap(), "the load's deliveries");
        acknowledged.len()
    }

    /// Waits until each calendar is mirrored and each meeting has its bot.
    pub async fn until_calm(&self) {
        let policy = self.policy();
        until("the bots are as they should be", CONVERGE_LIMIT, async || {
            check_bots(&self.recall.seen().await, &policy, &Past::default()).is_ok()
                && waiting(&self.db, Queue::IsEmpty).await.is_empty()
        })
        .await;
    }
}

/// When the queue has come to rest.
#[derive(Clone, Copy, PartialEq)]
enum Queue {
    /// Nothing is left but the sweep.
    IsEmpty,
    /// Nothing is left but the sweep and what waits for it.
    IsParked,
}

/// What the queue waits for, in words.
async fn waiting(db: &PgPool, queue: Queue) -> String {
    let waiting = sqlx::query_scalar::<_, Option<String>>(
        "select string_agg(concat_ws(' ', kind, key, 'due', due_at, 'leased', leased_until, 'attempt', attempt,
             waits_for, last_error), '; ')
         from (select * from reconcile_queue where kind <> 'sweep' and (isfinite(due_at) or $1) limit 20) as queue",
    );
    waiting.bind(queue == Queue::IsEmpty).fetch_one(db).await.unwrap().unwrap_or_default()
}
