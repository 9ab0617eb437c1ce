//! What each happening does, and how it is told.

use chrono::{DateTime, TimeDelta, Utc};

use super::{Happening, Life, Meeting, cast};
use crate::sim::Recall;
use crate::sim::model::meeting::{Attendee, NewEvent, Response};

impl Life {
    pub(super) fn create(&mut self, sim: &Recall, now: DateTime<Utc>) -> Happening {
        let guests = if self.rng.u8(..3) == 0 { self.rng.usize(1..=3) } else { 0 };
        let mut invited: Vec<_> = (0..self.owners.len()).collect();
        self.rng.shuffle(&mut invited);
        invited.truncate(1 + guests);
        let link = (self.rng.u8(..10) > 0).then(|| cast::link(&mut self.rng));
        let start = self.some_time(now);
        let mut new = NewEvent::new(cast::title(&mut self.rng), start, 15 * self.rng.i64(1..=4));
        new.meeting_url.clone_from(&link);
        new.organizer = Some(self.owners[invited[0]].email.clone());
        new.attendees = self.attendees(&invited);

        let calendars: Vec<_> = invited.iter().map(|owner| self.owners[*owner].calendar).collect();
        let events = sim.same_meeting_on(&calendars, &new);
        let place = link.as_deref().map_or("without a link", cast::platform);
        let others: Vec<_> = invited[1..].iter().map(|owner| self.owners[*owner].name.as_str()).collect();
        let with = if others.is_empty() { String::new() } else { format!(", with {}", others.join(" and ")) };
        let what = format!("made for {}{with} ({place})", clock_time(start, now));
        self.meetings.push(Meeting {
            title: new.title,
            start,
            copies: invited.into_iter().zip(events).collect(),
            is_deleted: false,
            is_cancelled: false,
        });
        self.say(self.meetings.len() - 1, &what)
    }

    fn attendees(&mut self, invited: &[usize]) -> Vec<Attendee> {
        let mut attendees: Vec<_> =
            invited.iter().map(|owner| Attendee::new(&self.owners[*owner].email, Response::Accepted)).collect();
        if self.rng.bool() {
            attendees.push(Attendee::new(&cast::guest(&mut self.rng), Response::NeedsAction));
        }
        attendees
    }

    pub(super) fn move_one(&mut self, sim: &Recall, now: DateTime<Utc>) -> Option<Happening> {
        let at = self.pick(|meeting| !meeting.is_deleted)?;
        let (before, start) = (self.meetings[at].start, self.some_time(now));
        self.on_copies(at, |event| sim.move_event(event, start));
        self.meetings[at].start = start;
        let what = format!("moved from {} to {}", clock_time(before, now), clock_time(start, now));
        Some(self.say(at, &what))
    }

    pub(super) fn relink(&mut self, sim: &Recall) -> Option<Happening> {
        let at = self.pick(|meeting| !meeting.is_deleted)?;
        let link = (self.rng.u8(..6) > 0).then(|| cast::link(&mut self.rng));
        self.on_copies(at, |event| sim.relink_event(event, link.as_deref()));
        let what = match &link {
            Some(link) => format!("has a new link, on {}", cast::platform(link)),
            None => "lost its link".to_owned(),
        };
        Some(self.say(at, &what))
    }

    pub(super) fn cancel(&mut self, sim: &Recall) -> Option<Happening> {
        let at = self.pick(|meeting| !meeting.is_deleted && !meeting.is_cancelled)?;
        self.on_copies(at, |event| sim.cancel_event(event));
        self.meetings[at].is_cancelled = true;
        Some(self.say(at, "was cancelled, and stays in the calendar"))
    }

    pub(super) fn delete(&mut self, sim: &Recall) -> Option<Happening> {
        let at = self.pick(|meeting| !meeting.is_deleted)?;
        self.on_copies(at, |event| sim.delete_event(event));
        self.meetings[at].is_deleted = true;
        Some(self.say(at, "was deleted"))
    }

    pub(super) fn restore(&mut self, sim: &Recall) -> Option<Happening> {
        let at = self.pick(|meeting| meeting.is_deleted || meeting.is_cancelled)?;
        self.on_copies(at, |event| sim.restore_event(event));
        self.meetings[at].is_deleted = false;
        self.meetings[at].is_cancelled = false;
        Some(self.say(at, "takes place after all"))
    }

    pub(super) fn invite(&mut self, sim: &Recall) -> Option<Happening> {
        let at = self.pick(|meeting| !meeting.is_deleted)?;
        let guest = cast::guest(&mut self.rng);
        let response = if self.rng.bool() { Response::Accepted } else { Response::Declined };
        self.on_copies(at, |event| {
            sim.edit_event(event, |meeting| {
                meeting.attendees.retain(|attendee| attendee.email != guest);
                meeting.attendees.push(Attendee::new(&guest, response));
            });
        });
        let answer = if response == Response::Accepted { "accepted" } else { "declined" };
        Some(self.say(at, &format!("was {answer} by {guest}")))
    }

    /// Cuts a calendar off, unless it is the last that is connected.
    pub fn disconnect(&mut self, sim: &Recall) -> Option<Happening> {
        let connected: Vec<_> = self.owners.iter_mut().filter(|owner| owner.is_connected).collect();
        // Most calendars stay connected, or the rest of the story is told to nobody.
        if connected.len() < 2 {
            return None;
        }
        let at = self.rng.usize(..connected.len());
        let owner = connected.into_iter().nth(at)?;
        owner.is_connected = false;
        sim.disconnect_calendar(owner.calendar);
        Some(owner.say("was disconnected: its owner's consent was revoked"))
    }

    /// Connects a calendar again, if one is cut off.
    pub fn reconnect(&mut self, sim: &Recall) -> Option<Happening> {
        let owner = self.owners.iter_mut().find(|owner| !owner.is_connected)?;
        owner.is_connected = true;
        sim.reconnect_calendar(owner.calendar);
        Some(owner.say("was connected again"))
    }

    /// Mostly within hours, sometimes within days, on a quarter hour, at least five minutes away.
    fn some_time(&mut self, now: DateTime<Utc>) -> DateTime<Utc> {
        let quarters = if self.rng.u8(..10) < 6 { self.rng.i64(1..32) } else { self.rng.i64(32..480) };
        let soonest = (now.timestamp() + 5 * 60).div_euclid(900) * 900;
        DateTime::from_timestamp(soonest, 0).unwrap_or(now) + TimeDelta::minutes(15 * quarters)
    }
}

/// `14:00` today, `Thu 14:00` within the week.
fn clock_time(at: DateTime<Utc>, now: DateTime<Utc>) -> String {
    let is_today = at.date_naive() == now.date_naive();
    at.format(if is_today { "%H:%M" } else { "%a %H:%M" }).to_string()
}
