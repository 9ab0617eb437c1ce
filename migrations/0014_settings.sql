-- What people said about bots, which wins over what is configured and outlives every sync. A row is one thing said about one
-- of: everything, a calendar, a series on a calendar, an event.
create table settings (
    scope  text not null check (scope in ('all', 'calendar', 'series', 'event')),
    id     uuid not null,              -- the calendar's or the event's; nil for all
    series text not null default '',   -- the provider's id of the series
    aspect text not null check (aspect in ('pause', 'override', 'record_when', 'bot_config')),
    value  text not null,
    who    text not null,
    why    text not null,
    set_at timestamptz not null,
    primary key (scope, id, series, aspect)
);

-- The series that an event is an occurrence of, from `raw`. What is mirrored already is read again by the next full sync.
alter table events add column series_id text;
update events set fingerprint = null where end_time > now();
create index events_series on events (calendar_id, series_id) where series_id is not null;
