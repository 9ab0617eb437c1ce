-- Events whose Schedule Bot with this key was made, and whose answer was lost or never came: nobody knows whether the bot is
-- there. While there are any, the row stays.
alter table bot_keys add column open_calls uuid[] not null default '{}';
