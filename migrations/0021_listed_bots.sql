-- Before a bot is sent to a meeting that has begun: whether another event lists one for it.
create index events_with_bots on events (start_time) where json_array_length(bots) > 0;
