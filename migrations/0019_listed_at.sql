-- When the sweep whose list showed the calendar last had begun. One that a sweep does not show may be gone, so it is looked at by
-- itself: a list of the workspace's events would not tell.
alter table calendars add column listed_at timestamptz;
