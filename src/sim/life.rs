//! Calendars that live: a seeded generator of everyday happenings, for demos and for long random tests.
//!
//! It remembers only what it needs to tell the story (who is in which meeting, and when); what Recall makes of it is the
//! simulator's. Meetings lie within the next hours and days, on round quarter hours. The same seed, times and number of
//! calendars live the same life.

mod cast;
mod plots;

use chrono::{DateTime, Utc};
use serde::Serialize;
use uuid::Uuid;

use super::{NewCalendar, Recall};

/// Meetings that each calendar begins with.
const FIRST_MEETINGS: usize = 4;
/// Meetings in which something may still happen, per calendar; beyond that none are made.
const MEETINGS_EACH: usize = 12;

/// Something that happened in somebody's calendar.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Happening {
    /// For a person: `Ada's calendar: “Weekly sync” moved from 14:00 to 15:30`. Times are UTC.
    pub sentence: String,
    /// The calendar it happened in; of a meeting on several, the organizer's.
    pub calendar_id: Uuid,
    /// The event it happened to, in that calendar.
    pub event_id: Option<Uuid>,
}

/// A seeded generator of happenings over a set of calendars.
#[derive(Debug)]
pub struct Life {
    owners: Vec<Owner>,
    meetings: Vec<Meeting>,
    rng: fastrand::Rng,
}

#[derive(Debug)]
struct Owner {
    name: String,
    email: String,
    calendar: Uuid,
    is_connected: bool,
}

/// One meeting, with its copy on each of several calendars.
#[derive(Debug)]
struct Meeting {
    title: String,
    start: DateTime<Utc>,
    /// Owner's index and event; the organizer's first.
    copies: Vec<(usize, Uuid)>,
    is_deleted: bool,
    is_cancelled: bool,
}

/// What may happen, with how often it does.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Create,
    Move,
    Relink,
    Cancel,
    Delete,
    Restore,
    Invite,
    Disconnect,
    Reconnect,
    LoseWebhook,
    RepeatWebhook,
}

const KINDS: [(Kind, u32); 11] = [
    (Kind::Create, 28),
    (Kind::Move, 22),
    (Kind::Relink, 9),
    (Kind::Cancel, 5),
    (Kind::Delete, 10),
    (Kind::Restore, 3),
    (Kind::Invite, 9),
    (Kind::Disconnect, 3),
    (Kind::Reconnect, 4),
    (Kind::LoseWebhook, 4),
    (Kind::RepeatWebhook, 3),
];

impl Life {
    /// Connects `calendars` calendars with a few meetings each.
    pub fn start(sim: &Recall, calendars: usize, seed: u64, now: DateTime<Utc>) -> Self {
        let owners = (0..calendars.max(1)).map(|number| connect(sim, number)).collect();
        let mut life = Self { owners, meetings: Vec::new(), rng: fastrand::Rng::with_seed(seed) };
        for _ in 0..FIRST_MEETINGS * calendars {
            life.create(sim, now);
        }
        life
    }

    /// The calendars it looks after.
    pub fn calendars(&self) -> Vec<Uuid> {
        self.owners.iter().map(|owner| owner.calendar).collect()
    }

    /// The first name of each calendar's owner.
    pub fn owners(&self) -> impl Iterator<Item = (Uuid, &str)> {
        self.owners.iter().map(|owner| (owner.calendar, owner.name.as_str()))
    }

    /// Makes one thing happen.
    pub fn step(&mut self, sim: &Recall, now: DateTime<Utc>) -> Happening {
        self.meetings.retain(|meeting| meeting.start > now);
        loop {
            let kind = self.draw_kind();
            // What cannot happen now, such as moving where there is no meeting, is drawn again; creating ends the search.
            if let Some(happening) = self.happen(kind, sim, now) {
                return happening;
            }
        }
    }

    fn draw_kind(&mut self) -> Kind {
        let total: u32 = KINDS.iter().map(|(_, weight)| weight).sum();
        let mut left = self.rng.u32(..total);
        for (kind, weight) in KINDS {
            if left < weight {
                return kind;
            }
            left -= weight;
        }
        Kind::Create
    }

