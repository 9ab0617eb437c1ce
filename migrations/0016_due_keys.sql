-- A claim finds its keys without passing those that it may not take, however many there are. `is_due`: it may be claimed, as far
-- as time goes; what was put off is not until a claim after its `due_at` says so. So the keys that are due lie together, in the
-- order of claims and apart by the budget that they wait for.
alter table reconcile_queue add column is_due boolean not null default true;
update reconcile_queue set is_due = false where due_at > now();

drop index reconcile_queue_events;
drop index reconcile_queue_listings;
drop index reconcile_queue_due_at;
create index reconcile_queue_due_events on reconcile_queue (coalesce(waits_for, ''), deadline, due_at)
    where kind = 'event' and is_due and leased_until is null;
create index reconcile_queue_due_listings on reconcile_queue (coalesce(waits_for, ''), deadline, due_at)
    where kind <> 'event' and is_due and leased_until is null;
create index reconcile_queue_later on reconcile_queue (due_at) where not is_due;
create index reconcile_queue_leased on reconcile_queue (leased_until) where leased_until is not null;

-- What sweeps wake, and what operators look for.
create index reconcile_queue_parked on reconcile_queue (kind, key) where due_at = 'infinity';
create index reconcile_queue_troubled on reconcile_queue (deadline) where last_error is not null;

-- Rows come and go, and what is left of them in the indexes lies where claims begin to look.
alter table reconcile_queue set (autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 1000);

-- When all upcoming events were last requested that a configuration had not decided on. While none of the earlier ones has run
-- since, there are no more of them.
alter table configurations add column asked_at timestamptz;
