//! The simulated Recall in a process of its own, told what to do over its control plane.

use std::{collections::BTreeMap, time::Duration};

use chrono::{DateTime, Utc};
use reqwest::{Client, Method};
use rollcall::sim::{Bot, Call, Endpoint, Fault, Limits, Message, MessageState, NewCalendar, NewEvent};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::histories::oracle::Seen;

/// A simulator's control plane.
#[derive(Clone)]
pub struct Recall {
    pub base_url: String,
    http: Client,
}

impl Recall {
    pub fn at(base_url: String) -> Self {
        let http = Client::builder().no_proxy().timeout(Duration::from_secs(20)).build().unwrap();
        Self { base_url, http }
    }

    pub async fn is_up(&self) -> bool {
        self.http.get(format!("{}/sim/clock", self.base_url)).send().await.is_ok()
    }

    /// Its clock, which is the system's.
    pub async fn now(&self) -> DateTime<Utc> {
        self.look::<Value>("clock").await["now"].as_str().unwrap().parse().unwrap()
    }

    pub async fn connect_calendar(&self, new: &NewCalendar) -> Uuid {
        serde_json::from_value(self.tell(Method::POST, "calendars", new).await["id"].take()).unwrap()
    }

    pub async fn same_meeting_on(&self, calendars: &[Uuid], new: &NewEvent) -> Vec<Uuid> {
        let order = json!({ "calendars": calendars, "event": new });
        serde_json::from_value(self.tell(Method::POST, "meetings", &order).await["ids"].take()).unwrap()
    }

    pub async fn delete_event(&self, event: Uuid) {
        self.tell(Method::DELETE, &format!("events/{event}"), &Value::Null).await;
    }

    /// As `POST /sim/calendars/{id}/{change}` or `POST /sim/events/{id}/{change}` does.
    pub async fn change(&self, kind: &str, id: Uuid, change: &str, with: &Value) {
        self.tell(Method::POST, &format!("{kind}/{id}/{change}"), with).await;
    }

    pub async fn fail_next(&self, endpoint: Endpoint, fault: Fault, times: usize) {
        let order = json!({ "endpoint": endpoint, "fault": fault, "times": times });
        self.tell(Method::POST, "faults", &order).await;
    }

    /// No call fails any more, and those that hang go on.
    pub async fn end_faults(&self) {
        self.tell(Method::DELETE, "faults", &Value::Null).await;
        self.tell(Method::POST, "release", &Value::Null).await;
    }

    pub async fn knobs(&self, turned: &Value) {
        self.tell(Method::PATCH, "knobs", turned).await;
    }

    pub async fn limits(&self, limits: &Limits) {
        self.tell(Method::PUT, "limits", limits).await;
    }

    pub async fn calls(&self) -> Vec<Call> {
        self.look("calls").await
    }

    pub async fn count_calls(&self, endpoint: Endpoint) -> usize {
        self.calls().await.iter().filter(|call| call.endpoint == endpoint).count()
    }

    pub async fn clear_calls(&self) {
        self.tell(Method::DELETE, "calls", &Value::Null).await;
    }

    /// The ids of webhooks that were answered 2xx.
    pub async fn acknowledged(&self) -> Vec<String> {
        let messages = self.look::<Vec<Message>>("webhooks").await.into_iter();
        messages.filter(|message| message.state == MessageState::Delivered).map(|message| message.id).collect()
    }

    pub async fn has_pending_webhooks(&self) -> bool {
        !self.look::<Vec<Message>>("webhooks/pending").await.is_empty()
    }

    /// All there is to see.
    pub async fn seen(&self) -> Seen {
        let bots: Vec<Bot> = self.look("bots/all").await;
        let mut calendars = vec![];
        for calendar in self.look::<Vec<Value>>("calendars").await {
            let events = self.look(&format!("calendars/{}/events", calendar["id"].as_str().unwrap())).await;
            calendars.push((calendar, events));
        }
        Seen { now: self.now().await, calendars, bots, said: BTreeMap::new() }
    }

    async fn look<T: DeserializeOwned>(&self, path: &str) -> T {
        self.http.get(format!("{}/sim/{path}", self.base_url)).send().await.unwrap().json().await.unwrap()
    }

    async fn tell(&self, method: Method, path: &str, with: &(impl Serialize + ?Sized)) -> Value {
        let request = self.http.request(method, format!("{}/sim/{path}", self.base_url)).json(with);
        let answer = request.send().await.unwrap();
        let (status, text) = (answer.status(), answer.text().await.unwrap());
        assert!(status.is_success(), "{path}: {status} {text}");
        serde_json::from_str(&text).unwrap_or_default()
    }
}
