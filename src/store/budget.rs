//! The API's limits, shared by all replicas (P8).
//!
//! Each class of calls has as many slots as its limit allows in a minute. A call takes a slot that was last taken a window
//! ago, or is told when to come back. The window is a little longer than the API's minute: the time on the way differs from
//! call to call, and so may the clocks of two replicas.

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::{PgConnection, PgExecutor};

use super::Error;
use crate::domain::budget::{CallClass, Limits};

/// A slot may be taken again after this time: the API's minute and two seconds for the way and the clocks.
pub(super) const WINDOW: TimeDelta = TimeDelta::seconds(62);

/// Whether a call may be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grant {
    /// Now: it is paid for with this.
    Now(Taken),
    /// Not before this time.
    NotBefore(DateTime<Utc>),
}

/// Makes the slots that `limits` allow. The replica that started last sets them for all. What is added to a class counts as just
/// taken: it may have been there a moment ago.
///
/// # Errors
/// The database's.
pub async fn provision(db: &mut PgConnection, limits: Limits, now: DateTime<Utc>) -> Result<(), Error> {
    for class in CallClass::ALL {
        let limit = i32::try_from(limits.of(class)).unwrap_or(i32::MAX);
        sqlx::query!(
            "insert into api_slots (class, slot, taken_at)
             select $1, slot, case when exists (select from api_slots where class = $1) then $3 else 'epoch'::timestamptz end
             from generate_series(1, $2) as slot
             on conflict do nothing",
            class.as_str(),
            limit,
            now,
        )
        .execute(&mut *db)
        .await?;
        sqlx::query!("delete from api_slots where class = $1 and slot > $2", class.as_str(), limit)
            .execute(&mut *db)
            .await?;
    }
    Ok(())
}

/// A statement that takes a slot of the class `$1`, if it is `$3` and one was last taken before `$2`, as `query!` takes it. Only
/// where `$if` holds; `$with` comes before it, and `$answer` may read `taken`.
macro_rules! take_slot {
    ($with:tt, $if:tt, $answer:tt, $($argument:expr),* $(,)?) => {
        ::sqlx::query!(
            "with " + $with + " free as (
                 select slot from api_slots
                 where class = $1
                   -- A time well in the future is of a replica whose clock was wrong; it must not hold the others.
                   and (taken_at <= $2 or taken_at > $3::timestamptz + interval '1 minute')
                   and not exists (select from api_pauses where class = $1 and until > $3)
                   and " + $if + "
                 order by taken_at
                 limit 1
                 -- Two replicas never take the same slot, and never wait for each other.
                 for update skip locked
             ), taken as (
                 update api_slots set taken_at = $3 from free where class = $1 and api_slots.slot = free.slot
                 returning api_slots.slot
             ) " + $answer,
            $($argument),*
        )
    };
}
pub(super) use take_slot;

/// A slot that was taken for a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    slot: i32,
    /// When: the call counts from then on.
    pub at: DateTime<Utc>,
}

impl Taken {
    pub(super) fn new(slot: i32, at: DateTime<Utc>) -> Self {
        Self { slot, at }
    }
}

/// Takes a slot for one call that is made now.
///
/// # Errors
/// The database's.
pub async fn take(db: &mut PgConnection, class: CallClass, now: DateTime<Utc>) -> Result<Grant, Error> {
    let slot = take_slot!("", "true", "select slot from taken", class.as_str(), now - WINDOW, now);
    if let Some(row) = slot.fetch_optional(&mut *db).await? {
        return Ok(Grant::Now(Taken::new(row.slot, now)));
    }
    let free_at = sqlx::query_scalar!(
        "select greatest((select min(taken_at) from api_slots where class = $1) + $2::float8 * interval '1 second',
                         (select until from api_pauses where class = $1))",
        class.as_str(),
        WINDOW.as_seconds_f64(),
    )
    .fetch_one(db)
    .await?;
    // The slots that were free a moment ago may have been locked: come back soon, not at a time that has passed.
    let soonest = now + TimeDelta::milliseconds(100);
    Ok(Grant::NotBefore(free_at.unwrap_or(soonest).max(soonest)))
}

/// Takes the same slot anew, for a call that was not made when it was taken and is made now; `None` if that cannot be.
///
/// # Errors
/// The database's.
pub async fn retake(
    db: impl PgExecutor<'_>,
    class: CallClass,
    taken: Taken,
    now: DateTime<Utc>,
) -> Result<Option<Taken>, Error> {
    let retaken = sqlx::query!(
        "update api_slots set taken_at = $4
         where class = $1 and slot = $2 and taken_at = $3
           and not exists (select from api_pauses where class = $1 and until > $4)",
        class.as_str(),
        taken.slot,
        taken.at,
        now,
    )
    .execute(db)
    .await?;
    Ok((retaken.rows_affected() > 0).then_some(Taken { at: now, ..taken }))
}

/// Holds a class for all replicas, as a 429 told.
///
/// # Errors
/// The database's.
pub async fn pause(db: impl PgExecutor<'_>, class: CallClass, until: DateTime<Utc>) -> Result<(), Error> {
    sqlx::query!(
        "insert into api_pauses as pause (class, until) values ($1, $2)
         on conflict (class) do update set until = greatest(pause.until, excluded.until)",
        class.as_str(),
        until,
    )
    .execute(db)
    .await?;
    Ok(())
}
