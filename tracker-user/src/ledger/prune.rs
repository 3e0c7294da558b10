//! The database within its bounds: what is too old or too much is forgotten, a bit at a time.
//!
//! Single calls and their sums have an age each. Beyond that there is a bound on the whole file, which holds
//! whatever fills it: the oldest calls give way, and the oldest sums with them where sums, and the names that
//! both need, take more than half. So neither drives the other out. Hosts where every minute
//! brings new containers would have a row of sums for each of them: of an hour that is over, the rows with the
//! least cost and tokens are put together under the name `other`, as the metrics do it.

use std::time::Duration;

use rusqlite::{Connection, Result, Transaction, params};

use super::{
    store::{HOUR, NANOS, Store, Table, find_or_make},
    sums,
};

/// What is kept, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Single calls older than this are forgotten.
    pub calls: Duration,
    /// What they add up to by the hour is kept for so long.
    pub hours: Duration,
    /// The most that the database may take on disk, bytes; see the module for what gives way.
    pub bytes: u64,
}

/// Calls that one step takes at most, so that writing is not held up.
const CALLS_AT_ONCE: i64 = 10_000;
/// What part of the calls, or of the hours, one step takes at most where the file is too large: a few steps
/// do, and the latest stay whatever fills it.
const PART: i64 = 16;
/// Origins and targets that one step takes at most, each.
const NAMES_AT_ONCE: u32 = 10_000;
/// Pages that one step gives back to the file system at most.
const PAGES_AT_ONCE: u32 = 4096;
/// Rows of sums that an hour may have.
pub(super) const ROWS_AN_HOUR: u32 = 2000;
/// Hours that are left alone before they are folded: their last calls may still come.
const FOLDED_AFTER: i64 = 2;
/// How far back hours are looked at after a start, or a change of the clock.
const FOLDED_SINCE: i64 = 72;

/// What folded rows are of.
const OTHER_ORIGIN: &str = r#"{"process":{"name":"other"}}"#;
/// What folded rows were asked: by processes of this host, and what those served.
const OTHER_TARGETS: [&str; 2] = [
    r#"{"provider":"other","model":"other","role":"client"}"#,
    r#"{"provider":"other","model":"other","role":"server"}"#,
];

/// What pruning remembers from one step to the next.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// The first hour that has not been looked at, to be folded.
    fold: Option<i64>,
    /// Bytes of the sums, as they were counted last: counting reads them all.
    sums: Option<u64>,
}

impl Store {
    /// Forgets some of what is too old or too much; whether there is more to forget.
    ///
    /// # Errors
    /// The database's.
    pub fn prune(&mut self, now_unix_seconds: i64, retention: Retention) -> Result<bool> {
        let before =
            |age: Duration| now_unix_seconds.saturating_sub(i64::try_from(age.as_secs()).unwrap_or(i64::MAX));
        let Self { database, progress, .. } = self;
        let transaction = database.transaction()?;
        let calls = before(retention.calls).saturating_mul(NANOS);
        let old = forget_calls(&transaction, calls, CALLS_AT_ONCE)?;
        let hours = forget_hours(&transaction, before(retention.hours).div_euclid(HOUR))?;
        fold(&transaction, progress, now_unix_seconds.div_euclid(HOUR) - FOLDED_AFTER)?;
        // First what is too old, without which the rest may fit.
        let too_large = old == 0 && used(&transaction)? > retention.bytes;
        let freed = too_large && make_room(&transaction, progress, retention.bytes)?;
        let mut names = 0;
        for table in [Table::Origin, Table::Target, Table::Session] {
            names += forget_names(&transaction, table)?;
        }
        transaction.commit()?;
        if names > 0 {
            self.forget_ids();
        }
        if old + hours + names > 0 || freed {
            give_back(&self.database)?;
        } else {
            self.progress.sums = None;
        }
        Ok(freed || old == CALLS_AT_ONCE as usize || names >= NAMES_AT_ONCE as usize)
    }
}

/// Gives pages that are free back to the file system.
fn give_back(database: &Connection) -> Result<()> {
    let mut statement = database.prepare(&format!("PRAGMA incremental_vacuum({PAGES_AT_ONCE})"))?;
    let mut pages = statement.query([])?;
    // A row is a page.
    while pages.next()?.is_some() {}
    Ok(())
}

/// Forgets calls that began before then, nanoseconds.
fn forget_calls(transaction: &Transaction<'_>, before: i64, most: i64) -> Result<usize> {
    transaction.execute(
        "DELETE FROM call WHERE id IN (SELECT id FROM call WHERE started < ?1 ORDER BY started LIMIT ?2)",
        params![before, most],
    )
}

/// Forgets sums of hours before this one.
fn forget_hours(transaction: &Transaction<'_>, before: i64) -> Result<usize> {
    transaction.execute("DELETE FROM hour WHERE hour < ?1", [before])
}

