//! Accepting (number 2 of the main job): P1, and what each kind of body is answered.

use std::time::{Duration, Instant};

use futures_util::{FutureExt, future::join_all};
use reqwest::Client;
use rollcall::{
    http::inbox::{Inbox, NotCommitted},
    store::{self, deliveries::Delivery, queue::Wake},
};
use serde_json::json;
use sqlx::Executor;
use tokio::task::unconstrained;
use uuid::Uuid;

use crate::{
    process::talk,
    receive::{Post, update, update_of},
    world::World,
};

#[tokio::test]
async fn a_delivery_and_its_request_are_committed_before_the_answer() {
    let world = World::new().await;
    let calendar = Uuid::new_v4();
    let body = format!(
        r#"{{"event":"calendar.sync_events","data":{{"calendar_id":"{calendar}","last_updated_ts":"2026-01-20T08:00:00.123456+00:00"}}}}"#
    );
    assert_eq!(Post::signed(&world, "msg_1", &body).status(&world).await, 204);
    let row = "select concat_ws(' ', id, topic, calendar_id, last_updated_ts at time zone 'utc', proved_by, received_at at time zone 'utc') from deliveries";
    assert_eq!(
        world.query(row).await,
        format!("msg_1 calendar.sync_events {calendar} 2026-01-20 08:00:00.123456 secret 1 2026-01-20 09:00:00")
    );
    let since = world.query("select since at time zone 'utc' from reconcile_queue where kind = 'calendar'").await;
    assert_eq!(since, "2026-01-20 08:00:00.123456");
    world.finish().await;
}

#[tokio::test]
async fn a_repeated_delivery_costs_nothing_more() {
    let world = World::new().await;
    let body = update_of(world.calendar("ada@acme.test").await);
    assert_eq!(Post::signed(&world, "msg_1", &body).status(&world).await, 204);
    world.settle().await;
    world.sim.clear_calls();
    for _ in 0..3 {
        assert_eq!(Post::signed(&world, "msg_1", &body).status(&world).await, 204);
    }
    assert_eq!(world.take_turns().await, 0);
    assert_eq!(world.sim.calls(), []);
    world.finish().await;
}

/// A storm for a calendar that waits writes its deliveries and nothing else. Whatever the turn to come would not answer is
/// requested.
#[tokio::test]
async fn a_delivery_leaves_a_key_alone_whose_turn_will_answer_it_and_no_other() {
    let world = World::new().await;
    let (calendar, waiting) = (Uuid::new_v4(), "reconcile_queue where kind = 'calendar'");
    let sync = |since: &str| {
        let data = json!({ "calendar_id": calendar, "last_updated_ts": since });
        json!({ "event": "calendar.sync_events", "data": data }).to_string()
    };
    let generation = async || world.query(&format!("select generation from {waiting}")).await;
    let deliver = async |body: &str| {
        let id = format!("msg_{}", Uuid::new_v4().simple());
        assert_eq!(Post::signed(&world, &id, body).status(&world).await, 204);
        generation().await
    };
    let (early, usual, late) = ("2026-01-20T07:00:00Z", "2026-01-20T08:00:00Z", "2026-01-20T08:59:00Z");
    let first = deliver(&sync(usual)).await;
    for since in [usual, late] {
        assert_eq!(deliver(&sync(since)).await, first, "{since}");
    }
    let update = update_of(calendar);
    let cases = [
        ("it looks further back", "", sync(early)),
        ("the calendar itself changed", "", update.clone()),
        (
            "a turn has it in hand",
            "lease_token = gen_random_uuid(), leased_until = now() + interval '1 year'",
            sync(late),
        ),
        ("its run has begun", "progress = '{}'", sync(late)),
        ("a turn of it failed", "attempt = 1", sync(late)),
        ("it rests", "is_due = false", sync(late)),
        ("it rests for long", "due_at = '2026-01-20T10:00:00Z'", sync(late)),
        ("it is a sweep's, for later", "deadline = '2026-02-20T08:00:00Z'", sync(late)),
        ("its turn died, and who knows what it had to look at", "since = null", sync(late)),
    ];
    for (why, state, body) in cases {
        world.execute(&format!("delete from {waiting}")).await;
        let before = deliver(&sync(usual)).await;
        if !state.is_empty() {
            world.execute(&format!("update reconcile_queue set {state} where kind = 'calendar'")).await;
        }
        assert_ne!(deliver(&body).await, before, "{why}");
    }
    world.execute(&format!("delete from {waiting}")).await;
    let before = deliver(&update).await;
    assert_eq!(deliver(&update).await, before, "all of it is looked at");
    assert_ne!(deliver(&sync(early)).await, before, "but no further back than to the cursor");
    world.finish_as_it_is().await;
}

