-- What led to a request: a delivery, the sweep, a setting. A turn hands it on to what it requests itself.
alter table reconcile_queue add column cause text not null default 'an earlier release';
alter table calendars add column synced_after text;

-- Every decision about an event that differed from the one before it. `decisions` holds the last.
create table decision_history (
    event_id      uuid not null references events (id) on delete cascade,
    number        bigint generated always as identity,
    decided_at    timestamptz not null,
    plan          text not null,
    reason        text not null,
    decided_by    text not null,       -- the rule or the setting
    parts         json not null,       -- of the rule's expression, each with whether it was true
    configuration bigint not null,
    cause         text not null,       -- what led to the turn
    scheduled_key text,
    answer        text,                -- the API's, if it was called
    primary key (event_id, number)
);

alter table decisions add column decided_by text not null default '';

-- Bots are keyed in one way at a time.
alter table configurations add column deduplication text;
-- A configuration that would remove more bots than it may waits for somebody to say yes.
alter table configurations add column is_held boolean not null default false;
