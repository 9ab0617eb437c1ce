-- The configurations that decide on bots, in the order in which they started. The last one wins; a replica that runs an
-- older one leaves to the newer what differs only by configuration.
create table configurations (
    generation  bigint generated always as identity primary key,
    fingerprint bytea not null,
    started_at  timestamptz not null
);

-- What was decided last for each event, by which configuration, and what was asked of the API.
create table decisions (
    event_id          uuid primary key references events (id) on delete cascade,
    plan              text not null check (plan in ('nothing', 'keep', 'schedule', 'unschedule')),
    reason            text not null,
    configuration     bigint not null,
    event_updated_at  timestamptz not null,
    decided_at        timestamptz not null,
    scheduled_key     text,               -- the deduplication key of the last Schedule Bot that the API accepted
    scheduled_config  bytea,              -- fingerprint of the configuration it was scheduled with
    scheduled_at      timestamptz
);

-- A meeting that has begun is looked up here: another event's bot may be in it.
create index decisions_scheduled_key on decisions (scheduled_key);