    fn happen(&mut self, kind: Kind, sim: &Recall, now: DateTime<Utc>) -> Option<Happening> {
        match kind {
            Kind::Create if self.meetings.len() < MEETINGS_EACH * self.owners.len() => Some(self.create(sim, now)),
            Kind::Create => self.delete(sim),
            Kind::Move => self.move_one(sim, now),
            Kind::Relink => self.relink(sim),
            Kind::Cancel => self.cancel(sim),
            Kind::Delete => self.delete(sim),
            Kind::Restore => self.restore(sim),
            Kind::Invite => self.invite(sim),
            Kind::Disconnect => self.disconnect(sim),
            Kind::Reconnect => self.reconnect(sim),
            Kind::LoseWebhook => {
                sim.lose_next_webhooks(1);
                Some(self.say_of_any("the next webhook will be lost on its way"))
            }
            Kind::RepeatWebhook => {
                sim.duplicate_next_webhooks(1);
                Some(self.say_of_any("the next webhook will be delivered twice"))
            }
        }
    }

    fn pick(&mut self, which: impl Fn(&Meeting) -> bool) -> Option<usize> {
        let fitting = self.meetings.iter().enumerate().filter(|(_, meeting)| which(meeting));
        let fitting: Vec<_> = fitting.map(|(at, _)| at).collect();
        self.rng.choice(&fitting).copied()
    }

    fn on_copies(&self, meeting: usize, act: impl Fn(Uuid)) {
        for (_, event) in &self.meetings[meeting].copies {
            act(*event);
        }
    }

    fn say(&self, meeting: usize, what: &str) -> Happening {
        let meeting = &self.meetings[meeting];
        let (owner, event) = meeting.copies[0];
        let owner = &self.owners[owner];
        Happening {
            sentence: format!("{}'s calendar: “{}” {what}", owner.name, meeting.title),
            calendar_id: owner.calendar,
            event_id: Some(event),
        }
    }

    fn say_of_any(&mut self, what: &str) -> Happening {
        let calendar_id = self.owners[self.rng.usize(..self.owners.len())].calendar;
        Happening { sentence: format!("On the wire: {what}"), calendar_id, event_id: None }
    }
}

impl Owner {
    fn say(&self, what: &str) -> Happening {
        let sentence = format!("{}'s calendar {what}", self.name);
        Happening { sentence, calendar_id: self.calendar, event_id: None }
    }
}

fn connect(sim: &Recall, number: usize) -> Owner {
    let (name, email) = cast::owner(number);
    let new = if number % 3 == 2 { NewCalendar::outlook(&email) } else { NewCalendar::google(&email) };
    Owner { name, email, calendar: sim.connect_calendar(new), is_connected: true }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;
    use crate::sim::{Sim, SimClock, SimConfig};

    async fn live(seed: u64) -> (Vec<String>, usize) {
        let clock = SimClock::manual("2026-01-20T09:00:00Z".parse().unwrap());
        let sim = Sim::start(SimConfig { clock: clock.clone(), ..SimConfig::default() }).await.unwrap();
        let mut life = Life::start(&sim, 5, seed, clock.now());
        let story = (0..300).map(|_| {
            let now = clock.advance(TimeDelta::minutes(2));
            let happening = life.step(&sim, now);
            assert!(life.calendars().contains(&happening.calendar_id));
            happening.sentence
        });
        (story.collect(), sim.webhooks().len())
    }

    #[tokio::test]
    async fn a_seed_lives_one_life_in_which_everything_happens() {
        let (story, webhooks) = live(1).await;
        assert_eq!(live(1).await, (story.clone(), webhooks));
        assert_ne!(live(2).await.0, story);
        assert!(webhooks > 300);
        for word in [
            "made for",
            "moved from",
            "new link",
            "cancelled",
            "deleted",
            "after all",
            "disconnected",
            "connected again",
            "will be lost",
            "twice",
            ", with ",
        ] {
            assert!(story.iter().any(|sentence| sentence.contains(word)), "{word}: {story:#?}");
        }
    }
}
