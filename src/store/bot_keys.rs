//! Deduplication keys that a turn is calling Schedule Bot with, over all replicas, or was when it lost the answer.

use chrono::{DateTime, Utc};
use sqlx::PgExecutor;
use uuid::Uuid;

use super::{
    Error,
    budget::{Taken, WINDOW, take_slot},
};
use crate::domain::{budget::CallClass, event::EventId};

/// A key that a turn has taken.
#[derive(Debug)]
pub struct Held {
    /// The events whose calls with this key were open before.
    pub open: Vec<EventId>,
    /// What a call was paid with, if one was.
    pub paid: Option<Taken>,
}

/// Takes a key for a turn of `event` with the lease token `holder`, `until` then at most, and notes that it is about to call.
/// `None` if another turn holds it. With the key, a call of the class `pays_for` is paid for, if there is budget.
///
/// # Errors
/// The database's.
pub async fn hold(
    db: impl PgExecutor<'_>,
    key: &str,
    event: EventId,
    holder: Uuid,
    pays_for: Option<CallClass>,
    now: DateTime<Utc>,
    until: DateTime<Utc>,
) -> Result<Option<Held>, Error> {
    let held = take_slot!(
        // The row as it was is that of the statement's snapshot. Whoever changed it since held the key, or closed a call.
        "before as (
             select open_calls from bot_keys where key = $4
         ), held as (
             insert into bot_keys as held (key, holder, held_until, open_calls) values ($4, $5, $6, array[$7::uuid])
             on conflict (key) do update set
                 holder = excluded.holder,
                 held_until = excluded.held_until,
                 open_calls = array_append(array_remove(held.open_calls, $7), $7)
             where held.held_until <= $3 or held.holder = excluded.holder
             returning coalesce((select open_calls from before), '{}') as open
         ),",
        "exists (select from held)",
        r#"select open as "open!", (select slot from taken) as slot from held"#,
        pays_for.map(CallClass::as_str),
        now - WINDOW,
        now,
        key,
        holder,
        until,
        event.0,
    )
    .fetch_optional(db)
    .await?;
    Ok(held.map(|held| Held {
        open: held.open.into_iter().map(EventId).collect(),
        paid: held.slot.map(|slot| Taken::new(slot, now)),
    }))
}

/// Notes that it is known what became of an event's call.
///
/// # Errors
/// The database's.
pub async fn close_call(db: impl PgExecutor<'_>, key: &str, event: EventId) -> Result<(), Error> {
    sqlx::query!("update bot_keys set open_calls = array_remove(open_calls, $2) where key = $1", key, event.0)
        .execute(db)
        .await?;
    Ok(())
}

/// Notes that it is not known after all what became of these events' calls, with a key that the turn holds.
///
/// # Errors
/// The database's.
pub async fn reopen_calls(db: impl PgExecutor<'_>, holder: Uuid, key: &str, events: &[EventId]) -> Result<(), Error> {
    let events: Vec<Uuid> = events.iter().map(|event| event.0).collect();
    sqlx::query!(
        "update bot_keys set open_calls = array(select unnest(open_calls) union select unnest($3::uuid[]))
         where key = $1 and holder = $2",
        key,
        holder,
        &events,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Lets go of a key that the turn holds. What is open stays.
///
/// # Errors
/// The database's.
pub async fn release(db: impl PgExecutor<'_>, holder: Uuid, key: &str, now: DateTime<Utc>) -> Result<(), Error> {
    sqlx::query!(
        "with closed as (delete from bot_keys where key = $1 and holder = $2 and open_calls = '{}')
         update bot_keys set held_until = $3 where key = $1 and holder = $2 and open_calls <> '{}'",
        key,
        holder,
        now,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Forgets calls that have been open since before `held_before`: the meetings are over.
///
/// # Errors
/// The database's.
pub async fn forget_open(db: impl PgExecutor<'_>, held_before: DateTime<Utc>) -> Result<(), Error> {
    sqlx::query!("delete from bot_keys where held_until < $1", held_before).execute(db).await?;
    Ok(())
}
