-- The event logs of a fleet in ClickHouse, one row a call. A host's log is loaded as it is:
--
--   clickhouse-client --query 'INSERT INTO llm.calls FORMAT JSONEachRow' \
--     --input_format_skip_unknown_fields 1 --date_time_input_format best_effort < events.jsonl
--
-- What is absent in a line is NULL where absent and nought are two things, and empty elsewhere.

CREATE DATABASE IF NOT EXISTS llm;

CREATE TABLE IF NOT EXISTS llm.calls
(
    timestamp DateTime64(6, 'UTC'),
    host LowCardinality(String) DEFAULT hostName(),
    provider LowCardinality(String),
    operation LowCardinality(String),
    model LowCardinality(String),
    response_model LowCardinality(String),
    response_id String,
    server_address LowCardinality(String),
    role LowCardinality(String),
    streaming Bool,
    status UInt16,
    error LowCardinality(String),
    input_tokens Nullable(UInt64),
    cache_read_input_tokens Nullable(UInt64),
    cache_creation_input_tokens Nullable(UInt64),
    output_tokens Nullable(UInt64),
    reasoning_tokens Nullable(UInt64),
    usage_source LowCardinality(String),
    time_to_first_token_seconds Nullable(Float64),
    duration_seconds Nullable(Float64),
    cost_usd Nullable(Float64),
    process Tuple(pid UInt32, name String, exe String, uid UInt32, user String),
    cgroup String,
    unit LowCardinality(String),
    agent Tuple(name String, pid UInt32),
    container Tuple(id String, name String, image String, runtime String, pod String, namespace String)
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(timestamp)
ORDER BY (provider, model, timestamp)
TTL toDateTime(timestamp) + INTERVAL 400 DAY;

-- A line that is loaded twice, as after a crash, is counted once.
CREATE VIEW IF NOT EXISTS llm.bill AS
SELECT
    toStartOfDay(timestamp) AS day,
    container.namespace AS namespace,
    process.user AS user,
    process.name AS process,
    agent.name AS agent,
    provider,
    model,
    count() AS calls,
    sum(input_tokens) AS input,
    sum(cache_read_input_tokens) AS cache_read,
    sum(output_tokens) AS output,
    sum(cost_usd) AS cost
FROM (SELECT DISTINCT * FROM llm.calls WHERE role = 'client')
GROUP BY ALL;
