//! Deliveries: each webhook POST that was acknowledged.

use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::PgExecutor;

use super::{
    Error,
    queue::{CHANNEL, request_keys},
};
use crate::domain::calendar::CalendarId;

/// One webhook POST, proven and parsed.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// The sender's message id, the same over its retries; or ours, where the sender has none.
    pub id: String,
    /// The `event` field of the body.
    pub topic: String,
    /// The calendar to look at; `None` for topics that rollcall does not act on.
    pub calendar_id: Option<CalendarId>,
    /// How far back to look.
    pub last_updated_ts: Option<DateTime<Utc>>,
    /// Which secret or token proved it, such as `secret 1`.
    pub proved_by: String,
    /// When it arrived.
    pub received_at: DateTime<Utc>,
}

/// What became of deliveries.
#[derive(Debug)]
pub struct Accepted {
    /// The ids of those that were not recorded before.
    pub new: Vec<String>,
    /// Keys are due that were not, or for more.
    pub has_requested: bool,
}

/// Records deliveries, and requests the calendars of those that were not recorded before.
///
/// A calendar that was listed less than `list_pause` ago is due when that is over: what comes until then is answered by one list.
///
/// One statement: a lone sender waits for its commit and for little else.
///
/// # Errors
/// The database's; then nothing is recorded.
pub async fn accept(
    db: impl PgExecutor<'_>,
    deliveries: &[Delivery],
    list_pause: Duration,
    now: DateTime<Utc>,
) -> Result<Accepted, Error> {
    let mut ordered: Vec<&Delivery> = deliveries.iter().collect();
    // Two transactions that insert the same ids in different orders would deadlock.
    ordered.sort_by(|a, b| a.id.cmp(&b.id));
    let ids: Vec<&str> = ordered.iter().map(|delivery| delivery.id.as_str()).collect();
    let topics: Vec<&str> = ordered.iter().map(|delivery| delivery.topic.as_str()).collect();
    let calendars: Vec<Option<uuid::Uuid>> =
        ordered.iter().map(|delivery| delivery.calendar_id.map(|id| id.0)).collect();
    let since: Vec<Option<DateTime<Utc>>> = ordered.iter().map(|delivery| delivery.last_updated_ts).collect();
    let proved_by: Vec<&str> = ordered.iter().map(|delivery| delivery.proved_by.as_str()).collect();
    let received_at: Vec<DateTime<Utc>> = ordered.iter().map(|delivery| delivery.received_at).collect();
    let row = request_keys!(
        // A repeated delivery costs nothing more, not even in the batch of the first.
        "new as (
             insert into deliveries (id, topic, calendar_id, last_updated_ts, proved_by, received_at)
             select * from unnest($1::text[], $2::text[], $3::uuid[], $4::timestamptz[], $5::text[], $6::timestamptz[])
             on conflict (id) do nothing
             returning id, calendar_id, last_updated_ts, received_at
         ),",
        "select 'calendar', new.calendar_id, min(last_updated_ts), min(received_at), $7::timestamptz,
             greatest($7::timestamptz, max(synced_at) + $9::float8 * interval '1 second'), 'delivery ' || max(new.id),
             bool_and(last_updated_ts is not null)
         from new left join calendars on calendars.id = new.calendar_id
         where new.calendar_id is not null
         group by new.calendar_id
         order by new.calendar_id",
        // A key that waits for its first turn, and asks for as much, answers this too: the turn has yet to begin, since the key
        // is locked now, and what it reads is read after this is committed. A list of the workspace may have begun before.
        "(queue.is_due and queue.attempt = 0 and queue.lease_token is null and queue.progress is null
          and queue.due_at <= excluded.due_at and queue.deadline <= excluded.deadline
          and (excluded.since is null or queue.since <= excluded.since)
          and queue.events_only <= excluded.events_only) is not true
         or exists (select from reconcile_queue as listing where listing.kind = 'workspace')",
        r#"select array(select id from new) as "new!",
             (select pg_notify($8, '')::text from requested limit 1) is not null as "has_requested!""#,
        &ids as &[&str],
        &topics as &[&str],
        &calendars as &[Option<uuid::Uuid>],
        &since as &[Option<DateTime<Utc>>],
        &proved_by as &[&str],
        &received_at,
        now,
        CHANNEL,
        list_pause.as_secs_f64(),
    )
    .fetch_one(db)
    .await?;
    Ok(Accepted { new: row.new, has_requested: row.has_requested })
}
