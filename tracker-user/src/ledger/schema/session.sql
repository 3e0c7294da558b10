-- What calls were run for. There may be a session for each data point of a harness, so sums by the hour do not tell
-- them apart, and calls without one cost nothing.
CREATE TABLE session (
    id INTEGER PRIMARY KEY,
    fields TEXT NOT NULL UNIQUE
) STRICT;
ALTER TABLE call ADD COLUMN session INTEGER REFERENCES session;
CREATE INDEX call_session ON call (session, started) WHERE session IS NOT NULL;
