-- What is kept no longer is found by its age.
create index deliveries_received_at on deliveries (received_at);
create index events_tombstones on events (observed_at) where is_deleted or gone_at is not null;
create index calendars_gone_at on calendars (gone_at) where gone_at is not null;
create index decision_history_decided_at on decision_history (decided_at);
create index unreadable_events_last_seen on unreadable_events (last_seen);
