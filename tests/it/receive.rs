//! Receiving (number 1 of the main job): P2 and the proof of who sent a webhook.

use axum::http::HeaderMap;
use chrono::{DateTime, TimeDelta, Utc};
use reqwest::{Client, Response, header::HeaderValue};
use rollcall::{
    config::WebhookConfig,
    http::signature::{Unproven, Verifier},
    sim,
};
use svix::webhooks::Webhook;
use uuid::Uuid;

use crate::world::{TOKEN, World};

pub const OTHER_SECRET: &str = "whsec_b3RoZXItc2VjcmV0LW9mLXRoZS10ZXN0cw==";
const VECTOR_1: [&str; 5] = [
    "whsec_plJ3nmyCDGBKInavdOK15jsl",
    "msg_loFOjxBNrRLzqYUf",
    "1731705121",
    r#"{"event_type":"ping","data":{"success":true}}"#,
    "v1,rAvfW3dJ/X/qxhsaXPOyyCGmRKsaKWcsNccKXlIktD0=",
];
const VECTOR_2: [&str; 5] = [
    sim::DEFAULT_SECRET,
    "msg_2rTestVector0000000000000A",
    "1768469400",
    r#"{"event":"calendar.sync_events","data":{"calendar_id":"0b9f8f6e-7b0a-4b1e-9c60-4f4d0b1f2a11","last_updated_ts":"2026-01-15T09:30:00.123456+00:00"}}"#,
    "v1,2ABW6dkjA3y6dERNVL/Tu6BKguni9apWnYTICQhZVxw=",
];
const VECTOR_3: [&str; 5] = [
    sim::DEFAULT_SECRET,
    "msg_2rTestVector0000000000000B",
    "1768469400",
    "",
    "v1,kYzFx4P/W5Lt7N6Kjh2UBK46bo+4b850ka91hNM6lf8=",
];

/// A webhook on its way: what a sender may get right or wrong.
pub struct Post {
    pub headers: Vec<(&'static str, String)>,
    pub query: String,
    pub body: String,
}

impl Post {
    /// Signed with the first configured secret, now.
    pub fn signed(world: &World, id: &str, body: &str) -> Self {
        Self::signed_at(world.now(), id, body)
    }

    /// Signed with the first configured secret, at this time.
    pub fn signed_at(at: DateTime<Utc>, id: &str, body: &str) -> Self {
        Self::signed_with(sim::DEFAULT_SECRET, "webhook", id, at, body)
    }

    /// Signed with any secret, in either family of headers: `svix` or `webhook`.
    pub fn signed_with(secret: &str, family: &str, id: &str, at: DateTime<Utc>, body: &str) -> Self {
        let signature = Webhook::new(secret).unwrap().sign(id, at.timestamp(), body.as_bytes()).unwrap();
        let names = match family {
            "svix" => ["svix-id", "svix-timestamp", "svix-signature"],
            _ => ["webhook-id", "webhook-timestamp", "webhook-signature"],
        };
        let values = [id.to_owned(), at.timestamp().to_string(), signature];
        Self { headers: names.into_iter().zip(values).collect(), query: String::new(), body: body.into() }
    }

    pub fn unsigned(query: &str, body: &str) -> Self {
        Self { headers: vec![], query: query.into(), body: body.into() }
    }

    pub async fn send(self, world: &World) -> Response {
        self.send_to(&format!("{}/webhooks/recall", world.replica.url)).await
    }

    pub async fn send_to(self, url: &str) -> Response {
        let mut request = Client::new().post(format!("{url}{}", self.query));
        for (name, value) in self.headers {
            request = request.header(name, HeaderValue::from_str(&value).unwrap());
        }
        request.body(self.body).send().await.unwrap()
    }

