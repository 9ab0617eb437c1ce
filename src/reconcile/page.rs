//! A page of events: how it is mirrored, whoever listed it.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use super::{Error, Reconciler};
use crate::{
    domain::{
        calendar::CalendarId,
        event::{Event, EventId},
    },
    recall::{EventPage, UnreadableEvent},
    store::{
        self, events,
        queue::{self, Key, Request},
    },
    telemetry,
};

impl Reconciler {
    /// Mirrors a page's events, and requests those for which `cause` gives one; it is told whether the event was written.
    /// Returns the events that were. What cannot be read is recorded with the calendar `of`, or with the one that it names.
    pub(super) async fn mirror_events<'a>(
        &self,
        tx: &mut PgConnection,
        page: &EventPage,
        sent_at: DateTime<Utc>,
        of: Option<CalendarId>,
        cause: impl Fn(&Event, bool) -> Option<&'a str>,
    ) -> Result<Vec<EventId>, Error> {
        let now = self.clock.now();
        let written = events::mirror(&mut *tx, &page.events, sent_at).await?;
        for UnreadableEvent { event_id, calendar_id, reason } in &page.unreadable {
            // Of an event that does not even name its calendar, the calendar's own list tells.
            if let Some(calendar) = of.or(*calendar_id) {
                events::record_unreadable(&mut *tx, calendar, event_id, reason, now).await?;
            }
        }
        let requests: Vec<Request> = page
            .events
            .iter()
            .filter(|event| may_need_care(event, now))
            .filter_map(|event| {
                let cause = cause(event, written.contains(&event.id))?;
                let key = Key::Event(event.id);
                Some(Request { key, since: None, deadline: event.start_time, cause, events_only: false })
            })
            .collect();
        queue::request(tx, &requests, now).await?;
        Ok(written)
    }

    /// The page without the events that the database refuses, which then count as unreadable: none of them hides its
    /// neighbours (P9).
    pub(super) async fn keep_storable(&self, page: EventPage, sent_at: DateTime<Utc>) -> Result<EventPage, Error> {
        let mut kept = EventPage { events: vec![], unreadable: page.unreadable, next: page.next };
        for event in page.events {
            // Tried by itself, and rolled back: what is kept is committed with the run's progress.
            let mut tx = store::begin(&self.db).await?;
            match events::mirror(&mut tx, std::slice::from_ref(&event), sent_at).await {
                Ok(_) => kept.events.push(event),
                Err(store::Error::Refused(error)) => kept.unreadable.push(UnreadableEvent {
                    event_id: event.id.to_string(),
                    calendar_id: Some(event.calendar_id),
                    reason: format!("cannot be stored: {error}"),
                }),
                Err(error) => return Err(error.into()),
            }
            tx.rollback().await?;
        }
        Ok(kept)
    }
}

/// Tells of what a page had that could not be read.
pub(super) fn report_unreadable(page: &EventPage) {
    for UnreadableEvent { event_id, reason, .. } in &page.unreadable {
        metrics::counter!(telemetry::UNREADABLE_EVENTS).increment(1);
        tracing::warn!(event.id = event_id, reason, "event cannot be read");
    }
}

/// What is over needs no turn, unless a bot waits for it all the same.
fn may_need_care(event: &Event, now: DateTime<Utc>) -> bool {
    event.ends_at() > now || event.bots.iter().any(|bot| bot.is_future(now))
}
