//! A page of events: how it is mirrored, whoever listed it.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use super::{Error, LONGEST_MEETING, Reconciler};
use crate::{
    domain::{
        calendar::CalendarId,
        event::{Event, EventId},
    },
    recall::{EventPage, UnreadableEvent},
    store::{
        self, events,
        pages::{self, Sequel},
    },
    telemetry,
};

impl Reconciler {
    /// Mirrors a page, and what follows from it. Returns the events that were written. What cannot be read is recorded with the
    /// calendar `of`, or with the one that it names.
    pub(super) async fn mirror_page(
        &self,
        db: &mut PgConnection,
        page: &EventPage,
        sent_at: DateTime<Utc>,
        of: Option<CalendarId>,
        sequel: Sequel<'_>,
    ) -> Result<Vec<EventId>, Error> {
        for UnreadableEvent { event_id, calendar_id, reason } in &page.unreadable {
            // Of an event that does not even name its calendar, the calendar's own list tells. True whatever becomes of the page.
            if let Some(calendar) = of.or(*calendar_id) {
                events::record_unreadable(&mut *db, calendar, event_id, reason, sequel.now).await?;
            }
        }
        let mirrored = pages::mirror_page(db, &page.events, sent_at, sequel).await?;
        if mirrored.has_requested {
            self.wake.wake();
        }
        report_unreadable(page);
        Ok(mirrored.written)
    }

    /// The page without the events that the database refuses, which then count as unreadable: none of them hides its
    /// neighbours (P9).
    pub(super) async fn keep_storable(&self, page: EventPage, sent_at: DateTime<Utc>) -> Result<EventPage, Error> {
        let mut kept = EventPage { events: vec![], unreadable: page.unreadable, next: page.next };
        for event in page.events {
            // Tried by itself, and rolled back: what is kept is committed with the run's progress.
            let mut tx = store::begin(&self.db).await?;
            match pages::mirror(&mut tx, std::slice::from_ref(&event), sent_at).await {
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
fn report_unreadable(page: &EventPage) {
    for UnreadableEvent { event_id, reason, .. } in &page.unreadable {
        metrics::counter!(telemetry::UNREADABLE_EVENTS).increment(1);
        tracing::warn!(event.id = event_id, reason, "event cannot be read");
    }
}

/// What is over needs no turn, unless a bot waits for it all the same, or it was deleted lately: its bot was perhaps for another
/// time, and other events may count on it.
pub(super) fn may_need_care(event: &Event, now: DateTime<Utc>) -> bool {
    let was_deleted_lately = event.is_deleted && event.updated_at > now - LONGEST_MEETING;
    event.ends_at() > now || was_deleted_lately || event.bots.iter().any(|bot| bot.is_future(now))
}
