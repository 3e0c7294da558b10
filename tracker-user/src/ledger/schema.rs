//! The tables: what is stored, and how an older file becomes a newer one.

use rusqlite::{Connection, ffi, types::FromSql as _};

/// What `PRAGMA application_id` says, so that `file` and we know whose a database is: `llmt`.
const APPLICATION_ID: i32 = 0x6c6c_6d74;

/// From each version to the next. Never changed once released, only added to.
const MIGRATIONS: [&str; 3] = [
    // One row a call. What many calls have in common is stored once: who made them (`origin`) and what
    // they asked (`target`). `origin.fields` is the call record's JSON without the process id, so that
    // a new field of it needs no new column.
    "CREATE TABLE origin (
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
    ) STRICT, WITHOUT ROWID;",
    // Tokens of kinds that have prices of their own, who says what a call costs, and what it would have cost
    // where it was made under a subscription.
    "ALTER TABLE call ADD COLUMN cache_creation_1h_input_tokens INTEGER;
    ALTER TABLE call ADD COLUMN audio_input_tokens INTEGER;
    ALTER TABLE call ADD COLUMN image_input_tokens INTEGER;
    ALTER TABLE call ADD COLUMN audio_output_tokens INTEGER;
    ALTER TABLE call ADD COLUMN image_output_tokens INTEGER;
    ALTER TABLE call ADD COLUMN list_cost_usd REAL;
    ALTER TABLE call ADD COLUMN cost_source TEXT;
    ALTER TABLE hour ADD COLUMN list_cost_usd REAL NOT NULL DEFAULT 0.0;",
    // What calls were run for. There may be a session for each data point of a harness, so sums by the hour do
    // not tell them apart, and calls without one cost nothing.
    "CREATE TABLE session (
        id INTEGER PRIMARY KEY,
        fields TEXT NOT NULL UNIQUE
    ) STRICT;
    ALTER TABLE call ADD COLUMN session INTEGER REFERENCES session;
    CREATE INDEX call_session ON call (session, started) WHERE session IS NOT NULL;",
];

/// Why a file is not a ledger that can be used.
#[derive(Debug, thiserror::Error)]
pub enum SchemaError {
    /// It is a database, but somebody else's.
    #[error("the database is not llm-tracker's (its application id is {0:#x})")]
    Foreign(i32),
    /// It was written by a later version.
    #[error("it has version {found}, and this llm-tracker knows up to {known}: use the newer one")]
    Newer {
        /// The file's.
        found: i32,
        /// Ours.
        known: i32,
    },
    /// The database said no.
    #[error(transparent)]
    Database(#[from] rusqlite::Error),
}

/// The version that this code reads and writes.
pub(super) const VERSION: i32 = MIGRATIONS.len() as i32;

/// Makes the tables of a new file, and brings those of an older one up to date; all or nothing.
///
/// # Errors
/// The file is somebody else's, of a later version, or cannot be written.
pub(super) fn migrate(database: &mut Connection) -> Result<(), SchemaError> {
    let version = check(database)?;
    let Some(missing) = MIGRATIONS.get(usize::try_from(version).unwrap_or(usize::MAX)..) else {
        return Err(SchemaError::Newer { found: version, known: VERSION });
    };
    if missing.is_empty() {
        return Ok(());
    }
    let transaction = database.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    for step in missing {
        transaction.execute_batch(step)?;
    }
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    transaction.pragma_update(None, "user_version", VERSION)?;
    Ok(transaction.commit()?)
}

/// Whether a file can be read by this code; its version.
///
/// # Errors
/// As [`migrate`].
pub(super) fn check(database: &Connection) -> Result<i32, SchemaError> {
    let pragma = |name| {
        database.pragma_query_value(None, name, |row| i32::column_result(row.get_ref(0)?).map_err(Into::into))
    };
    let (id, version) = (pragma("application_id")?, pragma("user_version")?);
    let tables: i64 = database.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    if tables > 0 && id != APPLICATION_ID {
        return Err(SchemaError::Foreign(id));
    }
    if version > VERSION {
        return Err(SchemaError::Newer { found: version, known: VERSION });
    }
    Ok(version)
}

/// Whether an error says that the file is no database, or not a whole one.
pub(super) fn is_corrupt(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ffi::ErrorCode::DatabaseCorrupt | ffi::ErrorCode::NotADatabase))
}