    pub async fn status(self, world: &World) -> u16 {
        self.send(world).await.status().as_u16()
    }
}

/// A `calendar.update` for a calendar that does not exist.
pub fn update() -> String {
    update_of(Uuid::new_v4())
}

pub fn update_of(calendar: Uuid) -> String {
    format!(r#"{{"event":"calendar.update","data":{{"calendar_id":"{calendar}"}}}}"#)
}

#[tokio::test]
async fn the_printed_test_vectors_verify() {
    for [secret, id, timestamp, body, signature] in [VECTOR_1, VECTOR_2, VECTOR_3] {
        let verifier = Verifier::new(&WebhookConfig { secrets: vec![secret.into()], tokens: vec![] }).unwrap();
        let mut headers = HeaderMap::new();
        for (name, value) in [("svix-id", id), ("svix-timestamp", timestamp), ("svix-signature", signature)] {
            headers.insert(name, HeaderValue::from_str(value).unwrap());
        }
        let sent_at = DateTime::from_timestamp_secs(timestamp.parse().unwrap()).unwrap();
        let verify = |body: &str, now| verifier.verify(&headers, None, body.as_bytes(), now).map(|body| body.id);
        assert_eq!(verify(body, sent_at), Ok(Some(id.to_owned())));
        assert_eq!(verify(&format!("{body} "), sent_at), Err(Unproven::Signature), "another body");
        for secs in [-301, 301] {
            assert_eq!(verify(body, sent_at + TimeDelta::seconds(secs)), Err(Unproven::Timestamp));
            assert!(verify(body, sent_at + TimeDelta::seconds(secs - secs.signum())).is_ok());
        }
    }
}

#[tokio::test]
async fn either_header_family_and_any_secret_proves() {
    let secrets = format!("{OTHER_SECRET},{}", sim::DEFAULT_SECRET);
    let world = World::with(&[("RECALL_WEBHOOK_SECRETS", &secrets)]).await;
    for (number, family) in ["svix", "webhook"].into_iter().enumerate() {
        for (position, secret) in [OTHER_SECRET, sim::DEFAULT_SECRET].into_iter().enumerate() {
            let id = format!("msg_{number}{position}");
            let post = Post::signed_with(secret, family, &id, world.now(), &update());
            assert_eq!(post.status(&world).await, 204);
            let proved_by = world.query(&format!("select proved_by from deliveries where id = '{id}'")).await;
            assert_eq!(proved_by, format!("secret {}", position + 1));
        }
    }
    world.finish().await;
}

#[tokio::test]
async fn any_of_several_signatures_in_one_header_proves() {
    let world = World::new().await;
    let mut post = Post::signed(&world, "msg_1", &update());
    let stranger = Post::signed_with(OTHER_SECRET, "webhook", "msg_1", world.now(), &post.body);
    post.headers[2].1 = format!("v2,AAAA {} {}", stranger.headers[2].1, post.headers[2].1);
    assert_eq!(post.status(&world).await, 204);
    world.finish().await;
}

#[tokio::test]
async fn any_token_proves_and_the_secrets_go_on_to_prove() {
    let world = World::new().await;
    let encoded = TOKEN.replace('+', "%2B").replace(' ', "%20");
    for query in ["?token=another-token", &format!("?a=b&token={encoded}"), &format!("?token=wrong&token={encoded}")] {
        assert_eq!(Post::unsigned(query, &update()).status(&world).await, 204, "{query}");
    }
    assert_eq!(Post::signed(&world, "msg_1", &update()).status(&world).await, 204);
    let proofs = world.query("select string_agg(distinct proved_by, ', ') from deliveries").await;
    assert_eq!(proofs, "secret 1, token 1, token 2");
    world.finish().await;
}

#[tokio::test]
async fn the_direct_generation_delivers_to_its_own_url_with_a_token() {
    let world = World::new().await;
    let url = format!("{}/webhooks/recall?token=another-token", world.replica.url);
    let new = sim::NewCalendar { webhook_url: Some(url), ..sim::NewCalendar::google("ada@acme.test") };
    world.sim.set_endpoints(vec![]);
    let calendar = world.sim.connect_calendar(new);
    world.settle().await;
    let event = world.meeting(calendar);
    world.settle().await;
    world.bot(event);
    let ids = world.query("select count(*) from deliveries where id like 'direct\\_%' and proved_by = 'token 1'").await;
    assert!(ids.parse::<i32>().unwrap() >= 2, "{ids}");
    world.finish().await;
}

#[tokio::test]
async fn what_is_not_proven_reaches_nothing() {
    let world = World::new().await;
    let body = update();
    let late = world.now() - TimeDelta::seconds(301);
    let early = world.now() + TimeDelta::seconds(301);
    let mut posts = vec![
        Post::unsigned("", &body),
        Post::unsigned("?token=", &body),
        Post::unsigned("?token=wrong", &body),
        Post::unsigned("?Token=another-token", &body),
        Post::signed_with(OTHER_SECRET, "svix", "msg_1", world.now(), &body),
        Post::signed_with(sim::DEFAULT_SECRET, "svix", "msg_1", late, &body),
        Post::signed_with(sim::DEFAULT_SECRET, "webhook", "msg_1", early, &body),
    ];
    // One header missing, or of the other family; another id, time or body than was signed; nonsense.
    for header in 0..3 {
        let mut post = Post::signed(&world, "msg_1", &body);
        post.headers.remove(header);
        posts.push(post);
        let mut post = Post::signed(&world, "msg_1", &body);
        post.headers[header].0 = ["svix-id", "svix-timestamp", "svix-signature"][header];
        posts.push(post);
        let mut post = Post::signed(&world, "msg_1", &body);
        post.headers[header].1 = ["msg_2", "1", "v1,AAAA"][header].into();
        posts.push(post);
        let mut post = Post::signed(&world, "msg_1", &body);
        post.headers[header].1 = String::new();
        posts.push(post);
    }
    let mut other_body = Post::signed(&world, "msg_1", &body);
    other_body.body = update();
    posts.push(other_body);

    for post in posts {
        let sent = format!("{:?} {}", post.headers, post.query);
        assert_eq!(post.status(&world).await, 401, "{sent}");
    }
    assert_eq!(world.query("select count(*) from deliveries").await, "0");
    assert_eq!(world.query("select count(*) from reconcile_queue where kind = 'calendar'").await, "0");
    assert_eq!(world.sim.calls(), []);
    world.finish().await;
}

#[tokio::test]
async fn an_unproven_body_is_not_even_looked_up_in_the_database() {
    let world = World::new().await;
    world.execute("drop table deliveries cascade").await;
    assert_eq!(Post::unsigned("?token=wrong", &update()).status(&world).await, 401);
    assert_eq!(Post::signed(&world, "msg_1", &update()).status(&world).await, 503);
    world.finish_as_it_is().await;
}

#[tokio::test]
async fn a_refusal_tells_the_reason_and_no_secret() {
    let world = World::new().await;
    let response = Post::signed_with(OTHER_SECRET, "svix", "msg_1", world.now(), "{}").send(&world).await;
    let text = response.text().await.unwrap();
    assert_eq!(text, r#"{"error":"not proven: the signature is not of this body and a configured secret"}"#);
    world.finish().await;
}

#[tokio::test]
async fn a_signature_of_one_family_does_not_vouch_for_the_other() {
    let world = World::new().await;
    let body = update();
    let yesterday = world.now() - TimeDelta::days(1);
    for (recorded, made_up) in [("svix", "webhook"), ("webhook", "svix")] {
        // Recorded yesterday, and sent again beside headers of now that anybody can make.
        let mut post = Post::signed_with(sim::DEFAULT_SECRET, recorded, "msg_1", yesterday, &body);
        post.headers.extend(Post::signed_with(OTHER_SECRET, made_up, "msg_1", world.now(), &body).headers);
        assert_eq!(post.status(&world).await, 401, "{recorded} recorded");
    }
    world.finish().await;
}

#[tokio::test]
async fn the_body_of_a_sender_without_proof_is_not_read() {
    let world = World::new().await;
    let too_large = "x".repeat(64 * 1024 + 1);
    assert_eq!(Post::unsigned("", &too_large).status(&world).await, 401);
    assert_eq!(Post::unsigned("?token=wrong", &too_large).status(&world).await, 413, "it was read so far");
    world.finish().await;
}

#[tokio::test]
async fn an_id_that_is_empty_or_longer_than_256_characters_is_not_taken() {
    let world = World::new().await;
    let [none, longest, longer] = [0, 256, 257].map(|length| "x".repeat(length));
    assert_eq!(Post::signed(&world, &longest, &update()).status(&world).await, 204);
    for id in [none, longer] {
        assert_eq!(Post::signed(&world, &id, &update()).status(&world).await, 401);
        let mut post = Post::signed(&world, &id, &update());
        post.query = "?token=another-token".into();
        assert_eq!(post.status(&world).await, 204, "the token proves it");
    }
    assert_eq!(world.query("select count(*) from deliveries where id like 'direct\\_%'").await, "2");
    world.finish().await;
}

#[tokio::test]
async fn a_delivery_that_a_token_proves_is_known_by_its_id_when_it_comes_again() {
    let world = World::new().await;
    for _ in 0..2 {
        let mut post = Post::signed_with(OTHER_SECRET, "svix", "msg_1", world.now(), &update());
        post.query = "?token=another-token".into();
        assert_eq!(post.status(&world).await, 204);
    }
    assert_eq!(world.query("select string_agg(id || ' ' || proved_by, ', ') from deliveries").await, "msg_1 token 1");
    world.finish().await;
}
