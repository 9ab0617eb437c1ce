alter table decisions
    -- Delete Bot was called, and nobody knows what became of it: what is mirrored of the event's bots is not to be trusted.
    add column is_deletion_open boolean not null default false,
    -- The event has no bot because another one's was scheduled with this key: if that turns out not to be there, it needs its own.
    add column covered_key text;

create index decisions_covered_key on decisions (covered_key) where covered_key is not null;
