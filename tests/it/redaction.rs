//! P10: no secret in an answer, a log line or a row. `World::finish` looks at the latter two in every test, with logs at `trace`.

use std::time::Duration;

use chrono::TimeDelta;
use futures_util::future::join_all;
use reqwest::{Client, Method};
use rollcall::sim::{self, Endpoint, Fault};
use serde_json::json;

use crate::{
    receive::{Post, update},
    world::{SECRETS, TOKEN, World},
};

const ADMIN: &str = "operator-token-of-the-tests";

/// What anybody is told, whatever they ask, and however little they may.
async fn ask_everything(world: &World) -> Vec<String> {
    let client = Client::builder().timeout(Duration::from_secs(10)).build().unwrap();
    let mut asked = vec![];
    for path in ["/", "/livez", "/readyz", "/metrics", "/webhooks/recall", "/api/v1/troubles", "/api/v1/events/none"] {
        for method in [Method::GET, Method::POST, Method::DELETE] {
            for authorization in ["Bearer wrong".to_owned(), format!("Bearer {ADMIN}")] {
                let url = format!("{}{path}?token=wrong", world.replica.url);
                asked.push(client.request(method.clone(), url).header("authorization", authorization).send());
            }
        }
    }
    let answers = join_all(asked).await.into_iter().map(|answer| answer.unwrap().text());
    join_all(answers).await.into_iter().map(Result::unwrap).collect()
}

async fn assert_no_secret_is_told(world: &World) {
    for told in ask_everything(world).await {
        let secret = SECRETS.iter().chain(&[ADMIN, "wrong"]).find(|secret| told.contains(**secret));
        assert_eq!(secret, None, "in: {told}");
    }
}

#[tokio::test]
async fn no_answer_tells_a_secret() {
    let world = World::with(&[("ADMIN_TOKEN", ADMIN)]).await;
    let calendar = world.calendar("ada@acme.test").await;
    world.meeting(calendar);
    world.settle().await;
    assert_no_secret_is_told(&world).await;
    let broken = |secret: &str| format!(r#"{{"event":"calendar.update","data":{{"calendar_id":"{secret}"}}}}"#);
    for query in ["?token=wrong", "?token=another-token", "?token=another-token&x=%ff", "?token"] {
        for body in ["", "{", &broken(sim::DEFAULT_API_KEY), &broken(TOKEN), &update()] {
            let told = Post::unsigned(query, body).send(&world).await.text().await.unwrap();
            let secret = SECRETS.iter().chain(&["another-token", "wrong"]).find(|secret| told.contains(**secret));
            assert_eq!(secret, None, "in: {told}");
        }
    }
    assert!(!world.logs().contains("another-token"));
    world.finish().await;
}

/// An API, or a proxy before it, that says back what it was told, wherever it can.
#[tokio::test]
async fn what_the_api_says_back_is_not_passed_on() {
    let mut world = World::with(&[("ADMIN_TOKEN", ADMIN)]).await;
    world.expect_errors();
    let calendar = world.calendar("ada@acme.test").await;
    let event = world.meeting(calendar);
    let said = SECRETS.join(" ");
    let echo = json!({"code": said, "detail": said, &said: [said], "next": said, "results": [said, {"id": said}]});
    for status in [200, 400, 401, 403, 404, 429, 500, 507] {
        for endpoint in [Endpoint::RetrieveCalendar, Endpoint::ListEvents, Endpoint::ScheduleBot] {
            world.sim.fail_next(endpoint, Fault::Body { status, body: echo.to_string() }, 1);
        }
        world.sim.move_event(event, world.in_minutes(90));
        for _ in 0..4 {
            world.settle().await;
            world.advance(TimeDelta::minutes(6));
        }
        assert_no_secret_is_told(&world).await;
    }
    world.finish().await;
}
