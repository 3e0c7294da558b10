//! The database: opened, written to, kept within its bounds.

use std::{collections::HashMap, path::Path, time::Duration};

use rusqlite::{Connection, OpenFlags, OptionalExtension as _, Transaction, params};

use super::{
    schema::{self, SchemaError},
    times,
};
use crate::{
    pricing::{CostSource, Usd},
    record::{Record, line},
};

/// What is kept, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Single calls older than this are forgotten.
    pub calls: Duration,
    /// What they add up to by the hour is kept for so long.
    pub hours: Duration,
    /// The most that the database may take on disk, bytes; the oldest calls give way.
    pub bytes: u64,
}

/// Nanoseconds of a second.
pub(super) const NANOS: i64 = 1_000_000_000;
/// How long one who reads or writes waits for one who holds everything, which only a migration does.
pub(super) const BUSY: Duration = Duration::from_secs(5);
/// Seconds of an hour, as rows of sums are kept by it.
pub(super) const HOUR: i64 = 3600;
/// Ids that are remembered, of origins, targets and sessions each. What is over it is looked up in the file.
const REMEMBERED: usize = 4096;
/// Calls that one step of pruning takes at most, so that writing is not held up.
const PRUNED_AT_ONCE: u32 = 10_000;

/// The database, for whoever writes it.
#[derive(Debug)]
pub struct Store {
    database: Connection,
    ids: [HashMap<String, i64>; 3],
}

/// What is asked, of whom, by the call record's names: the same for many calls.
const TARGET: [&str; 8] =
    ["provider", "operation", "model", "response_model", "server_address", "server_port", "path", "role"];

impl Store {
    /// Opens the file, or makes it, for the owner alone: it tells who did what.
    ///
    /// # Errors
    /// The file cannot be written, is no database, or is somebody else's or a later version's.
    pub fn open(path: &Path) -> Result<Self, SchemaError> {
        make_private(path).map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))?;
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut database = Connection::open_with_flags(path, flags)?;
        database.busy_timeout(BUSY)?;
        // Space that pruning frees goes back to the file system. Only before the first table.
        database.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
        // Written ahead: a process that is killed loses no committed row, and readers do not block.
        database.pragma_update(None, "journal_mode", "WAL")?;
        // A power cut can lose the last commits, never damage the file; `FULL` costs an fsync a commit.
        database.pragma_update(None, "synchronous", "NORMAL")?;
        // KiB of pages in memory: the daemon's promise of 40 MB has to hold.
        database.pragma_update(None, "cache_size", -1024)?;
        // The times of an hour go with it.
        database.pragma_update(None, "foreign_keys", true)?;
        schema::migrate(&mut database)?;
        Ok(Self { database, ids: Default::default() })
    }

    /// Stores calls, all or none.
    ///
    /// # Errors
    /// The database's; nothing of it is stored then.
    pub fn append<'a>(&mut self, records: impl IntoIterator<Item = &'a Record>) -> rusqlite::Result<()> {
        let Self { database, ids } = self;
        let stored = database.transaction().and_then(|transaction| {
            for record in records {
                insert(&transaction, ids, record)?;
            }
            transaction.commit()
        });
        if stored.is_err() {
            // Ids that were given within it mean nothing now.
            *ids = Default::default();
        }
        stored
    }

    /// Forgets some of what is too old or too much; whether there is more to forget.
    ///
    /// # Errors
    /// The database's.
    pub fn prune(&mut self, now_unix_seconds: i64, retention: Retention) -> rusqlite::Result<bool> {
        let before =
            |age: Duration| now_unix_seconds.saturating_sub(i64::try_from(age.as_secs()).unwrap_or(i64::MAX));
        let transaction = self.database.transaction()?;
        let mut pruned = transaction.execute(
            "DELETE FROM call WHERE id IN (SELECT id FROM call WHERE started < ?1 ORDER BY started LIMIT ?2)",
            params![before(retention.calls).saturating_mul(NANOS), PRUNED_AT_ONCE],
        )?;
        let pages: i64 = pragma(&transaction, "page_count")?;
        let free: i64 = pragma(&transaction, "freelist_count")?;
        let size: i64 = pragma(&transaction, "page_size")?;
        if pruned == 0
            && (pages - free).saturating_mul(size) > i64::try_from(retention.bytes).unwrap_or(i64::MAX)
        {
            pruned = transaction.execute(
                "DELETE FROM call WHERE id IN (SELECT id FROM call ORDER BY started LIMIT ?1)",
                [PRUNED_AT_ONCE],
            )?;
        }
        let hour = before(retention.hours).div_euclid(HOUR);
        transaction.execute("DELETE FROM hour WHERE hour < ?1", [hour])?;
        if pruned > 0 {
            transaction.execute(
                "DELETE FROM session WHERE NOT EXISTS (SELECT 1 FROM call WHERE call.session = session.id)",
                [],
            )?;
        }
        transaction.commit()?;
        if pruned > 0 {
            // Some of the sessions among them are gone.
            self.ids = Default::default();
            self.database.execute_batch("PRAGMA incremental_vacuum(4096)")?;
        }
        Ok(pruned == PRUNED_AT_ONCE as usize)
    }
}

