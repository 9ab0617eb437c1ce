-- One list of the events of the whole workspace answers the keys of many calendars: those that ask for events only.
alter table reconcile_queue drop constraint reconcile_queue_kind_check;
alter table reconcile_queue add constraint reconcile_queue_kind_check
    check (kind in ('calendar', 'event', 'sweep', 'workspace'));

-- Calendars: nobody has hinted that the calendar itself changed.
alter table reconcile_queue add column events_only boolean not null default false;

-- How far the workspace has been seen: no calendar that is read later has an older change.
create index calendars_cursor on calendars (cursor);

-- What is known of such lists; one row. That they show the events of all calendars is inferred, so it is tested.
create table workspace_listing (
    singleton        boolean primary key default true check (singleton),
    spans            boolean,              -- what the last test showed; null: none has shown anything yet
    tested_at        timestamptz,
    rests_until      timestamptz,          -- the last one came to nothing; calendars are read one by one until then
    read_again_since timestamptz           -- the list changed while it was read page by page: the next begins here
);

-- When the last such list began that showed events of the calendar, and the latest version it showed.
alter table calendars add column shown_at timestamptz, add column shown_until timestamptz;

-- The keys that such a list may answer. `hint`: how far back they ask to look; null: the cursor is enough.
create view waiting_for_events as
select queue.key, queue.generation, queue.due_at, queue.is_due, queue.leased_until, calendars.cursor,
    least(queue.since, queue.claimed_since) as hint
from reconcile_queue as queue
join calendars on calendars.id = queue.key
where queue.kind = 'calendar' and queue.events_only and queue.progress is null and queue.attempt = 0
  and calendars.status = 'connected' and calendars.gone_at is null
  -- It was read whole, in one piece since.
  and calendars.cursor is not null and calendars.paged_since is null
  and coalesce(least(queue.since, queue.claimed_since) > 'epoch', true);
