-- One row a call. What many calls have in common is stored once: who made them (`origin`) and what
-- they asked (`target`). `origin.fields` is the call record's JSON without the process id, so that
-- a new field of it needs no new column.
CREATE TABLE origin (
    id INTEGER PRIMARY KEY,
    fields TEXT NOT NULL UNIQUE
) STRICT;
CREATE TABLE target (
    id INTEGER PRIMARY KEY,
    fields TEXT NOT NULL UNIQUE
) STRICT;
CREATE TABLE call (
    id INTEGER PRIMARY KEY,
    started INTEGER NOT NULL,
    origin INTEGER NOT NULL REFERENCES origin,
    target INTEGER NOT NULL REFERENCES target,
    pid INTEGER NOT NULL,
    response_id TEXT,
    streaming INTEGER NOT NULL,
    status INTEGER,
    error TEXT,
    finish_reasons TEXT,
    input_tokens INTEGER,
    cache_read_input_tokens INTEGER,
    cache_creation_input_tokens INTEGER,
    output_tokens INTEGER,
    reasoning_tokens INTEGER,
    usage_source TEXT NOT NULL,
    tool_calls TEXT,
    server_tool_calls TEXT,
    service_tier TEXT,
    continued INTEGER NOT NULL,
    retry INTEGER,
    time_to_first_token_seconds REAL,
    time_per_output_token_seconds REAL,
    duration_seconds REAL NOT NULL,
    cost_usd REAL
) STRICT;
CREATE INDEX call_started ON call (started);
-- The same by the hour, so that a month is added up without reading its calls. `known_*` says how
-- many calls a sum is of: what is not known is not zero.
CREATE TABLE hour (
    id INTEGER PRIMARY KEY,
    hour INTEGER NOT NULL,
    origin INTEGER NOT NULL REFERENCES origin,
    target INTEGER NOT NULL REFERENCES target,
    error TEXT NOT NULL,
    usage_source TEXT NOT NULL,
    calls INTEGER NOT NULL,
    retries INTEGER NOT NULL,
    known_usage INTEGER NOT NULL,
    input_tokens INTEGER NOT NULL,
    cache_read_input_tokens INTEGER NOT NULL,
    cache_creation_input_tokens INTEGER NOT NULL,
    output_tokens INTEGER NOT NULL,
    reasoning_tokens INTEGER NOT NULL,
    known_cost INTEGER NOT NULL,
    cost_usd REAL NOT NULL,
    duration_seconds REAL NOT NULL,
    UNIQUE (hour, origin, target, error, usage_source)
) STRICT;
-- How many calls took how long: `bucket` as `times::bucket` has it.
CREATE TABLE hour_time (
    of INTEGER NOT NULL REFERENCES hour ON DELETE CASCADE,
    kind TEXT NOT NULL,
    bucket INTEGER NOT NULL,
    calls INTEGER NOT NULL,
    PRIMARY KEY (of, kind, bucket)
) STRICT, WITHOUT ROWID;
