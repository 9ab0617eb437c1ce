//! A database as it is after months in a large workspace, made by a few set-based statements.

use sqlx::{AssertSqlSafe, Executor, PgPool};

/// How much there is.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    pub calendars: u32,
    pub events: u32,
    /// Keys that wait for budget; as many rest after a failure.
    pub waiting: u32,
}

/// Fills a migrated database. Every third calendar has a copy of each meeting of the one before; event `n` and calendar `n` have
/// the ids of [`filled_id`](crate::filled_id).
pub async fn fill(db: &PgPool, size: Size) -> Result<(), sqlx::Error> {
    let Size { calendars, events, waiting } = size;
    let statements = [
        "create function pg_temp.id(name text) returns uuid language sql immutable
         return encode(substr(sha256(name::bytea), 1, 16), 'hex')::uuid"
            .into(),
        format!(
            "insert into calendars (id, platform, email, status, metadata, created_at, updated_at, observed_at, cursor,
                 synced_at, full_synced_at, synced_after)
             select pg_temp.id('c' || n), 'google_calendar', 'person' || n || '@acme' || n % 500 || '.test',
                 case when n % 50 = 0 then 'disconnected' else 'connected' end, '{{\"tenant\": \"acme\"}}',
                 now() - interval '100 days', now() - interval '1 day', now() - interval '1 day',
                 now() - interval '1 hour', now() - interval '10 minutes', now() - interval '3 hours', 'the sweep'
             from generate_series(1, {calendars}) as n"
        ),
        // Meetings from ninety days and a half ago until twenty-eight days ahead, on quarters of an hour.
        format!(
            "insert into events (id, calendar_id, platform, platform_id, ical_uid, start_time, end_time, meeting_url,
                 meeting_platform, is_deleted, is_cancelled, bots, raw, created_at, updated_at, observed_at, fingerprint,
                 series_id)
             select pg_temp.id('e' || n), pg_temp.id('c' || 1 + n % {calendars}), 'google_calendar', md5('p' || n),
                 md5('i' || meeting) || '@google.com', start_time, start_time + interval '30 minutes', url, 'zoom', n % 40 = 0,
                 n % 7 = 0,
                 case when start_time > now() and n % 10 <> 0 then json_build_array(json_build_object(
                     'bot_id', md5('b' || meeting)::uuid, 'start_time', start_time,
                     'deduplication_key', to_char(start_time at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"-') || url,
                     'meeting_url', url)) else '[]' end,
                 json_build_object('summary', 'Meeting ' || meeting, 'status', 'confirmed', 'description',
                     repeat(md5('d' || n) || ' ', 5 + n % 35)),
                 start_time - interval '28 days', start_time - interval '28 days', start_time - interval '28 days',
                 decode(md5('f' || n), 'hex'), case when n % 3 = 0 then md5('s' || n % 100000) end
             from (
                 select n, n / 3 as meeting, 'https://acme.zoom.us/j/' || n / 3 as url,
                     date_bin('15 minutes', now() - interval '2172 hours'
                         + (n / 3)::bigint * 7919 % 1000003 / 1000003.0 * interval '2844 hours', 'epoch') as start_time
                 from generate_series(1, {events}) as n
             ) as meetings"
        ),
        "insert into decisions (event_id, plan, reason, configuration, event_updated_at, decided_at, scheduled_key,
             scheduled_config, scheduled_at, decided_by)
         select id, case when bots::text = '[]' then 'nothing' else 'schedule' end, 'the meeting has no bot yet', 1, updated_at,
             updated_at, bots -> 0 ->> 'deduplication_key', decode(md5('config'), 'hex'), updated_at, 'all'
         from events"
            .into(),
        "insert into decision_history (event_id, decided_at, plan, reason, decided_by, parts, configuration, cause)
         select event_id, decided_at, plan, reason, decided_by, '[{\"part\": \"all\", \"is_true\": true}]', 1, 'the sweep'
         from decisions"
            .into(),
        format!(
            "insert into deliveries (id, topic, calendar_id, last_updated_ts, proved_by, received_at)
             select 'msg_' || substr(md5('m' || n), 1, 27), 'calendar.sync_events', pg_temp.id('c' || 1 + n % {calendars}), at, 'secret 1', at
             from (
                 select n, now() - n * interval '31 days' / {deliveries} as at from generate_series({deliveries}, 1, -1) as n
             ) as received",
            deliveries = events / 3
        ),
        "insert into unreadable_events
         select calendar_id, id::text, 'a field is missing', updated_at, updated_at from events limit 5000"
            .into(),
        "insert into settings
         select 'event', id, '', 'override', 'skip', 'ann', 'asked to', updated_at from events limit 20000"
            .into(),
        "insert into settings
         select distinct 'series', calendar_id, series_id, 'override', 'skip', 'ann', 'asked to', now()
         from (select * from events where series_id is not null limit 2000) as events"
            .into(),
        // Bots to be deleted of meetings that were cancelled, and no budget to delete any.
        format!(
            "insert into reconcile_queue (kind, key, requested_at, due_at, deadline, waits_for)
             select 'event', id, now(), now(), start_time, 'delete_bot'
             from events where start_time > now() and is_cancelled and not is_deleted and bots::text <> '[]' limit {waiting}"
        ),
        "insert into api_pauses (class, until) values ('delete_bot', '2100-01-01')".into(),
        format!(
            "insert into reconcile_queue (kind, key, requested_at, due_at, is_due, deadline, attempt, last_error)
             select 'event', id, now(), now() + interval '3 hours', false, start_time, 3, 'failed'
             from events where start_time > now() and not is_cancelled limit {waiting}"
        ),
        "insert into reconcile_queue (kind, key, requested_at, due_at, is_due, deadline, attempt, last_error)
         select 'event', id, now(), 'infinity', false, start_time, 5, 'refused' from events where end_time < now() limit 1000"
            .into(),
        "insert into reconcile_queue (kind, key, requested_at, due_at, deadline, leased_until, lease_token)
         select 'event', gen_random_uuid(), now(), now(), now(), now() + interval '3 hours', gen_random_uuid()
         from generate_series(1, 64)"
            .into(),
        "vacuum (analyze)".into(),
        "checkpoint".into(),
    ];
    let mut connection = db.acquire().await?;
    // Keys are as they should be; checking each takes longer than all else.
    connection
        .execute("set statement_timeout = 0; set synchronous_commit = off; set session_replication_role = replica")
        .await?;
    for statement in statements {
        connection.execute(AssertSqlSafe(statement)).await?;
    }
    Ok(())
}
