//! The queue: P7, and that no hint is lost whatever becomes of a turn.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use rollcall::{
    domain::calendar::CalendarId,
    store::{
        Error,
        queue::{self, Claimed, Key, Request},
    },
};
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
        queue::request(&mut db, &[Request { key, since, deadline: self.0.now() }], self.0.now()).await.unwrap();
    }

    async fn claim(&self) -> Option<Claimed> {
        let mut claimed = queue::claim(&self.0.db, 10, &[], self.0.now(), LEASE).await.unwrap();
        assert!(claimed.len() <= 1);
        claimed.pop()
    }

    async fn settle(&self, claimed: &Claimed) -> Result<(), Error> {
        let mut db = self.0.db.acquire().await.unwrap();
        queue::settle(&mut db, claimed, claimed.generation, self.0.now()).await
    }
}

fn calendar() -> Key {
    Key::Calendar(CalendarId(Uuid::new_v4()))
}

fn time(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
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
    queue::retry(&queue.0.db, &claimed, queue.0.now(), "failed").await.unwrap();
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
            let claimed = queue::claim(&queue.0.db, 2, &[], queue.0.now(), LEASE).await.unwrap();
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
