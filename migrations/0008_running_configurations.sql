-- A configuration decides while it runs: its replicas renew this, as a turn does its lease.
alter table configurations add column runs_until timestamptz not null default 'epoch';
