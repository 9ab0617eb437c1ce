-- Deduplication keys that a turn is calling Schedule Bot with. The copies of one meeting become due together: the API answers
-- 409 to all calls but one, and once the meeting has begun each of them would send a bot of its own (P4). So they take turns.
create table bot_keys (
    key        text primary key,
    holder     uuid not null,        -- the lease token of the turn
    held_until timestamptz not null  -- a turn that died holds it no longer than this
);
