//! The database: opened and written to.

use std::{collections::HashMap, io, path::Path, time::Duration};

use rusqlite::{Connection, OpenFlags, Transaction, params};

use super::{
    prune::Progress,
    schema::{self, SchemaError},
    sums, times,
};
use crate::{
    pricing::{CostSource, Usd},
    record::{Record, line},
};

/// Nanoseconds of a second.
pub(super) const NANOS: i64 = 1_000_000_000;
/// How long one who reads or writes waits for one who holds everything, which only a migration does.
pub(super) const BUSY: Duration = Duration::from_secs(5);
/// Seconds of an hour, as rows of sums are kept by it.
pub(super) const HOUR: i64 = 3600;
/// Ids that are remembered, of origins, targets and sessions each. What is over it is looked up in the file.
const REMEMBERED: usize = 4096;
/// The most tokens that a call is taken to have had: sums of hours stay numbers that SQLite can add.
const MOST_TOKENS: u64 = 1 << 40;

/// The database, for whoever writes it.
#[derive(Debug)]
pub struct Store {
    pub(super) database: Connection,
    ids: [Ids; 3],
    pub(super) progress: Progress,
}

/// Ids by the fields that they stand for, with the last hour that the database has of them.
type Ids = HashMap<String, (i64, i64)>;

/// What is asked, of whom, by the call record's names: the same for many calls.
const TARGET: [&str; 8] =
    ["provider", "operation", "model", "response_model", "server_address", "server_port", "path", "role"];

impl Store {
    /// Opens the file, or makes it, for the owner alone: it tells who did what.
    ///
    /// # Errors
    /// The file cannot be written, is no database, or is somebody else's or a later version's.
    pub fn open(path: &Path) -> Result<Self, SchemaError> {
        make_private(path)?;
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut database = Connection::open_with_flags(path, flags)?;
        database.busy_timeout(BUSY)?;
        // Space that pruning frees goes back to the file system. Only before the first table.
        database.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
        // Written ahead: a process that is killed loses no committed row, readers do not block and are not
        // blocked.
        database.pragma_update(None, "journal_mode", "WAL")?;
        // A power cut can lose the last commits, never damage the file; `FULL` costs an fsync a commit.
        database.pragma_update(None, "synchronous", "NORMAL")?;
        // Bytes that the journal keeps when it has been written back, after a reader has held that up.
        database.pragma_update(None, "journal_size_limit", 16 << 20)?;
        // KiB of pages in memory: the daemon's promise of 40 MB has to hold.
        database.pragma_update(None, "cache_size", -1024)?;
        // The bundled SQLite has them on. With them each name that is forgotten would be looked for in every
        // call; that nothing refers to it is known from its last hour instead.
        database.pragma_update(None, "foreign_keys", false)?;
        times::register(&database)?;
        schema::migrate(&mut database)?;
        Ok(Self { database, ids: Default::default(), progress: Progress::default() })
    }

    /// Stores calls, all or none.
    ///
    /// # Errors
    /// The database's; nothing of it is stored then.
    pub fn append<'a>(&mut self, records: impl IntoIterator<Item = &'a Record>) -> rusqlite::Result<()> {
        let Self { database, ids, .. } = self;
        let stored = database.transaction().and_then(|transaction| {
            let last: i64 =
                transaction.query_row("SELECT coalesce(max(id), 0) FROM call", [], |row| row.get(0))?;
            for record in records {
                insert(&transaction, ids, record)?;
            }
            add_up(&transaction, last)?;
            transaction.commit()
        });
        if stored.is_err() {
            // Ids that were given within it mean nothing now.
            self.forget_ids();
        }
        stored
    }

    /// Ids are looked up again.
    pub(super) fn forget_ids(&mut self) {
        self.ids = Default::default();
    }
}

