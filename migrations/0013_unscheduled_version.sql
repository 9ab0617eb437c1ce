-- The version of the event that the last Delete Bot answered: what it still lists then is in a call.
alter table decisions add column unscheduled_version timestamptz;
