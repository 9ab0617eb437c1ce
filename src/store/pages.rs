//! Pages: events that were read together. One statement mirrors them, requests those that changed, and keeps how far the run has
//! come: all that a usual page leads to is one round trip and one commit. A page that is likely known costs another round trip, and
//! sends no payload that is there already.

use std::collections::{BTreeMap, HashSet};

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use super::{
    Error,
    calendars::EndedRun,
    queue::{CHANNEL, Claimed, Wake, request_keys},
};
use crate::domain::{
    calendar::CalendarId,
    event::{Event, EventId},
};

/// Payloads of one statement, in bytes: more than a thousand usual ones. All that it sends is in memory twice.
const STATEMENT_BYTES: usize = 2 * 1024 * 1024;

/// What follows from a page, with which it is committed.
#[derive(Clone, Copy, Debug)]
pub struct Sequel<'a> {
    /// Which events are requested.
    pub requests: Requests<'a>,
    /// How far the run has come.
    pub run: RunAfter<'a>,
    /// Most of the events are expected to be mirrored as they are: which, is asked first, by their fingerprints alone.
    pub is_likely_known: bool,
    /// When the requests are due.
    pub now: DateTime<Utc>,
    /// Whom the caller wakes for them.
    pub told_by: &'a Wake,
}

/// Which of a page's events are requested, and what for.
#[derive(Clone, Copy)]
pub struct Requests<'a> {
    /// Of an event, what it is requested for; `None` if it needs no turn.
    pub cause: &'a (dyn Fn(&Event) -> Option<&'a str> + Sync),
    /// Those as well in which nothing is new.
    pub are_of_all: bool,
}

impl std::fmt::Debug for Requests<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Requests").field("are_of_all", &self.are_of_all).finish_non_exhaustive()
    }
}

/// How far a run has come with a page.
#[derive(Clone, Copy, Debug)]
pub enum RunAfter<'a> {
    /// Another page follows: what the turn that goes on has to know. Its `changed` grows by the events that are written.
    GoesOn(&'a Claimed, &'a serde_json::Value),
    /// It was the last page of a calendar. Its cursor moves (P6): to the greatest version seen, never back, and never past the time
    /// at which the run began, since a version from the future would hide all changes until then. The text says what led to the run.
    Ended(CalendarId, &'a EndedRun, &'a str),
}

/// What became of a page.
#[derive(Debug, Default)]
pub struct Mirrored {
    /// The events that were written.
    pub written: Vec<EventId>,
    /// Some events are due.
    pub has_requested: bool,
}

/// Mirrors events, each unless a newer version is mirrored or nothing differs (P5). Returns those written. None of them counts
/// as unreadable any more. In one statement, unless they are very large.
///
/// `observed_at`: for a list or a retrieval, when the request was sent; for the answer to a bot call, when it was received. So
/// an answer that has the bot is not undone by a list that was read before it.
///
/// # Errors
/// The database's. `Refused` if one of the events cannot be stored.
pub async fn mirror(
    db: &mut PgConnection,
    events: &[Event],
    observed_at: DateTime<Utc>,
) -> Result<Vec<EventId>, Error> {
    Ok(mirror_with(db, events, observed_at, None).await?.written)
}

/// Mirrors a page, as [`mirror`] does, and what follows from it: requests with the events that they are for, and how far the run
/// has come with the last of them.
///
/// # Errors
/// Those of [`mirror`]. `LeaseLost` if the run that goes on is another turn's by now: then how far it came is not kept, while the
/// events, and the requests for them, are.
pub async fn mirror_page(
    db: &mut PgConnection,
    events: &[Event],
    observed_at: DateTime<Utc>,
    sequel: Sequel<'_>,
) -> Result<Mirrored, Error> {
    mirror_with(db, events, observed_at, Some(sequel)).await
}

async fn mirror_with(
    db: &mut PgConnection,
    events: &[Event],
    observed_at: DateTime<Utc>,
    sequel: Option<Sequel<'_>>,
) -> Result<Mirrored, Error> {
    // A page may repeat an event; a statement cannot write a row twice. And one order of ids, so that none deadlocks.
    let mut latest: BTreeMap<EventId, &Event> = BTreeMap::new();
    for event in events {
        let kept = latest.entry(event.id).or_insert(event);
        if event.updated_at >= kept.updated_at {
            *kept = event;
        }
    }
    if sequel.is_some_and(|sequel| sequel.is_likely_known && !sequel.requests.are_of_all) {
        let known = find_known(db, &latest).await?;
        latest.retain(|id, _| !known.contains(&id.0));
    }
    let events: Vec<&Event> = latest.into_values().collect();
    let mut bytes = 0;
    let fits = |last: &&Event, next: &&Event| {
        bytes += last.raw.get().len();
        let fits = bytes + next.raw.get().len() <= STATEMENT_BYTES;
        bytes = if fits { bytes } else { 0 };
        fits
    };
    let mut parts: Vec<&[&Event]> = events.chunk_by(fits).collect();
    // A page without events ends a run as well.
    let last = parts.pop().unwrap_or_default();
    let mut mirrored = Mirrored::default();
    for part in parts {
        mirrored.add(mirror_part(db, part, observed_at, sequel, None, 0).await?);
    }
    let (run, written_before) = (sequel.map(|sequel| sequel.run), mirrored.written.len());
    mirrored.add(mirror_part(db, last, observed_at, sequel, run, written_before).await?);
    Ok(mirrored)
}