/// Adds what was stored after the call of this number to the sums of its hours. The sums are made of the rows
/// themselves, so that they cannot tell anything else.
fn add_up(transaction: &Transaction<'_>, last: i64) -> rusqlite::Result<()> {
    let (names, sums, both) = (sums::names(), sums::of_calls(), sums::of_both());
    transaction
        .prepare_cached(&format!(
            "INSERT INTO hour (hour, origin, target, error, usage_source, {names})
             SELECT (c.started - (c.started % {nanos} + {nanos}) % {nanos}) / {nanos}, c.origin, c.target, coalesce(c.error, ''), c.usage_source, {sums}
             FROM call c WHERE c.id > ?1 GROUP BY 1, 2, 3, 4, 5
             ON CONFLICT DO UPDATE SET {both}",
            nanos = HOUR * NANOS,
        ))?
        .execute([last])?;
    Ok(())
}

/// Makes the file, if there is none, for nobody else to read. SQLite gives its companions the same mode.
fn make_private(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt as _;
    std::fs::OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path).map(drop)
}

fn insert(
    transaction: &Transaction<'_>,
    [origins, targets, sessions]: &mut [Ids; 3],
    record: &Record,
) -> rusqlite::Result<()> {
    let Record { call, cost, origin, started_unix_nanos } = record;
    let origin_fields = in_common(origin).map_err(to_sql)?;
    let mut fields = line::fields(record).map_err(to_sql)?;
    fields.retain(|name, _| TARGET.contains(&name.as_str()));
    let target_fields = serde_json::to_string(&fields).map_err(to_sql)?;
    let started = i64::try_from(*started_unix_nanos).unwrap_or_default();
    let hour = started.div_euclid(HOUR * NANOS);
    let origin_id = id(transaction, origins, Table::Origin, origin_fields, hour)?;
    let target_id = id(transaction, targets, Table::Target, target_fields, hour)?;
    let session = origin.session.as_ref().map(serde_json::to_string).transpose().map_err(to_sql)?;
    let session_id =
        session.map(|fields| id(transaction, sessions, Table::Session, fields, hour)).transpose()?;
    let list = |names: &[String]| {
        (!names.is_empty()).then(|| serde_json::to_string(names)).transpose().map_err(to_sql)
    };
    let number = |tokens: Option<u64>| tokens.map(|tokens| tokens.min(MOST_TOKENS));
    let finite = |seconds: Option<f64>| seconds.filter(|seconds| seconds.is_finite());
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

/// Where what many calls have in common is stored once.
#[derive(Clone, Copy)]
pub(super) enum Table {
    Origin,
    Target,
    Session,
}

impl Table {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Origin => "origin",
            Self::Target => "target",
            Self::Session => "session",
        }
    }
}

/// The row that has these fields, made where there is none, with a call in this hour.
fn id(
    transaction: &Transaction<'_>,
    remembered: &mut Ids,
    table: Table,
    fields: String,
    hour: i64,
) -> rusqlite::Result<i64> {
    if let Some((id, last_hour)) = remembered.get(&fields)
        && hour <= *last_hour
    {
        return Ok(*id);
    }
    let (id, last_hour) = find_or_make(transaction, table, &fields, hour)?;
    if remembered.len() >= REMEMBERED {
        remembered.clear();
    }
    remembered.insert(fields, (id, last_hour));
    Ok(id)
}

/// Its id, and the last hour in which there was a call of it.
pub(super) fn find_or_make(
    transaction: &Transaction<'_>,
    table: Table,
    fields: &str,
    hour: i64,
) -> rusqlite::Result<(i64, i64)> {
    let name = table.name();
    transaction
        .prepare_cached(&format!(
            "INSERT INTO {name} (fields, last_hour) VALUES (?1, ?2)
             ON CONFLICT DO UPDATE SET last_hour = max(last_hour, excluded.last_hour) RETURNING id, last_hour"
        ))?
        .query_row(params![fields, hour], |row| Ok((row.get(0)?, row.get(1)?)))
}
