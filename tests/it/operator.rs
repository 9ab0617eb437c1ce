//! The operator's API: on by `ADMIN_TOKEN` alone, and what it tells.

use reqwest::Client;
use rollcall::sim::{Endpoint, Fault};
use serde_json::{Value, json};

use crate::world::{LINK, World};

const ADMIN: (&str, &str) = ("ADMIN_TOKEN", "operator-token");

async fn get(world: &World, path: &str, authorization: &str) -> (u16, Value) {
    let url = format!("{}{path}", world.replica.url);
    let response = Client::new().get(url).header("authorization", authorization).send().await.unwrap();
    (response.status().as_u16(), response.json().await.unwrap_or_default())
}

#[tokio::test]
async fn without_a_token_the_operators_api_is_not_there() {
    let world = World::new().await;
    assert_eq!(get(&world, "/api/v1/troubles", "Bearer ").await.0, 404);
    world.finish().await;
}

#[tokio::test]
async fn another_token_is_refused() {
    let world = World::with(&[ADMIN]).await;
    for authorization in ["", "Bearer ", "Bearer operator-toke", "Bearer operator-token2", "operator-token"] {
        assert_eq!(get(&world, "/api/v1/troubles", authorization).await.0, 401, "{authorization}");
    }
    world.finish().await;
}

#[tokio::test]
async fn it_tells_why_an_event_has_its_bot_and_what_is_in_trouble() {
    let mut world = World::with(&[ADMIN]).await;
    world.expect_errors();
    let calendar = world.calendar("ada@acme.test").await;
    let event = world.meeting(calendar);
    world.settle().await;
    let path = format!("/api/v1/events/{event}");
    let (status, told) = get(&world, &path, "Bearer operator-token").await;
    assert_eq!(status, 200);
    assert_eq!(told["decision"]["plan"], "schedule");
    assert_eq!(told["decision"]["reason"], "the meeting has no bot yet");
    assert_eq!(told["decision"]["scheduled_key"], format!("2026-01-20T10:00:00Z-{LINK}"));
    assert_eq!(told["bots"].as_array().unwrap().len(), 1);
    assert_eq!(told["waiting"], Value::Null);
    assert_eq!(told.get("raw"), None);

    world.sim.fail_next(Endpoint::ScheduleBot, Fault::Status(400), 1);
    world.sim.move_event(event, world.in_minutes(120));
    world.settle().await;
    let (_, troubles) = get(&world, "/api/v1/troubles", "Bearer operator-token").await;
    assert_eq!(troubles["keys"][0]["key"], json!(event));
    assert_eq!(troubles["keys"][0]["due_at"], Value::Null);
    assert!(troubles["keys"][0]["last_error"].as_str().unwrap().starts_with("Schedule Bot was answered 400"));
    assert_eq!(get(&world, "/api/v1/events/none", "Bearer operator-token").await.0, 404);

    world.request_sweep().await;
    world.settle().await;
    let (_, troubles) = get(&world, "/api/v1/troubles", "Bearer operator-token").await;
    assert_eq!(troubles, json!({"api": null, "keys": [], "unreadable_events": []}));
    world.finish().await;
}
