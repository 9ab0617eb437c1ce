//! The queue: P7, and that no hint is lost whatever becomes of a turn.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use rollcall::{
    domain::{budget::CallClass, calendar::CalendarId, event::EventId},
    store::{
        Error,
        pages::{self, Requests, RunAfter, Sequel},
        queue::{self, Claimed, Key, Request, Wake, Wanted},
        queue_state, requests,
    },
};
use serde_json::json;
use sqlx::{Executor, PgPool, postgres::PgListener};
use uuid::Uuid;

use crate::world::World;

const LEASE: Duration = Duration::from_secs(90);

/// The queue of a world whose own keys are out of the way.
struct Queue(World);

impl Queue {
    async fn new() -> Self {
        let world = World::new().await;
        world.settle().await;
        Self(world)
    }

    async fn request(&self, key: Key, since: Option<&str>) {
        let mut db = self.0.db.acquire().await.unwrap();
        let since = since.map(|since| since.parse().unwrap());
        queue::request(
            &mut db,
            &[Request { key, since, deadline: self.0.now(), cause: "a test", events_only: false }],
            self.0.now(),
        )
        .await
        .unwrap();
    }

    async fn claim(&self) -> Option<Claimed> {
        let mut claimed = wake_and_claim(&self.0.db, any(10), self.0.now()).await;
        assert!(claimed.len() <= 1);
        claimed.pop()
    }

    async fn settle(&self, claimed: &Claimed) -> Result<(), Error> {
        let mut db = self.0.db.acquire().await.unwrap();
        queue::settle(&mut db, claimed, claimed.generation, self.0.now()).await.map(drop)
    }
}

/// Up to so many keys of any kind.
pub fn any(keys: usize) -> Wanted<'static> {
    Wanted { keys, listings: keys, blocked: &[], is_newest: true }
}

/// As a worker does, which wakes what has come due once a second.
pub async fn wake_and_claim(db: &PgPool, wanted: Wanted<'_>, now: DateTime<Utc>) -> Vec<Claimed> {
    queue::wake_due(db, now).await.unwrap();
    queue::claim(db, wanted, now, LEASE).await.unwrap()
}

fn calendar() -> Key {
    Key::Calendar(CalendarId(Uuid::new_v4()))
}

