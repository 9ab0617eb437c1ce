-- Deduplication keys of bots that joined a meeting which their event has since moved away from. They are in the call all the
-- same, and another event with that key must not send a second one.
create table bots_left_behind (
    key     text primary key,
    left_at timestamptz not null
);