/// It settles what was requested before it began, without a turn.
#[tokio::test]
async fn while_the_workspace_is_listed_each_delivery_is_requested() {
    let world = World::new().await;
    let generation = async || world.query("select generation from reconcile_queue where kind = 'calendar'").await;
    let body = update_of(Uuid::new_v4());
    assert_eq!(Post::signed(&world, "msg_1", &body).status(&world).await, 204);
    let before = generation().await;
    world
        .execute(
            "insert into reconcile_queue (kind, key, requested_at, due_at, deadline)
             values ('workspace', '00000000-0000-0000-0000-000000000000', now(), now(), now())",
        )
        .await;
    assert_eq!(Post::signed(&world, "msg_2", &body).status(&world).await, 204);
    assert_ne!(generation().await, before);
    world.finish_as_it_is().await;
}

/// It keeps one while deliveries follow each other, for as long as the pool has others.
#[tokio::test]
async fn the_inbox_gives_its_connection_back_where_others_wait_for_it_and_where_nothing_follows() {
    let world = World::new().await;
    let url = world.vars["DATABASE_URL"].clone();
    let deliver = async |inbox: &Inbox| assert_eq!(accept_at_once(&world, inbox, 1).await, [Ok(())]);

    let only = store::pool(&url.clone().into(), 1).unwrap();
    let (inbox, _writing) = Inbox::open(only.clone(), Duration::ZERO, Wake::default());
    deliver(&inbox).await;
    tokio::select! {
        () = async { loop { deliver(&inbox).await } } => {}
        taken = only.acquire() => drop(taken.expect("deliveries that follow each other keep it")),
    }

    let two = store::pool(&url.into(), 2).unwrap();
    let (inbox, _writing) = Inbox::open(two.clone(), Duration::ZERO, Wake::default());
    deliver(&inbox).await;
    let (first, second) = tokio::join!(two.acquire(), two.acquire());
    drop((first.unwrap(), second.expect("it is kept though nothing follows")));
    world.finish_as_it_is().await;
}

#[tokio::test]
async fn an_unknown_topic_is_recorded_and_left_alone() {
    let world = World::new().await;
    world.settle().await;
    world.sim.clear_calls();
    let bodies = [
        r#"{"event":"bot.done","data":{"bot":{"id":"1","metadata":{}},"data":{"code":"done"}}}"#,
        r#"{"event":"bot.status_change","data":null}"#,
        "{\"event\":\"odd\\u0000topic\"}",
    ];
    for (number, body) in bodies.iter().enumerate() {
        assert_eq!(Post::signed(&world, &format!("msg_{number}"), body).status(&world).await, 204);
    }
    assert_eq!(world.take_turns().await, 0);
    assert_eq!(world.query("select count(*) from deliveries where calendar_id is null").await, "3");
    assert_eq!(world.sim.calls(), []);
    world.finish().await;
}

#[tokio::test]
async fn a_broken_body_is_400_and_harms_nobody() {
    let world = World::new().await;
    let bodies = [
        "",
        "{",
        "[]",
        r#"{"data":{}}"#,
        r#"{"event":7}"#,
        r#"{"event":"calendar.update"}"#,
        r#"{"event":"calendar.update","data":{"calendar_id":"cal_abc123"}}"#,
        r#"{"event":"calendar.sync_events","data":{"calendar_id":"0b9f8f6e-7b0a-4b1e-9c60-4f4d0b1f2a11"}}"#,
        r#"{"event":"calendar.sync_events","data":{"calendar_id":"0b9f8f6e-7b0a-4b1e-9c60-4f4d0b1f2a11","last_updated_ts":"yesterday"}}"#,
    ];
    for body in bodies {
        assert_eq!(Post::signed(&world, "msg_1", body).status(&world).await, 400, "{body}");
    }
    assert_eq!(world.query("select count(*) from deliveries").await, "0", "so that the sender keeps it");
    assert_eq!(Post::signed(&world, "msg_1", &update()).status(&world).await, 204);
    world.finish().await;
}