/// Which of the events are mirrored as they are. They do not count as unreadable any more; there is nothing else to write of them.
async fn find_known(db: &mut PgConnection, events: &BTreeMap<EventId, &Event>) -> Result<HashSet<Uuid>, Error> {
    let (ids, fingerprints): (Vec<Uuid>, Vec<Option<&[u8]>>) =
        events.values().map(|event| (event.id.0, event.fingerprint.as_ref().map(|print| print.0.as_slice()))).unzip();
    let known = sqlx::query_scalar!(
        "with known as (
             select events.id, events.calendar_id
             from unnest($1::uuid[], $2::bytea[]) as page (id, fingerprint)
             join events on events.id = page.id and events.fingerprint = page.fingerprint
         ), readable as (
             delete from unreadable_events using known
             where unreadable_events.calendar_id = known.calendar_id and unreadable_events.event_id = known.id::text
         )
         select id from known",
        &ids,
        &fingerprints as &[Option<&[u8]>],
    )
    .fetch_all(db)
    .await?;
    Ok(known.into_iter().collect())
}

/// Distinct events, in the order of their ids; and with the last of them, how far the run has come, of whose page other parts had
/// `written_before`.
async fn mirror_part(
    db: &mut PgConnection,
    events: &[&Event],
    observed_at: DateTime<Utc>,
    sequel: Option<Sequel<'_>>,
    run: Option<RunAfter<'_>>,
    written_before: usize,
) -> Result<Mirrored, Error> {
    let bots = events.iter().map(|event| serde_json::to_string(&event.bots)).collect::<Result<Vec<_>, _>>();
    let bots = bots.map_err(|error| Error::Refused(sqlx::Error::Encode(error.into())))?;
    let requests = sequel.map(|sequel| sequel.requests);
    let cause = |event: &Event| requests.and_then(|requests| (requests.cause)(event));
    let (goes_on, ended) = match run {
        Some(RunAfter::GoesOn(claimed, progress)) => (Some((claimed, progress)), None),
        Some(RunAfter::Ended(calendar, run, cause)) => (None, Some((calendar, run, cause))),
        None => (None, None),
    };
    let row = request_keys!(
        "readable as (
             delete from unreadable_events using unnest($1::uuid[], $2::uuid[]) as read (event_id, calendar_id)
             where unreadable_events.calendar_id = read.calendar_id and unreadable_events.event_id = read.event_id::text
         ), written as (
             insert into events as mirror
                 (id, calendar_id, platform, platform_id, ical_uid, start_time, end_time, meeting_url, meeting_platform,
                  is_deleted, is_cancelled, bots, raw, created_at, updated_at, observed_at, fingerprint, series_id)
             select id, calendar_id, platform, platform_id, ical_uid, start_time, end_time, meeting_url, meeting_platform,
                 is_deleted, is_cancelled, bots::json, raw::json, created_at, updated_at, $17::timestamptz, fingerprint,
                 series_id
             from unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::text[], $6::timestamptz[], $7::timestamptz[],
                 $8::text[], $9::text[], $10::boolean[], $11::boolean[], $12::text[], $13::text[], $14::timestamptz[],
                 $15::timestamptz[], $16::bytea[], $18::text[])
                 as page (id, calendar_id, platform, platform_id, ical_uid, start_time, end_time, meeting_url,
                     meeting_platform, is_deleted, is_cancelled, bots, raw, created_at, updated_at, fingerprint, series_id)
             on conflict (id) do update set
                 calendar_id = excluded.calendar_id,
                 platform = excluded.platform,
                 platform_id = excluded.platform_id,
                 ical_uid = excluded.ical_uid,
                 start_time = excluded.start_time,
                 end_time = excluded.end_time,
                 meeting_url = excluded.meeting_url,
                 meeting_platform = excluded.meeting_platform,
                 is_deleted = excluded.is_deleted,
                 is_cancelled = excluded.is_cancelled,
                 gone_at = null,
                 bots = excluded.bots,
                 raw = excluded.raw,
                 updated_at = excluded.updated_at,
                 observed_at = excluded.observed_at,
                 fingerprint = excluded.fingerprint,
                 series_id = excluded.series_id
             where (excluded.updated_at, excluded.observed_at) >= (mirror.updated_at, mirror.observed_at)
               and mirror.fingerprint is distinct from excluded.fingerprint
             returning id
         ), gone_on as (
             update reconcile_queue set
                 attempt = case when kind = 'calendar' then 0 else attempt end,
                 progress = jsonb_set($19::jsonb, '{changed}', to_jsonb(
                     coalesce(($19::jsonb->>'changed')::int8, 0) + $34::int8 + (select count(*) from written)))
             where kind = $20 and key = $21 and lease_token = $22
             returning key
         ), ended as (
             update calendars set
                 -- `least` would take the time for a run that saw nothing.
                 cursor = greatest(cursor, case when $24::timestamptz is not null then least($24, $25::timestamptz) end),
                 synced_at = $25,
                 full_synced_at = case when $26 then $25::timestamptz else full_synced_at end,
                 paged_since = $27,
                 paged_until = $28,
                 repeats = $36,
                 synced_after = $29
             where id = $23
         ), cleared as (
             -- What a full run did not find unreadable any more.
             delete from unreadable_events where $26 and calendar_id = $23 and last_seen < $25
         ),",
        "select 'event', wish.id, null::timestamptz, wish.start_time, $30::timestamptz, $30::timestamptz, wish.cause, false
         from unnest($1::uuid[], $6::timestamptz[], $31::text[]) as wish (id, start_time, cause)
         where wish.cause is not null and ($32 or wish.id in (select id from written))
         order by wish.id",
        "true",
        // All events' keys before the run's own, as other transactions lock them. What nothing here reads runs last.
        r#"select array(select id from written) as "written!",
             (select pg_notify($33, $35)::text from (select count(*) as keys from requested) as told where keys > 0) is not null as "has_requested!",
             exists (select from gone_on) as "has_gone_on!""#,
        &column(events, |event| event.id.0),
        &column(events, |event| event.calendar_id.0),
        &column(events, |event| event.platform.as_str()) as &[&str],
        &column(events, |event| event.platform_id.as_str()) as &[&str],
        &column(events, |event| event.ical_uid.as_str()) as &[&str],
        &column(events, |event| event.start_time),
        &column(events, |event| event.end_time),
        &column(events, |event| event.meeting_url.as_deref()) as &[Option<&str>],
        &column(events, |event| event.meeting_platform.as_deref()) as &[Option<&str>],
        &column(events, |event| event.is_deleted),
        &column(events, |event| event.is_cancelled),
        &bots,
        &column(events, |event| event.raw.get()) as &[&str],
        &column(events, |event| event.created_at),
        &column(events, |event| event.updated_at),
        &column(events, |event| event.fingerprint.as_ref().map(|print| print.0.as_slice())) as &[Option<&[u8]>],
        observed_at,
        &column(events, |event| event.series_id.as_deref()) as &[Option<&str>],
        goes_on.map(|(_, progress)| progress),
        goes_on.map(|(claimed, _)| claimed.key.kind()),
        goes_on.map(|(claimed, _)| claimed.key.id()),
        goes_on.map(|(claimed, _)| claimed.token),
        ended.map(|(calendar, ..)| calendar.0),
        ended.and_then(|(_, run, _)| run.seen_until),
        ended.map(|(_, run, _)| run.started_at),
        ended.is_some_and(|(_, run, _)| run.is_full),
        ended.and_then(|(_, run, _)| run.paged).map(|paged| paged.since),
        ended.and_then(|(_, run, _)| run.paged).map(|paged| paged.until),
        ended.map(|(.., cause)| cause),
        sequel.map(|sequel| sequel.now),
        &column(events, cause) as &[Option<&str>],
        requests.is_some_and(|requests| requests.are_of_all),
        CHANNEL,
        written_before as i64,
        sequel.map(|sequel| sequel.told_by.name()),
        ended.map_or(0, |(_, run, _)| run.repeats),
    )
    .fetch_one(db)
    .await?;
    if goes_on.is_some() && !row.has_gone_on {
        return Err(Error::LeaseLost);
    }
    Ok(Mirrored { written: row.written.into_iter().map(EventId).collect(), has_requested: row.has_requested })
}

impl Mirrored {
    fn add(&mut self, mut part: Self) {
        self.written.append(&mut part.written);
        self.has_requested |= part.has_requested;
    }
}

fn column<'a, T>(events: &[&'a Event], field: impl Fn(&'a Event) -> T) -> Vec<T> {
    events.iter().map(|event| field(event)).collect()
}
