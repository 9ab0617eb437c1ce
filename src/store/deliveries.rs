//! Deliveries: each webhook POST that was acknowledged.

use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::PgExecutor;

use super::{
    Error,
    queue::{CHANNEL, Wake, request_keys},
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
    /// The ids of those that were not recorded before; `None`: all.
    pub new: Option<Vec<String>>,
    /// Keys are due that were not, or for more.
    pub has_requested: bool,
}

/// Records deliveries, and requests the calendars of those that were not recorded before. The caller wakes `told_by`.
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
    told_by: &Wake,
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
        "select 'calendar', calendar_id, since, deadline, $7::timestamptz,
             greatest($7::timestamptz, (select synced_at from calendars where id = calendar_id) + $9::float8 * interval '1 second'),
             'delivery ' || wish.id, events_only
         from (
             select calendar_id, min(last_updated_ts) as since, min(received_at) as deadline, max(id) as id,
                 bool_and(last_updated_ts is not null) as events_only
             from new
             where calendar_id is not null
             group by calendar_id
         ) as wish
         -- A key that waits to be claimed, and asks for as much, answers this too: the turn has yet to begin, and what it
         -- reads is read later than this was sent. But a list of the workspace, which settles keys without a turn, may have begun
         -- before.
         where (
             select waiting.is_due and waiting.attempt = 0 and waiting.lease_token is null and waiting.progress is null
                 and waiting.due_at <= $7::timestamptz + $9::float8 * interval '1 second'
                 and waiting.deadline <= wish.deadline
                 and (wish.since is null or waiting.since <= wish.since)
                 and waiting.events_only <= wish.events_only
             from reconcile_queue as waiting
             where waiting.kind = 'calendar' and waiting.key = wish.calendar_id
         ) is not true
         or exists (select from reconcile_queue as listing where listing.kind = 'workspace')
         order by calendar_id",
        "true",
        r#"select case when (select count(*) from new) < cardinality($1::text[]) then array(select id from new) end as new,
             (select pg_notify($8, $10)::text from requested limit 1) is not null as "has_requested!""#,
        &ids as &[&str],
        &topics as &[&str],
        &calendars as &[Option<uuid::Uuid>],
        &since as &[Option<DateTime<Utc>>],
        &proved_by as &[&str],
        &received_at,
        now,
        CHANNEL,
        list_pause.as_secs_f64(),
        told_by.name(),
    )
    .fetch_one(db)
    .await?;
    Ok(Accepted { new: row.new, has_requested: row.has_requested })
}