#[tokio::test]
async fn a_time_that_postgres_cannot_store_is_refused_for_good() {
    let world = World::new().await;
    let body = |since: &str| {
        let calendar = Uuid::new_v4();
        let data = json!({ "calendar_id": calendar, "last_updated_ts": since });
        json!({ "event": "calendar.sync_events", "data": data }).to_string()
    };
    for (number, since) in ["-5000-01-01T00:00:00Z", "-0001-12-31T23:59:59Z"].into_iter().enumerate() {
        assert_eq!(Post::signed(&world, &format!("msg_{number}"), &body(since)).status(&world).await, 400, "{since}");
    }
    for since in ["0000-01-01T00:00:00Z", "+10000-01-01T00:00:00Z"] {
        assert_eq!(Post::signed(&world, since, &body(since)).status(&world).await, 204, "{since}");
    }
    world.finish().await;
}

#[tokio::test]
async fn a_body_of_more_than_64_kib_is_413() {
    let world = World::new().await;
    let padded = |length: usize| {
        let body = r#"{"event":"other","padding":""}"#;
        body.replace("\"\"", &format!("\"{}\"", "x".repeat(length - body.len())))
    };
    assert_eq!(Post::signed(&world, "msg_1", &padded(64 * 1024)).status(&world).await, 204);
    assert_eq!(Post::signed(&world, "msg_2", &padded(64 * 1024 + 1)).status(&world).await, 413);
    world.finish().await;
}

#[tokio::test]
async fn a_body_is_read_up_to_64_kib_whatever_length_was_announced() {
    let world = World::new().await;
    let addr = world.replica.url.strip_prefix("http://").unwrap();
    let head = "POST /webhooks/recall?token=another-token HTTP/1.1\r\nHost: x\r\nConnection: close\r\n";
    let announced = talk(addr, format!("{head}Content-Length: {}\r\n\r\n", 64 * 1024 + 1)).await;
    assert!(announced.starts_with("HTTP/1.1 413"), "before it was sent: {announced}");
    let chunk = "x".repeat(64 * 1024 + 1);
    let in_chunks =
        talk(addr, format!("{head}Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{chunk}\r\n0\r\n\r\n", chunk.len())).await;
    assert!(in_chunks.starts_with("HTTP/1.1 413"), "{in_chunks}");
    world.finish().await;
}

