-- The last run, if it took several pages: where it began to look (the epoch: a full run), and when its last page came.
alter table calendars add column paged_since timestamptz, add column paged_until timestamptz;
