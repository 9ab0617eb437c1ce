//! What a policy would change, told before it does: every event that is still to begin is planned as a turn would plan it.
//! Nothing is called, and nothing written.

use std::{collections::HashMap, fmt};

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::PgPool;
use uuid::Uuid;

use crate::{
    domain::{
        calendar::{Calendar, CalendarId},
        event::{Event, EventId},
        plan::{Needed, Plan, Scheduled, Situation, plan_bot},
        policy::Policy,
        settings::Settings,
    },
    store::{self, calendars, decisions, events, settings},
};

/// Events that are read at once.
const PAGE: i64 = 500;

/// How many bots a policy would touch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// Events that would get a bot.
    pub adds: usize,
    /// Events that would lose theirs.
    pub removes: usize,
    /// Events whose bot would be made anew or differently.
    pub changes: usize,
    /// Events for which nothing would change.
    pub keeps: usize,
    /// Events for which it cannot be told.
    pub fails: usize,
}

/// What a policy would do about one event.
#[derive(Clone, Debug, Serialize)]
pub struct Effect {
    /// `adds`, `removes`, `changes`, `keeps` or `fails`.
    pub effect: Kind,
    /// The event.
    pub event_id: Uuid,
    /// Its calendar.
    pub calendar_id: Uuid,
    /// The calendar's address.
    pub calendar_email: Option<String>,
    /// When it begins.
    pub start_time: DateTime<Utc>,
    /// Why.
    pub reason: String,
    /// The rule or the setting that says so.
    pub decided_by: String,
}

/// What becomes of an event's bot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// It gets one.
    Adds,
    /// It loses it.
    Removes,
    /// It is made anew or differently.
    Changes,
    /// Nothing, bot or no bot.
    Keeps,
    /// It cannot be told.
    Fails,
}

/// Plans every event that is still to begin, of one calendar or of all, and tells each.
///
/// # Errors
/// The database's.
pub async fn preview(
    db: &PgPool,
    policy: &Policy,
    calendar: Option<CalendarId>,
    now: DateTime<Utc>,
    mut tell: impl FnMut(Effect),
) -> Result<Summary, store::Error> {
    let mut summary = Summary::default();
    let mut after = EventId(Uuid::nil());
    loop {
        let page = events::list_upcoming(db, calendar, after, PAGE, now).await?;
        let Some(last) = page.last() else { return Ok(summary) };
        after = last.id;
        let known = Known::of(db, &page).await?;
        for event in &page {
            let effect = known.effect(policy, event, now);
            summary.count(effect.effect);
            tell(effect);
        }
    }
}

/// What is known of a page's events besides themselves.
struct Known {
    calendars: HashMap<CalendarId, Calendar>,
    settings: HashMap<EventId, Settings>,
    scheduled: HashMap<EventId, Scheduled>,
}

impl Known {
    async fn of(db: &PgPool, page: &[Event]) -> Result<Self, store::Error> {
        let mut ids: Vec<CalendarId> = page.iter().map(|event| event.calendar_id).collect();
        ids.sort_unstable();
        ids.dedup();
        let events: Vec<EventId> = page.iter().map(|event| event.id).collect();
        let calendars = calendars::load_several(db, &ids).await?;
        Ok(Self {
            calendars: calendars.into_iter().map(|calendar| (calendar.id, calendar)).collect(),
            settings: settings::load_several(db, page).await?,
            scheduled: decisions::load_scheduled(db, &events).await?,
        })
    }

    fn effect(&self, policy: &Policy, event: &Event, now: DateTime<Utc>) -> Effect {
        let calendar = self.calendars.get(&event.calendar_id);
        let unsaid = Settings::default();
        let settings = self.settings.get(&event.id).unwrap_or(&unsaid);
        let wish = calendar.map(|calendar| policy.wish(event, calendar, settings)).transpose();
        let (effect, reason, decided_by) = match wish {
            Err(error) => (Kind::Fails, error.to_string(), String::new()),
            Ok(wish) => {
                let plan = plan_bot(&Situation {
                    event,
                    calendar,
                    scheduled: self.scheduled.get(&event.id),
                    covered_key: None,
                    is_unscheduled: false,
                    is_left_to_newer: false,
                    is_held_back: false,
                    policy,
                    wish: wish.as_ref(),
                    now,
                });
                let by = wish.as_ref().map_or_else(String::new, |wish| wish.by.clone());
                match (&plan, wish.map(|wish| wish.bot)) {
                    (Plan::Schedule { .. }, Some(Err(error))) => (Kind::Fails, error.to_string(), by),
                    _ => (kind(&plan), plan.reason().to_owned(), by),
                }
            }
        };
        Effect {
            effect,
            event_id: event.id.0,
            calendar_id: event.calendar_id.0,
            calendar_email: calendar.and_then(|calendar| calendar.email.clone()),
            start_time: event.start_time,
            reason,
            decided_by,
        }
    }
}

fn kind(plan: &Plan) -> Kind {
    match plan {
        Plan::Schedule { reason: Needed::New | Needed::Missing, .. } => Kind::Adds,
        Plan::Schedule { .. } => Kind::Changes,
        Plan::Unschedule(_) => Kind::Removes,
        Plan::Nothing(_) | Plan::Keep(_) => Kind::Keeps,
    }
}

impl Summary {
    fn count(&mut self, kind: Kind) {
        *match kind {
            Kind::Adds => &mut self.adds,
            Kind::Removes => &mut self.removes,
            Kind::Changes => &mut self.changes,
            Kind::Keeps => &mut self.keeps,
            Kind::Fails => &mut self.fails,
        } += 1;
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { adds, removes, changes, keeps, fails } = self;
        write!(f, "adds {adds} bots, removes {removes}, changes {changes}; {keeps} events stay as they are")?;
        if *fails == 0 { Ok(()) } else { write!(f, ", and for {fails} it cannot be told") }
    }
}
