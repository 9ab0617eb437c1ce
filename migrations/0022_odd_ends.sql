-- Events whose end is before their start are over when they begin. Whoever looks for what is not over finds them here: there is
-- hardly ever one, and the others by their end.
create index events_that_end_before_they_begin on events (start_time) where end_time < start_time;
