-- Claims take from both, so that calendars that wait never keep them from the meetings that are about to begin.
drop index reconcile_queue_deadline;
create index reconcile_queue_events on reconcile_queue (deadline, due_at) where kind = 'event';
create index reconcile_queue_listings on reconcile_queue (deadline, due_at) where kind <> 'event';
