//! The tables: what is stored, and how an older file becomes a newer one.

use rusqlite::{Connection, ffi, types::FromSql as _};

#[cfg(doc)]
use super::times;

/// What `PRAGMA application_id` says, so that `file` and we know whose a database is: `llmt`.
const APPLICATION_ID: i32 = 0x6c6c_6d74;

/// From each version to the next: the first makes version 1. Never changed once released, only added to. A
/// step may use the functions of [`times::register`].
const MIGRATIONS: &[&str] = &[
    include_str!("schema/first.sql"),
    include_str!("schema/cost.sql"),
    include_str!("schema/session.sql"),
    include_str!("schema/hours.sql"),
    include_str!("schema/budget.sql"),
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
    /// It was written by an earlier version, and whoever only reads cannot change it.
    #[error(
        "it has version {found}, and this llm-tracker reads {known}: `llm-tracker run` brings it up to date"
    )]
    Older {
        /// The file's.
        found: i32,
        /// Ours.
        known: i32,
    },
    /// The file cannot be made or opened.
    #[error(transparent)]
    File(#[from] std::io::Error),
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
