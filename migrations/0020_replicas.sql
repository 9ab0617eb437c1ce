-- Who runs which configuration. One goes on running while any of its replicas does.
create table replicas (
    id         uuid primary key,     -- of the process
    generation bigint not null,      -- of the configuration that it runs
    runs_until timestamptz not null  -- renewed, as the configuration's is
);
