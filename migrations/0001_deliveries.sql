-- Deliveries: one row for each webhook POST that was proven and acknowledged. The primary key is what makes a repeated
-- delivery cost nothing; the row and the request for the calendar's key are committed together (P1).
create table deliveries (
    id              text primary key,     -- the sender's message id, or `direct_<uuid>` where the sender has none
    topic           text not null,
    calendar_id     uuid,                 -- null for topics that rollcall does not act on
    last_updated_ts timestamptz,          -- `calendar.sync_events` only
    proved_by       text not null,        -- which configured secret or token, by position; never the value
    received_at     timestamptz not null
);
