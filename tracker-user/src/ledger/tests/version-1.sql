-- As the first version made it, and what it stored of two calls that are alike.
PRAGMA auto_vacuum = INCREMENTAL;
PRAGMA journal_mode = WAL;
BEGIN;
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
CREATE TABLE hour_time (
    of INTEGER NOT NULL REFERENCES hour ON DELETE CASCADE,
    kind TEXT NOT NULL,
    bucket INTEGER NOT NULL,
    calls INTEGER NOT NULL,
    PRIMARY KEY (of, kind, bucket)
) STRICT, WITHOUT ROWID;
INSERT INTO origin (id, fields) VALUES
    (1, '{"agent":{"name":"claude","pid":4700},"cgroup":"/docker/abc","container":{"id":"abc","image":"nginx:1.29","image_id":"sha256:0123","labels":{"example.org/team":"red"},"name":"web","namespace":"shop","pod":"web-7d4b9c6f5b-x2x7z","pod_uid":"p-1","runtime":"docker","workload":"deployment/web"},"login":{"session":"5","uid":1001,"user":"grace"},"process":{"exe":"/usr/bin/python3.11","name":"python3","uid":1000,"user":"ada"},"slice":"b.slice","unit":"a.service"}');
INSERT INTO target (id, fields) VALUES
    (1, '{"model":"gpt-4o","operation":"chat","path":"/v1/chat/completions","provider":"openai","response_model":"gpt-4o-2024-08-06","role":"client","server_address":"api.openai.com","server_port":443}');
INSERT INTO call (id, started, origin, target, pid, response_id, streaming, status, error, finish_reasons, input_tokens, cache_read_input_tokens, cache_creation_input_tokens, output_tokens, reasoning_tokens, usage_source, tool_calls, server_tool_calls, service_tier, continued, retry, time_to_first_token_seconds, time_per_output_token_seconds, duration_seconds, cost_usd) VALUES
    (1, 1767323045123456789, 1, 1, 4711, 'chatcmpl-1', 1, 200, 'interrupted', '["stop"]', 100, 60, 10, 20, 5, 'reported', '["get_weather"]', '["web_search"]', 'default', 0, 2, 0.25, 0.0625, 1.5, NULL);
INSERT INTO call (id, started, origin, target, pid, response_id, streaming, status, error, finish_reasons, input_tokens, cache_read_input_tokens, cache_creation_input_tokens, output_tokens, reasoning_tokens, usage_source, tool_calls, server_tool_calls, service_tier, continued, retry, time_to_first_token_seconds, time_per_output_token_seconds, duration_seconds, cost_usd) VALUES
    (2, 1767323045123456789, 1, 1, 4711, 'chatcmpl-1', 1, 200, 'interrupted', '["stop"]', 100, 60, 10, 20, 5, 'reported', '["get_weather"]', '["web_search"]', 'default', 0, 2, 0.25, 0.0625, 1.5, NULL);
INSERT INTO hour (id, hour, origin, target, error, usage_source, calls, retries, known_usage, input_tokens, cache_read_input_tokens, cache_creation_input_tokens, output_tokens, reasoning_tokens, known_cost, cost_usd, duration_seconds) VALUES
    (1, 490923, 1, 1, 'interrupted', 'reported', 2, 2, 2, 200, 120, 20, 40, 10, 0, 0.0, 3.0);
INSERT INTO hour_time VALUES (1, 'duration', 4, 2), (1, 'first_token', -16, 2);
PRAGMA application_id = 0x6c6c6d74;
PRAGMA user_version = 1;
COMMIT;
