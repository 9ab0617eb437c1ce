-- The mirror: what the API last said of each calendar and event. A row is replaced only by one with a greater
-- (updated_at, observed_at), so it never goes backwards (P5). No OAuth field of a calendar has a column here (P10).
create table calendars (
    id              uuid primary key,
    platform        text not null,
    email           text,                 -- `platform_email`; null until the first sync
    status          text not null,        -- connecting, connected, disconnected, or what the API adds one day
    gone_at         timestamptz,          -- the API answered 404
    disconnected_at timestamptz,          -- the latest disconnection in `status_changes`
    metadata        json,
    created_at      timestamptz not null,
    updated_at      timestamptz not null,
    observed_at     timestamptz not null, -- when the request was sent that this row was read with
    cursor          timestamptz,          -- events up to here have been seen; null: never read whole
    synced_at       timestamptz,
    full_synced_at  timestamptz
);

create table events (
    id               uuid primary key,
    calendar_id      uuid not null,       -- may change, and may name a calendar that is not mirrored yet
    platform         text not null,
    platform_id      text not null,
    ical_uid         text not null,
    start_time       timestamptz not null,
    end_time         timestamptz not null,
    meeting_url      text,
    meeting_platform text,
    is_deleted       boolean not null,
    is_cancelled     boolean not null,    -- from `raw`
    gone_at          timestamptz,         -- the API answered 404
    bots             json not null,       -- as the API lists them
    raw              json not null,       -- json, not jsonb: a title may hold what jsonb refuses, such as \u0000
    created_at       timestamptz not null,
    updated_at       timestamptz not null,
    observed_at      timestamptz not null,
    fingerprint      bytea                -- of the event as it was read; null: written by us, the next read replaces it
);

create index events_calendar_id on events (calendar_id, start_time);
create index events_end_time on events (end_time);

-- Events that could not be read, with the reason, until they are well again (P9).
create table unreadable_events (
    calendar_id uuid not null,
    event_id    text not null,            -- as far as it could be read
    reason      text not null,
    first_seen  timestamptz not null,
    last_seen   timestamptz not null,
    primary key (calendar_id, event_id)
);
