-- How often in a row the list of a calendar's events was read again because it had changed while it was read page by page.
alter table calendars add column repeats smallint not null default 0;
