//! Which thresholds of budgets were crossed: kept with the calls, so that a restart tells nobody twice.

use std::path::Path;

use rusqlite::{Connection, OpenFlags, OptionalExtension as _, params};

use super::{
    schema::{self, SchemaError},
    store::BUSY,
};

/// The thresholds that were crossed, by budget.
#[derive(Debug)]
pub struct Crossings {
    database: Connection,
}

impl Crossings {
    /// Of a ledger that is there.
    ///
    /// # Errors
    /// It cannot be written, or is no ledger.
    pub fn open(path: &Path) -> Result<Self, SchemaError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let database = Connection::open_with_flags(path, flags)?;
        database.busy_timeout(BUSY)?;
        schema::check(&database)?;
        Ok(Self { database })
    }

    /// When it was crossed, nanoseconds since the Unix epoch, if it was.
    ///
    /// # Errors
    /// The database's.
    pub fn crossed(&self, budget: &str, threshold: f64) -> rusqlite::Result<Option<i64>> {
        let statement = "SELECT at FROM budget_crossing WHERE budget = ?1 AND threshold = ?2";
        self.database.query_row(statement, params![budget, threshold], |row| row.get(0)).optional()
    }

    /// Notes that it was crossed, then.
    ///
    /// # Errors
    /// The database's.
    pub fn note(&self, budget: &str, threshold: f64, at: i64) -> rusqlite::Result<()> {
        let statement = "INSERT INTO budget_crossing VALUES (?1, ?2, ?3)
            ON CONFLICT DO UPDATE SET at = excluded.at";
        self.database.execute(statement, params![budget, threshold, at]).map(drop)
    }

    /// Forgets that it was.
    ///
    /// # Errors
    /// The database's.
    pub fn forget(&self, budget: &str, threshold: f64) -> rusqlite::Result<()> {
        let statement = "DELETE FROM budget_crossing WHERE budget = ?1 AND threshold = ?2";
        self.database.execute(statement, params![budget, threshold]).map(drop)
    }
}