fn time(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

#[tokio::test]
async fn statements_are_planned_once_and_by_indexes_however_few_rows_there_are() {
    let world = World::new().await;
    world.calendar("ada@acme.test").await;
    world.execute("analyze").await;
    let mut db = world.db.acquire().await.unwrap();
    db.execute("prepare by_id (uuid) as select from calendars where id = $1").await.unwrap();
    let explain = "explain (costs off) execute by_id ('00000000-0000-0000-0000-000000000000')";
    let plan: Vec<String> = sqlx::query_scalar(explain).fetch_all(&mut *db).await.unwrap();
    assert!(plan.concat().contains("Index Cond: (id = $1)"), "{plan:?}");
    drop(db);
    world.finish().await;
}

#[tokio::test]
async fn fifty_requests_during_a_turn_cause_one_more_turn() {
    let queue = Queue::new().await;
    let key = calendar();
    queue.request(key, None).await;
    let first = queue.claim().await.unwrap();
    for _ in 0..50 {
        queue.request(key, None).await;
        assert!(queue.claim().await.is_none(), "never two turns for one key at once");
    }
    queue.settle(&first).await.unwrap();
    let second = queue.claim().await.unwrap();
    queue.settle(&second).await.unwrap();
    assert!(queue.claim().await.is_none());
    queue.0.finish().await;
}

#[tokio::test]
async fn a_key_that_left_the_queue_and_came_back_is_another() {
    let queue = Queue::new().await;
    let key = calendar();
    queue.request(key, None).await;
    let first = queue.claim().await.unwrap();
    queue.0.advance(TimeDelta::seconds(91)); // its lease runs out
    let second = queue.claim().await.unwrap();
    queue.settle(&second).await.unwrap();
    queue.request(key, None).await;
    let third = queue.claim().await.unwrap();
    assert!(third.generation > first.generation);
    assert!(matches!(queue.settle(&first).await, Err(Error::LeaseLost)));
    queue.settle(&third).await.unwrap();
    queue.0.finish().await;
}

#[tokio::test]
async fn the_least_hint_wins_and_is_forgotten_only_when_it_was_answered() {
    let queue = Queue::new().await;
    let key = calendar();
    queue.request(key, Some("2026-01-20T08:00:00Z")).await;
    queue.request(key, Some("2026-01-20T07:00:00Z")).await;
    queue.request(key, None).await;
    let claimed = queue.claim().await.unwrap();
    assert_eq!(claimed.since, Some(time("2026-01-20T07:00:00Z")));

    // A request during a turn that fails: the next turn has to answer both.
    queue.request(key, Some("2026-01-20T07:30:00Z")).await;
    queue::retry(&queue.0.db, &claimed, queue.0.now(), "failed", queue.0.now()).await.unwrap();
    let claimed = queue.claim().await.unwrap();
    assert_eq!((claimed.since, claimed.attempt), (Some(time("2026-01-20T07:00:00Z")), 1));

    // A request during a turn that settles: the next turn has to answer that alone.
    queue.request(key, Some("2026-01-20T08:30:00Z")).await;
    queue.settle(&claimed).await.unwrap();
    let claimed = queue.claim().await.unwrap();
    assert_eq!((claimed.since, claimed.attempt), (Some(time("2026-01-20T08:30:00Z")), 0));
    queue.settle(&claimed).await.unwrap();
    queue.0.finish().await;
}

#[tokio::test]
async fn a_turn_that_died_is_taken_again_with_its_hint() {
    let queue = Queue::new().await;
    queue.request(calendar(), Some("2026-01-20T08:00:00Z")).await;
    let died = queue.claim().await.unwrap();
    queue.0.advance(TimeDelta::seconds(89));
    assert!(queue.claim().await.is_none());
    queue.0.advance(TimeDelta::seconds(1));
    let again = queue.claim().await.unwrap();
    assert_eq!((again.since, again.attempt), (died.since, 1));
    assert!(matches!(queue::save_progress(&queue.0.db, &died, &1.into()).await, Err(Error::LeaseLost)));
    queue.settle(&again).await.unwrap();
    queue.0.finish().await;
}

#[tokio::test]
async fn a_parked_key_is_woken_by_the_next_request_even_one_during_its_turn() {
    let queue = Queue::new().await;
    let key = calendar();
    queue.request(key, None).await;
    let claimed = queue.claim().await.unwrap();
    queue::park(&queue.0.db, &claimed, "for good", queue.0.now()).await.unwrap();
    queue.0.advance(TimeDelta::days(30));
    queue.0.settle().await; // sweeps, which have nothing to do with it
    assert!(queue.claim().await.is_none());

    queue.request(key, None).await;
    let claimed = queue.claim().await.unwrap();
    assert_eq!(claimed.attempt, 0);
    queue.request(key, None).await;
    queue::park(&queue.0.db, &claimed, "for good", queue.0.now()).await.unwrap();
    let claimed = queue.claim().await.unwrap();
    queue.settle(&claimed).await.unwrap();
    queue.0.finish().await;
}

#[tokio::test]
async fn concurrent_requests_claims_and_settlements_lose_no_update() {
    let queue = Queue::new().await;
    let keys: Vec<Key> = (0..4).map(|_| calendar()).collect();
    // What a turn saw of each key, and what was written last: a lost update leaves them apart.
    queue
        .0
        .execute(
            "create table truth (key uuid primary key, written int not null default 0, seen int not null default 0)",
        )
        .await;
    for key in &keys {
        queue.0.execute(&format!("insert into truth (key) values ('{}')", key.id())).await;
    }
    let writers = keys.iter().map(async |key| {
        for _ in 0..40 {
            queue.0.execute(&format!("update truth set written = written + 1 where key = '{}'", key.id())).await;
            queue.request(*key, None).await;
        }
    });
    let reader = async || {
        let mut idle = 0;
        while idle < 200 {
            let claimed = wake_and_claim(&queue.0.db, any(2), queue.0.now()).await;
            idle = if claimed.is_empty() { idle + 1 } else { 0 };
            for claimed in claimed {
                let id = claimed.key.id();
                let written = queue.0.query(&format!("select written from truth where key = '{id}'")).await;
                queue.0.execute(&format!("update truth set seen = {written} where key = '{id}'")).await;
                queue.settle(&claimed).await.unwrap();
            }
        }
    };
    let writers = futures_util::future::join_all(writers);
    tokio::join!(writers, reader(), reader());
    assert_eq!(queue.0.query("select count(*) from truth where seen <> written").await, "0");
    queue.0.finish().await;
}

#[tokio::test]
async fn wishes_of_one_commit_for_one_key_are_one_request_with_the_least_hint() {
    let queue = Queue::new().await;
    let key = calendar();
    let wish = |since: Option<&str>, minutes| Request {
        key,
        since: since.map(time),
        deadline: queue.0.in_minutes(minutes),
        cause: "a test",
        events_only: false,
    };
    let wishes = [wish(Some("2026-01-20T08:00:00Z"), 3), wish(Some("2026-01-20T07:00:00Z"), 1), wish(None, 2)];
    queue::request(&mut queue.0.db.acquire().await.unwrap(), &wishes, queue.0.now()).await.unwrap();
    let deadline = queue.0.query("select to_json(deadline)#>>'{}' from reconcile_queue where kind = 'calendar'").await;
    assert_eq!(time(&deadline), queue.0.in_minutes(1));
    let claimed = queue.claim().await.unwrap();
    assert_eq!(claimed.since, Some(time("2026-01-20T07:00:00Z")));
    queue.settle(&claimed).await.unwrap();
    queue.0.finish().await;
}

#[tokio::test]
async fn the_deadline_of_an_event_follows_its_start_and_that_of_a_calendar_only_gets_nearer() {
    let queue = Queue::new().await;
    let event = Key::Event(EventId(Uuid::new_v4()));
    for (key, expected) in [(event, [60, 30, 90]), (calendar(), [60, 30, 30])] {
        for (minutes, expected) in [60, 30, 90].into_iter().zip(expected) {
            let wish = Request {
                key,
                since: None,
                deadline: queue.0.in_minutes(minutes),
                cause: "a test",
                events_only: false,
            };
            queue::request(&mut queue.0.db.acquire().await.unwrap(), &[wish], queue.0.now()).await.unwrap();
            let deadline =
                format!("select to_json(deadline)#>>'{{}}' from reconcile_queue where kind = '{}'", key.kind());
            assert_eq!(time(&queue.0.query(&deadline).await), queue.0.in_minutes(expected), "{key:?}");
        }
        let claimed = queue.claim().await.unwrap();
        queue.settle(&claimed).await.unwrap();
    }
    queue.0.finish().await;
}

#[tokio::test]
async fn a_request_for_a_key_that_fails_is_heard_at_once_and_forgives_no_attempt() {
    let queue = Queue::new().await;
    let key = calendar();
    queue.request(key, None).await;
    let claimed = queue.claim().await.unwrap();
    queue::retry(&queue.0.db, &claimed, queue.0.in_minutes(5), "failed", queue.0.now()).await.unwrap();
    assert!(queue.claim().await.is_none());
    assert_eq!(queue.0.query("select last_error from reconcile_queue where kind = 'calendar'").await, "failed");
    queue.request(key, None).await;
    let claimed = queue.claim().await.unwrap();
    assert_eq!(claimed.attempt, 1);
    queue.settle(&claimed).await.unwrap();
    queue.0.finish().await;
}

#[tokio::test]
async fn requests_during_an_outage_do_not_lengthen_the_pause_after_it() {
    let queue = Queue::new().await;
    let key = calendar();
    queue.request(key, None).await;
    let claimed = queue.claim().await.unwrap();
    queue::retry(&queue.0.db, &claimed, queue.0.in_minutes(1), "failed", queue.0.now()).await.unwrap();
    for _ in 0..10 {
        queue.request(key, None).await;
        let claimed = queue.claim().await.unwrap();
        assert_eq!(claimed.attempt, 1);
        queue::retry(&queue.0.db, &claimed, queue.0.in_minutes(5), "failed", queue.0.now()).await.unwrap();
    }
    queue.0.advance(TimeDelta::minutes(1));
    let claimed = queue.claim().await.expect("it rested for a minute");
    queue::retry(&queue.0.db, &claimed, queue.0.in_minutes(2), "failed", queue.0.now()).await.unwrap();
    queue.0.advance(TimeDelta::minutes(2));
    let claimed = queue.claim().await.unwrap();
    assert_eq!(claimed.attempt, 2);
    queue.settle(&claimed).await.unwrap();
    queue.0.finish().await;
}

#[tokio::test]
async fn what_is_requested_during_a_turn_that_fails_or_is_put_off_is_heard_at_once() {
    let queue = Queue::new().await;
    let key = calendar();
    queue.request(key, None).await;
    let claimed = queue.claim().await.unwrap();
    queue.request(key, None).await;
    queue::retry(&queue.0.db, &claimed, queue.0.in_minutes(5), "failed", queue.0.now()).await.unwrap();
    let claimed = queue.claim().await.expect("it was requested meanwhile");
    queue.request(key, None).await;
    queue::retry(&queue.0.db, &claimed, queue.0.in_minutes(9), "failed", queue.0.now()).await.unwrap();
    assert!(queue.claim().await.is_none(), "once: webhooks in an outage do not add up");
    queue.0.advance(TimeDelta::minutes(5));
    let claimed = queue.claim().await.unwrap();
    assert_eq!(claimed.attempt, 1);
    queue.request(key, None).await;
    queue::put_off(&queue.0.db, &claimed, queue.0.in_minutes(5), None, queue.0.now()).await.unwrap();
    let claimed = queue.claim().await.expect("likewise");
    queue::put_off(&queue.0.db, &claimed, queue.0.in_minutes(5), None, queue.0.now()).await.unwrap();
    assert!(queue.claim().await.is_none());
    queue.0.advance(TimeDelta::minutes(5));
    let claimed = queue.claim().await.unwrap();
    queue.settle(&claimed).await.unwrap();
    queue.0.finish().await;
}

#[tokio::test]
async fn a_key_that_comes_back_starts_anew_and_at_once_if_it_was_requested_meanwhile() {
    let queue = Queue::new().await;
    let key = calendar();
    queue.request(key, Some("2026-01-20T08:00:00Z")).await;
    let claimed = queue.claim().await.unwrap();
    queue::save_progress(&queue.0.db, &claimed, &1.into()).await.unwrap();
    queue::retry(&queue.0.db, &claimed, queue.0.now(), "failed", queue.0.now()).await.unwrap();
    let claimed = queue.claim().await.unwrap();
    assert_eq!((claimed.attempt, claimed.progress.clone()), (1, Some(1.into())));
    queue::come_back(&queue.0.db, &claimed, queue.0.in_minutes(1), queue.0.now()).await.unwrap();
    assert!(queue.claim().await.is_none());
    queue.0.advance(TimeDelta::minutes(1));
    let claimed = queue.claim().await.unwrap();
    assert_eq!((claimed.attempt, &claimed.progress, claimed.since), (0, &None, None));

    queue.request(key, None).await;
    queue::come_back(&queue.0.db, &claimed, queue.0.in_minutes(1), queue.0.now()).await.unwrap();
    let claimed = queue.claim().await.unwrap();
    queue.settle(&claimed).await.unwrap();
    queue.0.finish().await;
}

#[tokio::test]
async fn what_is_due_at_once_need_not_be_woken() {
    let queue = Queue::new().await;
    let (db, now, later) = (&queue.0.db, queue.0.now(), queue.0.in_minutes(1));
    let claim = async |now| queue::claim(db, any(1), now, LEASE).await.unwrap().pop();
    queue.request(calendar(), None).await;
    let claimed = claim(now).await.unwrap();
    queue::put_off(db, &claimed, now, None, now).await.unwrap();
    for ends in ["comes back", "is parked"] {
        let claimed = claim(now).await.expect("it was requested before its turn ended");
        queue.request(claimed.key, None).await;
        match ends {
            "comes back" => queue::come_back(db, &claimed, later, now).await.unwrap(),
            _ => queue::park(db, &claimed, "failed", now).await.unwrap(),
        }
    }
    let claimed = claim(now).await.expect("it was requested before it was parked");
    queue::put_off(db, &claimed, later, None, now).await.unwrap();
    assert!(claim(later).await.is_none(), "nobody has looked for what has come due");
    let claimed = wake_and_claim(db, any(1), later).await.pop().unwrap();
    queue.settle(&claimed).await.unwrap();
    queue.0.finish().await;
}

#[tokio::test]
async fn a_turn_that_lost_its_lease_ends_nothing() {
    let queue = Queue::new().await;
    let (key, now) = (calendar(), queue.0.now());
    queue.request(key, None).await;
    let lost = queue.claim().await.unwrap();
    queue.0.advance(TimeDelta::seconds(91)); // its lease runs out
    let claimed = queue.claim().await.unwrap();
    let row = "select to_json(queue) from reconcile_queue as queue where kind = 'calendar'";
    let before = queue.0.query(row).await;
    let db = &queue.0.db;
    let ends = [
        queue.settle(&lost).await,
        queue::come_back(db, &lost, now, now).await,
        queue::retry(db, &lost, now, "failed", now).await,
        queue::put_off(db, &lost, now, None, now).await,
        queue::park(db, &lost, "failed", now).await,
        queue::save_progress(db, &lost, &1.into()).await,
        keep_progress_with_a_page(&queue.0, &lost).await,
    ];
    for end in ends {
        assert!(matches!(end, Err(Error::LeaseLost)), "{end:?}");
    }
    assert_eq!(queue.0.query(row).await, before);
    queue.settle(&claimed).await.unwrap();
    queue.0.finish().await;
}

async fn keep_progress_with_a_page(world: &World, claimed: &Claimed) -> Result<(), Error> {
    let sequel = Sequel {
        requests: Requests { cause: &|_| None, are_of_all: false },
        run: RunAfter::GoesOn(claimed, &json!({ "changed": 1 })),
        is_likely_known: false,
        now: world.now(),
        told_by: &Wake::default(),
    };
    let mut db = world.db.acquire().await.unwrap();
    pages::mirror_page(&mut db, &[], world.now(), sequel).await.map(drop)
}

#[tokio::test]
async fn keys_are_counted_by_what_they_wait_for() {
    let queue = Queue::new().await;
    queue.request(Key::Event(EventId(Uuid::new_v4())), None).await;
    let left = queue.claim().await.unwrap();
    queue::leave_to_newest(&queue.0.db, &left, None, queue.0.now()).await.unwrap();
    let keys: Vec<Claimed> = {
        for _ in 0..4 {
            queue.request(calendar(), None).await;
        }
        let older = Wanted { is_newest: false, ..any(4) };
        wake_and_claim(&queue.0.db, older, queue.0.now()).await
    };
    queue::park(&queue.0.db, &keys[0], "failed", queue.0.now()).await.unwrap();
    queue::put_off(&queue.0.db, &keys[1], queue.0.now(), Some(CallClass::List), queue.0.now()).await.unwrap();
    queue::retry(&queue.0.db, &keys[2], queue.0.in_minutes(5), "failed", queue.0.now()).await.unwrap();
    queue.request(calendar(), None).await;
    queue.0.advance(TimeDelta::seconds(7));
    let mut depths = queue_state::depths(&queue.0.db, queue.0.now()).await.unwrap();
    let of_events = depths.iter().find(|depth| depth.kind == "event");
    assert_eq!(of_events.map(|depth| depth.state.as_str()), Some("due"), "by those who may take it");
    depths.retain(|depth| depth.kind == "calendar");
    depths.sort_by(|a, b| a.state.cmp(&b.state));
    let states: Vec<_> = depths.iter().map(|depth| (depth.state.as_str(), depth.keys, depth.oldest_secs)).collect();
    assert_eq!(states, ["budget", "due", "later", "leased", "parked"].map(|state| (state, 1, 7.0)));
    queue.0.execute("delete from reconcile_queue where kind <> 'sweep'").await;
    queue.0.finish().await;
}

#[tokio::test]
async fn a_commit_that_makes_keys_due_is_told() {
    let queue = Queue::new().await;
    let mut listener = PgListener::connect_with(&queue.0.db).await.unwrap();
    listener.listen(queue::CHANNEL).await.unwrap();
    let mut tx = queue.0.db.begin().await.unwrap();
    let key = calendar();
    queue::request(
        &mut tx,
        &[Request { key, since: None, deadline: queue.0.now(), cause: "a test", events_only: false }],
        queue.0.now(),
    )
    .await
    .unwrap();
    tx.commit().await.unwrap();
    tokio::time::timeout(Duration::from_secs(10), listener.recv()).await.expect("nobody was told").unwrap();
    drop(listener);
    let claimed = queue.claim().await.unwrap();
    queue.settle(&claimed).await.unwrap();
    queue.0.finish().await;
}

#[tokio::test]
async fn a_key_that_another_is_about_to_claim_is_passed_over() {
    let queue = Queue::new().await;
    queue.request(calendar(), None).await;
    let mut tx = queue.0.db.begin().await.unwrap();
    let first = queue::claim(&mut *tx, any(10), queue.0.now(), LEASE).await.unwrap();
    let second = tokio::time::timeout(Duration::from_secs(10), queue.claim()).await.expect("it waits for the other");
    assert!(second.is_none(), "never two turns for one key at once");
    tx.commit().await.unwrap();
    queue.settle(&first[0]).await.unwrap();
    queue.0.finish().await;
}

#[tokio::test]
async fn events_that_wait_for_budget_or_for_the_newest_configuration_are_not_claimed_by_an_older_one() {
    let queue = Queue::new().await;
    let event = Key::Event(EventId(Uuid::new_v4()));
    let (db, now) = (&queue.0.db, queue.0.now());
    let claim_older = async || wake_and_claim(db, Wanted { is_newest: false, ..any(1) }, now).await.pop();
    let claim_requested = async |key| {
        queue.request(key, None).await;
        claim_older().await.unwrap()
    };

    let claimed = claim_requested(event).await;
    queue::leave_to_newest(db, &claimed, None, now).await.unwrap();
    assert!(claim_older().await.is_none());
    queue.settle(&queue.claim().await.unwrap()).await.unwrap();

    let claimed = claim_requested(event).await;
    queue::put_off(db, &claimed, now, Some(CallClass::ScheduleBot), now).await.unwrap();
    assert!(claim_older().await.is_none());
    queue::release_events(db).await.unwrap();
    let claimed = claim_older().await.unwrap();

    // It changed during the turn: the older one has not looked at that.
    queue.request(event, None).await;
    queue::leave_to_newest(db, &claimed, None, now).await.unwrap();
    let claimed = claim_older().await.unwrap();
    queue::leave_to_newest(db, &claimed, None, now).await.unwrap();
    queue::release_events(db).await.unwrap();
    assert!(claim_older().await.is_none());
    queue.settle(&queue.claim().await.unwrap()).await.unwrap();

    let claimed = claim_requested(calendar()).await;
    queue::put_off(db, &claimed, now, Some(CallClass::List), now).await.unwrap();
    queue.settle(&claim_older().await.unwrap()).await.unwrap();
    queue.0.finish().await;
}

#[tokio::test]
async fn a_key_waits_for_budget_at_no_cost_and_only_until_it_is_claimed() {
    let queue = Queue::new().await;
    queue.request(calendar(), None).await;
    let claimed = queue.claim().await.unwrap();
    queue::put_off(&queue.0.db, &claimed, queue.0.now(), Some(CallClass::Read), queue.0.now()).await.unwrap();
    let claim_without = async |class| {
        let wanted = Wanted { blocked: &[class], ..any(1) };
        wake_and_claim(&queue.0.db, wanted, queue.0.now()).await.pop()
    };
    assert!(claim_without(CallClass::Read).await.is_none());
    let claimed = claim_without(CallClass::List).await.unwrap();
    assert_eq!(claimed.attempt, 0);
    queue::retry(&queue.0.db, &claimed, queue.0.now(), "failed for another reason", queue.0.now()).await.unwrap();
    let claimed = claim_without(CallClass::Read).await.unwrap();
    queue.settle(&claimed).await.unwrap();
    queue.0.finish().await;
}

#[tokio::test]
async fn what_is_parked_is_woken_anew_and_what_waits_is_left_to_wait() {
    let queue = Queue::new().await;
    let [parked, waiting] = [(); 2].map(|()| Key::Event(EventId(Uuid::new_v4())));
    queue.request(parked, None).await;
    let claimed = queue.claim().await.unwrap();
    queue::park(&queue.0.db, &claimed, "for good", queue.0.now()).await.unwrap();
    queue.request(waiting, None).await;
    let claimed = queue.claim().await.unwrap();
    queue::retry(&queue.0.db, &claimed, queue.0.in_minutes(5), "failed", queue.0.now()).await.unwrap();
    assert_eq!(requests::wake_parked(&mut queue.0.db.acquire().await.unwrap(), queue.0.now()).await.unwrap(), 1);
    let claimed = queue.claim().await.unwrap();
    assert_eq!((claimed.key, claimed.attempt), (parked, 0));
    queue.settle(&claimed).await.unwrap();
    queue.0.advance(TimeDelta::minutes(5));
    queue.0.finish().await;
}

#[tokio::test]
async fn a_list_of_the_workspace_that_is_parked_is_woken_too() {
    let queue = Queue::new().await;
    queue.request(Key::Workspace, None).await;
    let claimed = queue.claim().await.unwrap();
    queue::park(&queue.0.db, &claimed, "for good", queue.0.now()).await.unwrap();
    assert_eq!(requests::wake_parked(&mut queue.0.db.acquire().await.unwrap(), queue.0.now()).await.unwrap(), 1);
    let claimed = queue.claim().await.unwrap();
    queue.settle(&claimed).await.unwrap();
    queue.0.finish().await;
}

#[tokio::test]
async fn a_meeting_about_to_begin_goes_before_all_that_waits() {
    let queue = Queue::new().await;
    let event = || Key::Event(EventId(Uuid::new_v4()));
    let [in_9, in_10, in_11, listed] = [event(), event(), event(), calendar()];
    let wish = |key, minutes| Request {
        key,
        since: None,
        deadline: queue.0.in_minutes(minutes),
        cause: "a test",
        events_only: false,
    };
    let wishes = [wish(in_10, 10), wish(listed, -60), wish(in_11, 11), wish(in_9, 9)];
    queue::request(&mut queue.0.db.acquire().await.unwrap(), &wishes, queue.0.now()).await.unwrap();
    let all = wake_and_claim(&queue.0.db, any(10), queue.0.now()).await;
    assert_eq!(all.iter().map(|claimed| claimed.key).collect::<Vec<_>>(), [in_9, in_10, listed, in_11]);
    for claimed in &all {
        queue::put_off(&queue.0.db, claimed, queue.0.now(), None, queue.0.now()).await.unwrap();
    }
    for key in [in_9, in_10, listed, in_11] {
        let claimed = wake_and_claim(&queue.0.db, any(1), queue.0.now()).await.pop().unwrap();
        assert_eq!(claimed.key, key);
        queue.settle(&claimed).await.unwrap();
    }
    queue.0.finish().await;
}

#[tokio::test]
async fn calendars_get_no_more_than_their_share_of_a_claim() {
    let queue = Queue::new().await;
    for _ in 0..4 {
        queue.request(calendar(), None).await;
    }
    queue.request(Key::Event(EventId(Uuid::new_v4())), None).await;
    let claim = async |keys, listings| {
        let wanted = Wanted { keys, listings, blocked: &[], is_newest: true };
        let claimed = wake_and_claim(&queue.0.db, wanted, queue.0.now()).await;
        let listings = claimed.iter().filter(|claimed| matches!(claimed.key, Key::Calendar(_))).count();
        for claimed in &claimed {
            queue.settle(claimed).await.unwrap();
        }
        (claimed.len(), listings)
    };
    assert_eq!(claim(10, 2).await, (3, 2));
    assert_eq!(claim(10, 0).await, (0, 0));
    assert_eq!(claim(1, 2).await, (1, 1));
    assert_eq!(claim(10, 10).await, (1, 1));
    queue.0.finish().await;
}

#[tokio::test]
async fn keys_that_come_due_are_claimed_in_the_order_of_their_deadlines_however_many_they_are() {
    let queue = Queue::new().await;
    let now = queue.0.now();
    // The sooner a deadline, the later it comes due.
    queue
        .0
        .execute(&format!(
            "insert into reconcile_queue (kind, key, requested_at, due_at, is_due, deadline)
             select 'event', gen_random_uuid(), '{now}', '{now}'::timestamptz + interval '1 minute' - n * interval '1 ms',
                 false, '{now}'::timestamptz + n * interval '1 minute'
             from generate_series(1, 2500) as n"
        ))
        .await;
    assert!(queue.claim().await.is_none());
    queue.0.advance(TimeDelta::minutes(1));
    let claimed = wake_and_claim(&queue.0.db, any(3), queue.0.now()).await;
    let minutes: Vec<i64> = claimed.iter().map(|key| (key.deadline - queue.0.now()).num_minutes()).collect();
    assert_eq!(minutes, [0, 1, 2], "the first three deadlines, which came due last");
    queue.0.execute("delete from reconcile_queue where kind = 'event'").await;
    queue.0.finish().await;
}

#[tokio::test]
async fn keys_of_several_classes_are_claimed_in_one_order() {
    let queue = Queue::new().await;
    let classes = [Some(CallClass::Read), None, Some(CallClass::ScheduleBot), Some(CallClass::List), None];
    let mut claimed = vec![];
    for minutes in 60..65 {
        let key = Key::Event(EventId(Uuid::new_v4()));
        let wish =
            Request { key, since: None, deadline: queue.0.in_minutes(minutes), cause: "a test", events_only: false };
        queue::request(&mut queue.0.db.acquire().await.unwrap(), &[wish], queue.0.now()).await.unwrap();
        claimed.push(queue.claim().await.unwrap());
    }
    for (claimed, class) in claimed.iter().zip(classes) {
        queue::put_off(&queue.0.db, claimed, queue.0.now(), class, queue.0.now()).await.unwrap();
    }
    let deadlines = async |keys, blocked: &[CallClass]| {
        let wanted = Wanted { blocked, ..any(keys) };
        let claimed = wake_and_claim(&queue.0.db, wanted, queue.0.now()).await;
        claimed.iter().map(|claimed| (claimed.deadline - queue.0.now()).num_minutes()).collect::<Vec<_>>()
    };
    assert_eq!(deadlines(2, &[CallClass::Read]).await, [61, 62]);
    assert_eq!(deadlines(10, &[CallClass::List]).await, [60, 64]);
    assert_eq!(deadlines(10, &[]).await, [63]);
    queue.0.execute("delete from reconcile_queue where kind = 'event'").await;
    queue.0.finish().await;
}