#[tokio::test]
async fn of_an_unknown_topic_a_hundred_characters_are_kept() {
    let world = World::new().await;
    let body = format!(r#"{{"event":"{}"}}"#, "ä".repeat(1000));
    assert_eq!(Post::signed(&world, "msg_1", &body).status(&world).await, 204);
    assert_eq!(world.query("select length(topic) from deliveries").await, "100");
    world.finish().await;
}

#[tokio::test]
async fn an_inbox_that_is_full_refuses_at_once() {
    let world = World::new().await;
    let (inbox, _writing) = Inbox::open(world.db.clone(), Duration::ZERO, Wake::default());
    let answers = accept_at_once(&world, &inbox, 5000).await;
    let accepted = answers.iter().filter(|answer| answer.is_ok()).count();
    assert!((1..5000).contains(&accepted), "{accepted}");
    assert_eq!(world.query("select count(*) from deliveries").await, accepted.to_string());
    world.finish().await;
}

#[tokio::test]
async fn what_cannot_be_committed_is_503_and_accepted_when_it_comes_again() {
    let world = World::new().await;
    let body = update();
    world.execute("alter table deliveries rename to away").await;
    let response = Post::signed(&world, "msg_1", &body).send(&world).await;
    assert_eq!(response.status().as_u16(), 503);
    assert!(response.headers().contains_key("retry-after"));
    world.execute("alter table away rename to deliveries").await;
    assert_eq!(Post::signed(&world, "msg_1", &body).status(&world).await, 204);
    world.finish().await;
}

#[tokio::test]
async fn a_database_that_says_nothing_keeps_no_sender_waiting_however_many_there_are() {
    let world = World::new().await;
    let (inbox, _writing) = Inbox::open(world.db.clone(), Duration::ZERO, Wake::default());
    // As long as this is held, no commit ends.
    let mut silence = world.db.begin().await.unwrap();
    silence.execute("lock table deliveries in exclusive mode").await.unwrap();
    let began = Instant::now();
    let answers = accept_at_once(&world, &inbox, 4000).await;
    assert!(answers.iter().all(Result::is_err));
    assert!(began.elapsed() < Duration::from_secs(15), "Recall waits for 15 s, and this took {:?}", began.elapsed());
    silence.rollback().await.unwrap();
    assert_eq!(accept_at_once(&world, &inbox, 1).await, [Ok(())]);
    world.finish().await;
}

#[tokio::test]
async fn deliveries_that_arrive_together_share_transactions() {
    let world = World::new().await;
    let (inbox, _writing) = Inbox::open(world.db.clone(), Duration::ZERO, Wake::default());
    let answers = accept_at_once(&world, &inbox, 200).await;
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 200);
    assert_eq!(world.query("select count(distinct xmin::text) from deliveries").await, "1");
    assert_eq!(world.query("select count(*) from deliveries").await, "200");
    world.finish().await;
}

#[tokio::test]
async fn one_delivery_that_the_database_refuses_does_not_harm_its_batch() {
    let world = World::new().await;
    world.execute("alter table deliveries add constraint no_poison check (topic <> 'poison')").await;
    let posts = (0..20).map(|number| {
        let body = if number == 7 { r#"{"event":"poison"}"#.to_owned() } else { update() };
        Post::signed(&world, &format!("msg_{number}"), &body).status(&world)
    });
    let statuses = join_all(posts).await;
    let refused: Vec<usize> = (0..20).filter(|number| statuses[*number] != 204).collect();
    assert_eq!(refused, [7]);
    assert_eq!(statuses[7], 503);
    world.finish().await;
}

#[tokio::test]
async fn only_post_is_allowed_and_other_paths_are_404() {
    for vars in [&[][..], &[("ADMIN_TOKEN", "operator-token")]] {
        let world = World::with(vars).await;
        let get = |path: &str| Client::new().get(format!("{}{path}", world.replica.url)).send();
        assert_eq!(get("/webhooks/recall").await.unwrap().status().as_u16(), 405);
        for unknown in ["/", "/webhooks/recall/", "/api/v1/none"] {
            assert_eq!(get(unknown).await.unwrap().status().as_u16(), 404, "{unknown}");
        }
        world.finish().await;
    }
}

#[tokio::test]
async fn a_transaction_whose_beginning_is_cut_off_is_not_left_open() {
    let world = World::new().await;
    let db = store::pool(&world.vars["DATABASE_URL"].clone().into(), 1).unwrap();
    for polls in 0..20 {
        let mut beginning = Box::pin(store::begin(&db));
        for _ in 0..polls {
            if (&mut beginning).now_or_never().is_some() {
                break;
            }
            tokio::task::yield_now().await;
        }
        drop(beginning);
        db.execute("insert into api_pauses values ('list', now()) on conflict do nothing").await.unwrap();
        assert_eq!(world.query("select count(*) from api_pauses").await, "1", "after {polls} polls");
        world.execute("delete from api_pauses").await;
    }
    world.finish().await;
}

/// Hands over that many deliveries before the writer has its turn.
async fn accept_at_once(world: &World, inbox: &Inbox, count: usize) -> Vec<Result<(), NotCommitted>> {
    let deliveries = (0..count).map(|number| {
        let (id, topic, proved_by) = (format!("msg_{number}"), "other".into(), "token 1".into());
        Delivery { id, topic, calendar_id: None, last_updated_ts: None, proved_by, received_at: world.now() }
    });
    unconstrained(join_all(deliveries.map(|delivery| inbox.accept(delivery)))).await
}
