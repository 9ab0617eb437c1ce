-- The API's limits, shared by all replicas (P8). Each class of calls has as many rows as calls are allowed in a window;
-- a call takes a row that was last taken a window ago. So the window slides exactly, and needs no count and no lock.
create table api_slots (
    class    text not null,
    slot     integer not null,
    taken_at timestamptz not null,
    primary key (class, slot)
);

create index api_slots_taken_at on api_slots (class, taken_at);

-- A 429's `Retry-After` holds all replicas.
create table api_pauses (
    class text primary key,
    until timestamptz not null
);
