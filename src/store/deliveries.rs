//! Deliveries: each webhook POST that was acknowledged.

use chrono::{DateTime, Utc};
use sqlx::PgExecutor;

use super::Error;
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

/// Records deliveries; returns the ids of those that were not recorded before.
///
/// # Errors
/// The database's.
pub async fn record(db: impl PgExecutor<'_>, deliveries: &[Delivery]) -> Result<Vec<String>, Error> {
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
    let new = sqlx::query_scalar!(
        "insert into deliveries (id, topic, calendar_id, last_updated_ts, proved_by, received_at)
         select * from unnest($1::text[], $2::text[], $3::uuid[], $4::timestamptz[], $5::text[], $6::timestamptz[])
         on conflict (id) do nothing
         returning id",
        &ids as &[&str],
        &topics as &[&str],
        &calendars as &[Option<uuid::Uuid>],
        &since as &[Option<DateTime<Utc>>],
        &proved_by as &[&str],
        &received_at,
    )
    .fetch_all(db)
    .await?;
    Ok(new)
}
