//! The people whose calendars these are: they make, move and cancel meetings while things break.
//!
//! All their meetings are hours away, so that none begins while a fault lasts.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use rollcall::sim::{NewCalendar, NewEvent};
use serde_json::{Value, json};
use tokio::{sync::watch, task::JoinHandle};
use uuid::Uuid;

use super::recall::Recall;

/// People with calendars.
pub struct People {
    pub calendars: Vec<Uuid>,
    recall: Recall,
    events: Vec<Uuid>,
    /// A whole minute; meetings are told from here.
    began: DateTime<Utc>,
    rng: fastrand::Rng,
    changes: usize,
}

/// People who are at it.
pub struct Busy {
    stop: watch::Sender<bool>,
    task: JoinHandle<People>,
}

impl People {
    /// So many people with a calendar each, and a meeting in it.
    pub async fn connect(recall: &Recall, count: usize) -> Self {
        let now = recall.now().await;
        let began = now - TimeDelta::nanoseconds(now.timestamp_nanos_opt().unwrap() % 60_000_000_000);
        let mut people = Self {
            calendars: vec![],
            recall: recall.clone(),
            events: vec![],
            began,
            rng: fastrand::Rng::with_seed(super::seed()),
            changes: 0,
        };
        for number in 0..count {
            let email = format!("person{number}@company{}.test", number % 3);
            let new = if number % 2 == 0 { NewCalendar::google(&email) } else { NewCalendar::outlook(&email) };
            let calendar = recall.connect_calendar(&new).await;
            people.calendars.push(calendar);
            people.make_meeting(&[calendar]).await;
        }
        people
    }

    /// Changes something every so often, until told to stop.
    pub fn get_busy(mut self, pace: Duration) -> Busy {
        let (stop, stopped) = watch::channel(false);
        let task = tokio::spawn(async move {
            let mut pace = tokio::time::interval(pace);
            while !*stopped.borrow() {
                pace.tick().await;
                self.change_something().await;
            }
            self
        });
        Busy { stop, task }
    }

    /// How many changes were made.
    pub fn changes(&self) -> usize {
        self.changes
    }

    /// One change at random.
    pub async fn change_something(&mut self) {
        self.changes += 1;
        let event = *self.rng.choice(&self.events).unwrap();
        let calendar = *self.rng.choice(&self.calendars).unwrap();
        match self.rng.u8(0..100) {
            0..30 => self.make_meeting(&[calendar]).await,
            30..40 => {
                let others: Vec<Uuid> = self.rng.choose_multiple(&self.calendars, 3).into_iter().copied().collect();
                self.make_meeting(&others).await;
            }
            40..60 => {
                let start = json!({ "start": self.any_start() });
                self.recall.change("events", event, "move", &start).await;
            }
            60..70 => {
                let link = json!({ "meeting_url": self.any_link() });
                self.recall.change("events", event, "relink", &link).await;
            }
            70..72 => self.recall.change("events", event, "relink", &json!({ "meeting_url": null })).await,
            72..80 => self.recall.change("events", event, "cancel", &Value::Null).await,
            80..88 => self.recall.delete_event(event).await,
            88..96 => self.recall.change("events", event, "restore", &Value::Null).await,
            96..98 => self.recall.change("calendars", calendar, "disconnect", &Value::Null).await,
            _ => self.recall.change("calendars", calendar, "reconnect", &Value::Null).await,
        }
    }

    async fn make_meeting(&mut self, calendars: &[Uuid]) {
        let meeting = NewEvent::new("Weekly sync", self.any_start(), 30).at(&self.any_link());
        self.events.extend(self.recall.same_meeting_on(calendars, &meeting).await);
    }

    fn any_start(&mut self) -> DateTime<Utc> {
        self.began + TimeDelta::minutes(self.rng.i64(120..2880))
    }

    fn any_link(&mut self) -> String {
        let mut letters = |count| (0..count).map(|_| self.rng.lowercase()).collect::<String>();
        format!("https://meet.google.com/{}-{}-{}", letters(3), letters(4), letters(3))
    }
}

impl Busy {
    /// Lets them finish the change that they are making.
    pub async fn stop(self) -> People {
        self.stop.send_replace(true);
        self.task.await.unwrap()
    }
}
