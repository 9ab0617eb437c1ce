//! A calendar's turn: Retrieve Calendar, unless it was told of events alone; then List Calendar Events from where the mirror
//! ends.
//!
//! What must hold: the cursor moves only after the last page is committed (P6), and to nothing that was not seen. A run over
//! many pages may be put aside between two of them, for budget or to let others have a turn: how far it came is committed
//! with each page. Hints that arrive meanwhile are not answered by it, so it settles the generation that it began with.
//!
//! A page begins at a place in a list that may change meanwhile: an event that moves away from before that place lets another
//! one slip past, unseen. So when a run finds events that changed while an earlier one turned its pages, that one is repeated,
//! twice at most.

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sqlx::{PgConnection, Postgres, pool::PoolConnection};

use super::{Error, LONGEST_MEETING, Outcome, Reconciler, joined_until, lost_place, page::may_need_care};
use crate::{
    domain::{
        budget::CallClass,
        calendar::{Calendar, CalendarId, CalendarStatus},
        event::{Event, EventId},
    },
    recall::{self, EventPage, Failure, PageQuery},
    store::{
        self, calendars,
        calendars::{EndedRun, PagedRun, SyncState},
        pages::{Requests, RunAfter, Sequel},
        queue::{self, Claimed, Key, Request},
    },
    telemetry,
};

/// How far before the cursor an incremental run begins. `updated_at` may become visible late, or tie.
pub(super) const OVERLAP: TimeDelta = TimeDelta::minutes(2);
/// How far behind the latest version of any calendar a calendar may lag that shows none of its own: when a list of it begins,
/// all that is older is in it. So the cursors of calendars that never change do not stay behind for ever.
pub(super) const LAG: TimeDelta = TimeDelta::minutes(5);
/// How far the API's clock may be from ours.
const CLOCKS_DIFFER: TimeDelta = TimeDelta::seconds(5);
/// Pages of one run. A calendar has 29 days of events; this is forty thousand of them.
const MAX_PAGES: u32 = 400;
/// How often in a row a long list is read again because it changed meanwhile. That of a busy calendar always does, and lists are
/// scarce.
const MOST_REPEATS: i16 = 2;
/// Payloads of a page that is stored while the next is read, at most. A usual page has a tenth of it.
const READ_AHEAD_BYTES: usize = 2 * 1024 * 1024;

/// A page, and when it was asked for.
struct ReadPage {
    page: EventPage,
    sent_at: DateTime<Utc>,
}

/// A listing that is under way.
#[derive(Debug, Serialize, Deserialize)]
struct Run {
    /// Events that changed at or after this time are listed; all, if it is `None`.
    from: Option<DateTime<Utc>>,
    started_at: DateTime<Utc>,
    /// Of the request that it answers.
    generation: i64,
    /// The cursor before; a full run that finds older changes has found drift. `None`: nothing that was decided about the
    /// calendar's events holds any more, so each of them is requested.
    cursor_before: Option<DateTime<Utc>>,
    next: Option<String>,
    pages: u32,
    events: usize,
    changed: usize,
    seen_until: Option<DateTime<Utc>>,
    /// The run before, if it took several pages.
    paged_before: Option<PagedRun>,
    /// The list changed while that one was read.
    has_slipped: bool,
    /// See [`SyncState::repeats`].
    #[serde(default)]
    repeats: i16,
}

impl Reconciler {
    pub(super) async fn reconcile_calendar(&self, id: CalendarId, claimed: &Claimed) -> Result<Outcome, Error> {
        // The calendar itself may tell why there is no list of its events.
        let has_no_list = |error: &recall::Error| matches!(error.failure(), Failure::NotFound | Failure::Permanent);
        if let Some(run) = resume(claimed) {
            match self.list_events(id, claimed, run).await {
                Err(Error::Api(error)) if has_no_list(&error) => {}
                listed => return listed,
            }
        }
        let (before, outlook) = tokio::join!(calendars::sync_state(&self.db, id), self.outlook(claimed));
        let before = before?;
        if let Some(until) = self.left_to_workspace(claimed, before.as_ref(), outlook?).await? {
            return Ok(Outcome::GoesOn(until));
        }
        // There is nothing to keep of this run until it has shown something.
        if let Some(from) = asks_for_events(claimed, before.as_ref()) {
            let run = Run::new(Some(from), claimed, before.as_ref(), self.clock.now());
            match self.list_events(id, claimed, run).await {
                Err(Error::Api(error)) if has_no_list(&error) => {}
                listed => return listed,
            }
        }
        match self.begin_run(id, claimed, before).await? {
            Some(run) => self.list_events(id, claimed, run).await,
            None => Ok(Outcome::Settled { generation: claimed.generation }),
        }
    }