fn pragma(database: &Connection, name: &str) -> rusqlite::Result<i64> {
    database.pragma_query_value(None, name, |row| row.get(0))
}

/// Makes the file, if there is none, for nobody else to read. SQLite gives its companions the same mode.
fn make_private(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt as _;
    std::fs::OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path).map(drop)
}

fn insert(
    transaction: &Transaction<'_>,
    [origins, targets, sessions]: &mut [HashMap<String, i64>; 3],
    record: &Record,
) -> rusqlite::Result<()> {
    let Record { call, cost, origin, started_unix_nanos } = record;
    let origin_fields = in_common(origin).map_err(to_sql)?;
    let mut fields = line::fields(record).map_err(to_sql)?;
    fields.retain(|name, _| TARGET.contains(&name.as_str()));
    let target_fields = serde_json::to_string(&fields).map_err(to_sql)?;
    let origin_id = id(transaction, origins, Table::Origin, origin_fields)?;
    let target_id = id(transaction, targets, Table::Target, target_fields)?;
    let session = origin.session.as_ref().map(serde_json::to_string).transpose().map_err(to_sql)?;
    let session_id = session.map(|fields| id(transaction, sessions, Table::Session, fields)).transpose()?;
    let list = |names: &[String]| {
        (!names.is_empty()).then(|| serde_json::to_string(names)).transpose().map_err(to_sql)
    };
    let number = |tokens: Option<u64>| tokens.map(|tokens| i64::try_from(tokens).unwrap_or(i64::MAX));
    let finite = |seconds: Option<f64>| seconds.filter(|seconds| seconds.is_finite());
    let started = i64::try_from(*started_unix_nanos).unwrap_or_default();
    let duration = finite(Some(call.duration_seconds)).unwrap_or_default();
    let usage = &call.usage;
    let (paid, by_list) = (cost.amount().map(Usd::dollars), cost.list().map(Usd::dollars));
    transaction
        .prepare_cached(
            "INSERT INTO call (started, origin, target, pid, response_id, streaming, status, error,
                finish_reasons, input_tokens, cache_read_input_tokens, cache_creation_input_tokens,
                output_tokens, reasoning_tokens, usage_source, tool_calls, server_tool_calls, service_tier,
                continued, retry, time_to_first_token_seconds, time_per_output_token_seconds,
                duration_seconds, cost_usd, list_cost_usd, cost_source, cache_creation_1h_input_tokens,
                audio_input_tokens, image_input_tokens, audio_output_tokens, image_output_tokens, session)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19,
                ?20, ?21, ?22, ?23, ?24, ?25, ?26, ?27, ?28, ?29, ?30, ?31, ?32)",
        )?
        .execute(params![
            started,
            origin_id,
            target_id,
            origin.process.pid,
            call.response_id,
            call.streaming,
            call.status,
            call.error,
            list(&call.finish_reasons)?,
            number(usage.input_tokens),
            number(usage.cache_read_input_tokens),
            number(usage.cache_creation_input_tokens),
            number(usage.output_tokens),
            number(usage.reasoning_tokens),
            usage.source.as_str(),
            list(&call.tool_calls)?,
            list(&call.server_tool_calls)?,
            call.service_tier,
            call.continued,
            call.retry,
            finite(call.time_to_first_token_seconds),
            finite(call.time_per_output_token_seconds),
            duration,
            paid,
            by_list,
            cost.source().map(CostSource::as_str),
            number(usage.cache_creation_1h_input_tokens),
            number(usage.audio_input_tokens),
            number(usage.image_input_tokens),
            number(usage.audio_output_tokens),
            number(usage.image_output_tokens),
            session_id,
        ])?;
    let hour = started.div_euclid(NANOS * HOUR);
    let sum = |tokens: Option<u64>| number(tokens).unwrap_or_default();
    let known = usage.input_tokens.is_some() || usage.output_tokens.is_some();
    // The end of a call that was stored before brings its usage, and is no further call.
    let calls = i64::from(!call.continued);
    let sums: i64 = transaction
        .prepare_cached(
            "INSERT INTO hour (hour, origin, target, error, usage_source, calls, retries, known_usage,
                input_tokens, cache_read_input_tokens, cache_creation_input_tokens, output_tokens,
                reasoning_tokens, known_cost, cost_usd, list_cost_usd, duration_seconds)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17)
             ON CONFLICT DO UPDATE SET calls = calls + excluded.calls, retries = retries + excluded.retries,
                known_usage = known_usage + excluded.known_usage,
                input_tokens = input_tokens + excluded.input_tokens,
                cache_read_input_tokens = cache_read_input_tokens + excluded.cache_read_input_tokens,
                cache_creation_input_tokens = cache_creation_input_tokens + excluded.cache_creation_input_tokens,
                output_tokens = output_tokens + excluded.output_tokens,
                reasoning_tokens = reasoning_tokens + excluded.reasoning_tokens,
                known_cost = known_cost + excluded.known_cost, cost_usd = cost_usd + excluded.cost_usd,
                list_cost_usd = list_cost_usd + excluded.list_cost_usd,
                duration_seconds = duration_seconds + excluded.duration_seconds
             RETURNING id",
        )?
        .query_row(params![
            hour,
            origin_id,
            target_id,
            call.error.as_deref().unwrap_or_default(),
            usage.source.as_str(),
            calls,
            call.retry.is_some_and(|retry| retry > 0),
            known,
            sum(usage.input_tokens),
            sum(usage.cache_read_input_tokens),
            sum(usage.cache_creation_input_tokens),
            sum(usage.output_tokens),
            sum(usage.reasoning_tokens),
            paid.is_some(),
            paid.unwrap_or_default(),
            by_list.unwrap_or_default(),
            duration,
        ], |row| row.get(0))?;
    for (kind, seconds) in [("duration", Some(duration)), ("first_token", call.time_to_first_token_seconds)] {
        let Some(bucket) = seconds.filter(|_| !call.continued).and_then(times::bucket) else { continue };
        transaction
            .prepare_cached(
                "INSERT INTO hour_time VALUES (?1, ?2, ?3, 1) ON CONFLICT DO UPDATE SET calls = calls + 1",
            )?
            .execute(params![sums, kind, bucket])?;
    }
    Ok(())
}