/// Forgets the oldest of what there is too much of; whether there was anything.
fn make_room(transaction: &Transaction<'_>, progress: &mut Progress, bound: u64) -> Result<bool> {
    let sums = match progress.sums {
        Some(sums) => sums,
        None => *progress.sums.insert(bytes_of_sums(transaction)?),
    };
    let one = |statement| transaction.query_row(statement, [], |row| row.get::<_, Option<i64>>(0));
    // Numbers are given in order, and it is the oldest that go: so many are there about.
    let calls = one("SELECT (SELECT max(id) FROM call) - (SELECT min(id) FROM call)")?.unwrap_or(0);
    let mut forgotten = forget_calls(transaction, i64::MAX, CALLS_AT_ONCE.min(calls / PART + 1))?;
    if sums > bound / 2 {
        progress.sums = None;
        let ends = one("SELECT min(hour) FROM hour")?.zip(one("SELECT max(hour) FROM hour")?);
        if let Some((first, last)) = ends {
            forgotten += forget_hours(transaction, first.saturating_add((last - first) / PART + 1))?;
        }
    }
    Ok(forgotten > 0)
}

/// Bytes of the file that are in use.
fn used(database: &Connection) -> Result<u64> {
    let pragma = |name| database.pragma_query_value(None, name, |row| row.get::<_, u64>(0));
    Ok(pragma("page_count")?.saturating_sub(pragma("freelist_count")?).saturating_mul(pragma("page_size")?))
}

/// Bytes of all that is not single calls.
fn bytes_of_sums(database: &Connection) -> Result<u64> {
    database.query_row(
        "SELECT coalesce(sum(s.pgsize), 0) FROM sqlite_schema m, dbstat s
         WHERE m.tbl_name IN ('hour', 'origin', 'target', 'session') AND m.rootpage > 0 AND s.name = m.name AND s.aggregate = TRUE",
        [],
        |row| row.get(0),
    )
}

/// Forgets names of which there is neither a call nor a sum; a session has no sums.
fn forget_names(transaction: &Transaction<'_>, table: Table) -> Result<usize> {
    let one = |statement| transaction.query_row(statement, [], |row| row.get::<_, Option<i64>>(0));
    let of_calls = one("SELECT min(started) FROM call")?.map(|started| started.div_euclid(HOUR * NANOS));
    let of_hours = match table {
        Table::Session => None,
        Table::Origin | Table::Target => one("SELECT min(hour) FROM hour")?,
    };
    let oldest = of_calls.into_iter().chain(of_hours).min().unwrap_or(i64::MAX);
    let table = table.name();
    transaction.execute(
        &format!("DELETE FROM {table} WHERE id IN (SELECT id FROM {table} WHERE last_hour < ?1 LIMIT ?2)"),
        params![oldest, NAMES_AT_ONCE],
    )
}

/// Folds hours before `end` that have too many rows.
fn fold(transaction: &Transaction<'_>, progress: &mut Progress, end: i64) -> Result<()> {
    let first = progress.fold.map_or(end - FOLDED_SINCE, |hour| hour.max(end - FOLDED_SINCE));
    for hour in first..end {
        fold_hour(transaction, hour, ROWS_AN_HOUR, Fold::Origin)?;
        // Where that was not enough, because there are as many models, hosts and paths.
        fold_hour(transaction, hour, 2 * ROWS_AN_HOUR, Fold::OriginAndTarget)?;
    }
    progress.fold = Some(end.max(first));
    Ok(())
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Fold {
    Origin,
    OriginAndTarget,
}

/// Puts the rows of an hour beyond the first [`ROWS_AN_HOUR`] together, where there are more than `bound`.
fn fold_hour(transaction: &Transaction<'_>, hour: i64, bound: u32, what: Fold) -> Result<()> {
    let rows: u32 =
        transaction.query_row("SELECT count(*) FROM hour WHERE hour = ?1", [hour], |row| row.get(0))?;
    if rows <= bound {
        return Ok(());
    }
    let origin = find_or_make(transaction, Table::Origin, OTHER_ORIGIN, hour)?.0;
    let (target, folded_before) = match what {
        Fold::Origin => ("c.target".to_owned(), format!("origin = {origin}")),
        Fold::OriginAndTarget => {
            let of = |fields| find_or_make(transaction, Table::Target, fields, hour);
            let [asked, served] = [of(OTHER_TARGETS[0])?.0, of(OTHER_TARGETS[1])?.0];
            let role = "(SELECT fields ->> '$.role' FROM target WHERE id = c.target)";
            (
                format!("CASE {role} WHEN 'server' THEN {served} ELSE {asked} END"),
                format!("origin = {origin} AND target IN ({asked}, {served})"),
            )
        }
    };
    let (names, sums, both) = (sums::names(), sums::of_sums(), sums::of_both());
    transaction.execute_batch(&format!(
        "CREATE TEMP TABLE folded AS SELECT id FROM hour WHERE hour = {hour} AND NOT ({folded_before})
            ORDER BY cost_usd DESC, input_tokens + output_tokens DESC, calls DESC, id
            LIMIT -1 OFFSET {ROWS_AN_HOUR};
         INSERT INTO hour (hour, origin, target, error, usage_source, {names})
            SELECT c.hour, {origin}, {target}, c.error, c.usage_source, {sums} FROM hour c
            WHERE c.id IN (SELECT id FROM temp.folded) GROUP BY 1, 2, 3, 4, 5
            ON CONFLICT DO UPDATE SET {both};
         DELETE FROM hour WHERE id IN (SELECT id FROM temp.folded);
         DROP TABLE temp.folded;"
    ))
}
