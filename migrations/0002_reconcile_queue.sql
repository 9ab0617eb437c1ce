-- The queue of level-triggered reconciliation: a row says that a key should be looked at, never what changed.
-- Times come from the service's clock, so that a test can set them.
create sequence reconcile_generation;

create table reconcile_queue (
    kind          text not null check (kind in ('calendar', 'event', 'sweep')),
    key           uuid not null,
    -- Moves with each request; a turn settles only the generation that it claimed. From a sequence, so that a key which
    -- left the queue and came back is never mistaken for its former self.
    generation    bigint not null default nextval('reconcile_generation'),
    since         timestamptz,            -- calendars: look back to here; null: the mirror's cursor is enough
    claimed_since timestamptz,            -- the `since` that the present turn, or a failed one, has to answer
    requested_at  timestamptz not null,   -- the oldest request that is not answered yet
    due_at        timestamptz not null,   -- 'infinity': parked
    deadline      timestamptz not null,   -- claims go in this order: a meeting's start, or the time by which a look matters
    attempt       integer not null default 0,
    leased_until  timestamptz,
    lease_token   uuid,
    waits_for     text,                   -- the class of API calls whose budget the key waits for
    progress      jsonb,                  -- how far a run over several pages has come
    last_error    text,
    primary key (kind, key)
);

create index reconcile_queue_deadline on reconcile_queue (deadline, due_at);
create index reconcile_queue_due_at on reconcile_queue (due_at);