/// The fields of the origin that many calls have in common: not the process id and the session, which are the
/// call's.
fn in_common(origin: &crate::attribution::Origin) -> serde_json::Result<String> {
    let mut fields = serde_json::to_value(origin)?;
    if let Some(fields) = fields.as_object_mut() {
        fields.remove("session");
    }
    if let Some(process) = fields.get_mut("process").and_then(serde_json::Value::as_object_mut) {
        process.remove("pid");
    }
    serde_json::to_string(&fields)
}

fn to_sql(error: serde_json::Error) -> rusqlite::Error {
    rusqlite::Error::ToSqlConversionFailure(error.into())
}

#[derive(Clone, Copy)]
enum Table {
    Origin,
    Target,
    Session,
}

/// The row that has these fields, made where there is none.
fn id(
    transaction: &Transaction<'_>,
    remembered: &mut HashMap<String, i64>,
    table: Table,
    fields: String,
) -> rusqlite::Result<i64> {
    if let Some(id) = remembered.get(&fields) {
        return Ok(*id);
    }
    let (find, make) = match table {
        Table::Origin => {
            ("SELECT id FROM origin WHERE fields = ?1", "INSERT INTO origin (fields) VALUES (?1)")
        }
        Table::Target => {
            ("SELECT id FROM target WHERE fields = ?1", "INSERT INTO target (fields) VALUES (?1)")
        }
        Table::Session => {
            ("SELECT id FROM session WHERE fields = ?1", "INSERT INTO session (fields) VALUES (?1)")
        }
    };
    let found = transaction.prepare_cached(find)?.query_row([&fields], |row| row.get(0)).optional()?;
    let id = match found {
        Some(id) => id,
        None => transaction.prepare_cached(make)?.insert([&fields])?,
    };
    if remembered.len() >= REMEMBERED {
        remembered.clear();
    }
    remembered.insert(fields, id);
    Ok(id)
}
