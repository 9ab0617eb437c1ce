-- How long a key rests after a failed turn, also while a request has brought its next turn forward.
alter table reconcile_queue add column rests_until timestamptz;
