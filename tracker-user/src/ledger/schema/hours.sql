-- How long the calls of an hour took, as one value a row in place of a table that had a row for each bucket
-- (`times.rs`), and how long those took together whose output is known.
ALTER TABLE hour ADD COLUMN durations BLOB;
ALTER TABLE hour ADD COLUMN first_tokens BLOB;
ALTER TABLE hour ADD COLUMN output_seconds REAL NOT NULL DEFAULT 0;
UPDATE hour SET
    durations = (SELECT times_counted(bucket, calls) FROM hour_time WHERE of = hour.id AND kind = 'duration'),
    first_tokens = (SELECT times_counted(bucket, calls) FROM hour_time WHERE of = hour.id AND kind = 'first_token'),
    output_seconds = iif(known_usage > 0, duration_seconds, 0);
DROP TABLE hour_time;
-- The last hour in which there was a call of theirs: without reading every call it is known which are not
-- needed any more.
ALTER TABLE origin ADD COLUMN last_hour INTEGER NOT NULL DEFAULT 0;
ALTER TABLE target ADD COLUMN last_hour INTEGER NOT NULL DEFAULT 0;
ALTER TABLE session ADD COLUMN last_hour INTEGER NOT NULL DEFAULT 0;
UPDATE origin SET last_hour = used.hour FROM (
    SELECT origin, max(hour) AS hour FROM (
        SELECT origin, hour FROM hour UNION ALL SELECT origin, started / 3600000000000 FROM call
    ) GROUP BY origin
) used WHERE used.origin = origin.id;
UPDATE target SET last_hour = used.hour FROM (
    SELECT target, max(hour) AS hour FROM (
        SELECT target, hour FROM hour UNION ALL SELECT target, started / 3600000000000 FROM call
    ) GROUP BY target
) used WHERE used.target = target.id;
UPDATE session SET last_hour =
    (SELECT coalesce(max(started), 0) / 3600000000000 FROM call WHERE call.session = session.id);
CREATE INDEX origin_last_hour ON origin (last_hour);
CREATE INDEX target_last_hour ON target (last_hour);
CREATE INDEX session_last_hour ON session (last_hour);