    /// Mirrors the calendar itself. Returns the run that its events need; none if the calendar is gone or not connected. The
    /// run is committed with what made it necessary, so that a wait for budget, or a failure, does not forget that.
    async fn begin_run(
        &self,
        id: CalendarId,
        claimed: &Claimed,
        before: Option<SyncState>,
    ) -> Result<Option<Run>, Error> {
        let sent_at = self.clock.now();
        let calendar = match self.call(CallClass::Read, self.api.retrieve_calendar(id)).await {
            Ok(calendar) => calendar,
            Err(Error::Api(error)) if error.failure() == Failure::NotFound => {
                let mut tx = store::begin(&self.db).await?;
                calendars::mirror_gone(&mut tx, id, self.policy.join_early, sent_at).await?;
                tx.commit().await?;
                tracing::info!("calendar is gone");
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        let is_connected = calendar.status == CalendarStatus::Connected;
        let cut_off_at = cut_off_at(before.as_ref(), &calendar, sent_at);
        // Rules and templates ask for the address and the metadata, and the domain is in the keys of `DEDUPLICATION=company`.
        let metadata = |metadata: &Option<Box<RawValue>>| metadata.as_ref().map(|metadata| metadata.get().to_owned());
        let is_another = before.as_ref().is_some_and(|before| {
            before.email != calendar.email || metadata(&before.metadata) != metadata(&calendar.metadata)
        });
        let cursor = before.as_ref().and_then(|before| before.cursor).filter(|_| cut_off_at.is_none() && !is_another);
        let run = Run {
            cursor_before: cursor,
            ..Run::new(list_from(cursor, claimed.since), claimed, before.as_ref(), sent_at)
        };
        let mut tx = store::begin(&self.db).await?;
        if !calendars::mirror(&mut *tx, &calendar, sent_at).await? {
            return Err(Error::OldAnswer);
        }
        if is_another {
            calendars::forget_read(&mut tx, id, sent_at - LONGEST_MEETING).await?;
        }
        if let Some(cut_off_at) = cut_off_at {
            calendars::mirror_disconnected(&mut tx, id, cut_off_at, self.policy.join_early, sent_at).await?;
        }
        if is_connected {
            queue::save_progress(&mut *tx, claimed, &serde_json::json!(run)).await?;
        }
        tx.commit().await?;
        tracing::info!(status = calendar.status.as_str(), "calendar read");
        Ok(is_connected.then_some(run))
    }

    /// Lists page by page, and reads a page while the one before is stored. It is paid for before: beside a page that is stored,
    /// the few rows of the budget would take as long as the page does.
    async fn list_events(&self, id: CalendarId, claimed: &Claimed, mut run: Run) -> Result<Outcome, Error> {
        let mut share = self.share();
        let mut read = self.read_page(id, run.from, run.next.clone()).await?;
        loop {
            run.turn_page(&read.page)?;
            let is_last = run.next.is_none() || !share.has_another(self.clock.now());
            let (from, next) = (run.from, run.next.clone());
            // Of large ones, one at a time is held.
            let reads_ahead = !is_last && read.page.payload_bytes() <= READ_AHEAD_BYTES;
            let mut db = self.db.acquire().await?;
            let paid = if reads_ahead { Some(self.spend_on(&mut db, CallClass::List).await) } else { None };
            let ahead = async {
                match paid {
                    Some(Ok(())) => Some(self.read_paid_page(id, from, next.clone()).await),
                    Some(Err(error)) => Some(Err(error)),
                    None => None,
                }
            };
            let (ahead, stored) = tokio::join!(ahead, self.store_page(db, id, claimed, &mut run, read));
            stored?;
            match ahead {
                Some(page) => read = page?,
                None if is_last => break,
                None => read = self.read_page(id, from, next).await?,
            }
        }
        if run.next.is_some() {
            return Ok(Outcome::GoesOn(self.clock.now()));
        }
        run.report();
        Ok(Outcome::Settled { generation: run.generation })
    }

    async fn read_page(
        &self,
        id: CalendarId,
        from: Option<DateTime<Utc>>,
        next: Option<String>,
    ) -> Result<ReadPage, Error> {
        self.spend(CallClass::List).await?;
        self.read_paid_page(id, from, next).await
    }

    async fn read_paid_page(
        &self,
        id: CalendarId,
        from: Option<DateTime<Utc>>,
        next: Option<String>,
    ) -> Result<ReadPage, Error> {
        let sent_at = self.clock.now();
        let is_continued = next.is_some();
        let answer = match next.map(PageQuery::from_stored) {
            Some(next) => self.call_paid(self.api.list_calendar_events_next(&next)).await,
            None => self.call_paid(self.api.list_calendar_events(id, from)).await,
        };
        Ok(ReadPage { page: answer.map_err(|error| lost_place(error, is_continued))?, sent_at })
    }

    /// Mirrors a page, less what the database refuses.
    async fn store_page(
        &self,
        mut db: PoolConnection<Postgres>,
        id: CalendarId,
        claimed: &Claimed,
        run: &mut Run,
        ReadPage { page, sent_at }: ReadPage,
    ) -> Result<(), Error> {
        match self.mirror_run_page(&mut db, id, claimed, run, &page, sent_at).await {
            Err(Error::Store(store::Error::Refused(error))) => {
                tracing::warn!(error = %error, "a page cannot be stored as a whole; storing its events one by one");
                drop(db);
                let kept = self.keep_storable(page, sent_at).await?;
                let mut db = self.db.acquire().await?;
                self.mirror_run_page(&mut db, id, claimed, run, &kept, sent_at).await
            }
            result => result,
        }
    }

    /// The page's events, the requests that follow from them, and how far the run has come.
    async fn mirror_run_page(
        &self,
        db: &mut PgConnection,
        id: CalendarId,
        claimed: &Claimed,
        run: &mut Run,
        page: &EventPage,
        sent_at: DateTime<Utc>,
    ) -> Result<(), Error> {
        let now = self.clock.now();
        let is_last = run.next.is_none();
        if let Some(since) = run.slipped_since().filter(|_| is_last) {
            tracing::info!("events changed while an earlier list was read page by page; it is read again");
            let (key, cause) = (Key::Calendar(id), "a list that changed while it was read");
            let again = Request { key, since: Some(since), deadline: now, cause, events_only: true };
            // Before the run is over: if this turn dies in between, the list is read again all the same.
            queue::request(db, &[again], now).await?;
        }
        let (ended, progress) = (run.ended(now), serde_json::json!(run));
        let cause = |event: &Event| may_need_care(event, now).then_some(claimed.cause.as_str());
        let sequel = Sequel {
            requests: Requests { cause: &cause, are_of_all: run.cursor_before.is_none() },
            run: if is_last {
                RunAfter::Ended(id, &ended, &claimed.cause)
            } else {
                RunAfter::GoesOn(claimed, &progress)
            },
            is_likely_known: run.finds_known(page.events.len()),
            now,
            told_by: &self.wake,
        };
        let written = self.mirror_page(db, page, sent_at, Some(id), sequel).await?;
        run.changed += written.len();
        run.count_drift(page, &written);
        Ok(())
    }
}

impl Run {
    fn new(
        from: Option<DateTime<Utc>>,
        claimed: &Claimed,
        before: Option<&SyncState>,
        started_at: DateTime<Utc>,
    ) -> Self {
        Self {
            from,
            started_at,
            generation: claimed.generation,
            cursor_before: before.and_then(|before| before.cursor),
            next: None,
            pages: 0,
            events: 0,
            changed: 0,
            seen_until: before.and_then(|before| before.reached).map(|reached| reached - LAG),
            paged_before: before.and_then(|before| before.paged),
            has_slipped: false,
            repeats: before.map_or(0, |before| before.repeats),
        }
    }

    fn turn_page(&mut self, page: &EventPage) -> Result<(), Error> {
        let next = page.next.as_ref().map(|next| next.as_str().to_owned());
        self.pages += 1;
        if next.is_some() && (next == self.next || self.pages >= MAX_PAGES) {
            return Err(Error::EndlessList(MAX_PAGES));
        }
        self.next = next;
        self.events += page.events.len();
        self.seen_until = page.events.iter().map(|event| event.updated_at).chain(self.seen_until).max();
        self.has_slipped |= self.paged_before.is_some_and(|paged| {
            let turning = paged.from - CLOCKS_DIFFER..=paged.until + CLOCKS_DIFFER;
            page.events.iter().any(|event| turning.contains(&event.updated_at))
        });
        Ok(())
    }

    /// Whether a page of so many events, the latest, is likely to have nothing new: if those before had little, and the first if
    /// all is read again without a reason to expect changes.
    fn finds_known(&self, latest: usize) -> bool {
        match self.events - latest {
            0 => self.from.is_none() && self.cursor_before.is_some(),
            before => 2 * self.changed < before,
        }
    }

    fn ended(&self, now: DateTime<Utc>) -> EndedRun {
        let since = self.from.unwrap_or(DateTime::UNIX_EPOCH);
        EndedRun {
            started_at: self.started_at,
            seen_until: self.seen_until,
            is_full: self.from.is_none(),
            paged: (self.pages > 1).then_some(PagedRun { since, from: self.started_at, until: now }),
            repeats: self.repeats_after(),
        }
    }

    /// From when on the run before has to be repeated, unless this one has done so, or it was the last of so many repetitions.
    fn slipped_since(&self) -> Option<DateTime<Utc>> {
        let slipped = self.paged_before.filter(|_| self.has_slipped && self.repeats < MOST_REPEATS)?;
        self.from.is_some_and(|from| from > slipped.since).then_some(slipped.since)
    }

    fn repeats_after(&self) -> i16 {
        if self.slipped_since().is_some() {
            self.repeats + 1
        } else if self.has_slipped || self.pages > 1 {
            // It may be a repetition itself. Whether it is the last the next run tells.
            self.repeats
        } else {
            0
        }
    }

    /// What a full run writes though it is older than the cursor is what no incremental run saw.
    fn count_drift(&self, page: &EventPage, written: &[EventId]) {
        let (None, Some(cursor)) = (self.from, self.cursor_before) else { return };
        let drifted =
            page.events.iter().filter(|event| event.updated_at <= cursor && written.contains(&event.id)).count();
        if drifted > 0 {
            metrics::counter!(telemetry::DRIFT).increment(drifted as u64);
            tracing::warn!(events = drifted, "drift: a full sync found changes that no webhook told of");
        }
    }

    fn report(&self) {
        let kind = if self.from.is_none() { "full" } else { "incremental" };
        metrics::counter!(telemetry::SYNCS, "kind" => kind).increment(1);
        tracing::info!(kind, pages = self.pages, events = self.events, changed = self.changed, "calendar synced");
    }
}

/// The run that an earlier turn put aside, unless a hint that came since reaches further back than it does.
fn resume(claimed: &Claimed) -> Option<Run> {
    let run: Run = serde_json::from_value(claimed.progress.clone()?).ok()?;
    let covers_hint = match (run.from, claimed.since) {
        (None, _) | (_, None) => true,
        (Some(from), Some(since)) => from <= since,
    };
    covers_hint.then_some(run)
}

/// From when on a calendar's key asks for events, if that is all it asks for. The same is said by `waiting_for_events`.
pub(super) fn asks_for_events(claimed: &Claimed, calendar: Option<&SyncState>) -> Option<DateTime<Utc>> {
    let calendar = calendar.filter(|calendar| calendar.is_connected() && calendar.paged.is_none())?;
    let is_first_try = claimed.events_only && claimed.attempt == 0;
    let since = claimed.since.into_iter().chain([calendar.cursor? - OVERLAP]).min()?;
    (is_first_try && since > DateTime::UNIX_EPOCH).then_some(since)
}

/// Where to list from: the lesser of the hint and the cursor with its overlap; `None`, all of it, if the calendar was never
/// read whole or a full sync was asked for.
fn list_from(cursor: Option<DateTime<Utc>>, since: Option<DateTime<Utc>>) -> Option<DateTime<Utc>> {
    let from = cursor? - OVERLAP;
    let from = since.map_or(from, |since| since.min(from));
    (from > DateTime::UNIX_EPOCH).then_some(from)
}

/// When Recall was cut off from a calendar, if it is, or was since the calendar was last read: it removes the bots, and is not known to
/// bring them back. Both the webhook and the state in between may have been missed, and the cut may be long ago.
fn cut_off_at(before: Option<&SyncState>, calendar: &Calendar, sent_at: DateTime<Utc>) -> Option<DateTime<Utc>> {
    let is_connected = calendar.status == CalendarStatus::Connected;
    let Some(before) = before else { return (!is_connected).then_some(sent_at) };
    let is_told = calendar.disconnected_at > before.disconnected_at;
    let is_cut_off = is_told || !is_connected || !before.is_connected();
    let told_at = calendar.disconnected_at.filter(|_| is_told);
    is_cut_off.then(|| told_at.map_or(sent_at, |at| joined_until(at, sent_at)))
}
