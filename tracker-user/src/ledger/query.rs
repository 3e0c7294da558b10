//! Questions to the ledger: sums by what people ask for, and single calls.

use std::path::{Path, PathBuf};

use rusqlite::{Connection, InterruptHandle, OpenFlags, types::Value};
use serde_json::{Map, Value as Json};

use super::{
    dimension::{Condition, Dimension, Dimensions},
    groups::{Group, Groups},
    schema::{self, SchemaError},
    store::{BUSY, HOUR, NANOS},
    sums::{self, Sums},
    times,
};
use crate::provider::{Call, UsageSource};

/// Groups that a report may have, some 50 MB, unless it is said otherwise.
const MOST_GROUPS: usize = 100_000;

/// The database, for whoever reads it.
#[derive(Debug)]
pub struct Ledger {
    database: Connection,
    path: PathBuf,
    /// The only user whose calls are shown; absent is everybody's.
    of_user: Option<u32>,
    /// A report may have so many groups at most.
    most_groups: usize,
}

/// Why a question has no answer. Its message says what to do.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// There is no such file.
    #[error(
        "there is no ledger at {0}: `llm-tracker run --ledger FILE` keeps one (its default is /var/lib/llm-tracker/ledger.db with the packaged service)"
    )]
    Missing(PathBuf),
    /// The file is there and cannot be used.
    #[error("cannot read the ledger {path}: {source}")]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        source: SchemaError,
    },
    /// The database said no.
    #[error("the ledger does not answer: {0}")]
    Query(#[from] rusqlite::Error),
    /// The answer would be too large.
    #[error("there are more than {0} groups: ask for fewer dimensions, or for less with `where`")]
    TooManyGroups(usize),
}

/// A stretch of time: from the first to before the second, nanoseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The first moment.
    pub from: i64,
    /// The first moment after it.
    pub until: i64,
}

/// What calls add up to.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// What it is about: from the beginning of an hour where the single calls of it are gone.
    pub span: Span,
    /// All calls together. A call counts once, also where it counts in several groups.
    pub total: Sums,
    /// The dearest first, then those with the most tokens, then with the most calls.
    pub groups: Vec<Group>,
}

/// A call as it was stored: the fields of the event log's line.
pub type StoredCall = Map<String, Json>;

/// Where a call is in the order of all: by when it began, then by when it was stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// Nanoseconds since the Unix epoch.
    pub started: i64,
    /// Its row.
    pub row: i64,
}

/// Some of many calls.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Page {
    /// In order, and where each is.
    pub calls: Vec<(Position, StoredCall)>,
    /// Whether there are earlier ones.
    pub earlier: bool,
}

impl Ledger {
    /// Opens a file for reading.
    ///
    /// # Errors
    /// There is none, it cannot be read, or it is no ledger.
    pub fn open(path: &Path) -> Result<Self, LedgerError> {
        if !path.exists() {
            return Err(LedgerError::Missing(path.to_owned()));
        }
        let open = || -> Result<Connection, SchemaError> {
            let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
            let database = Connection::open_with_flags(path, flags)?;
            database.busy_timeout(BUSY)?;
            // What SQLite sorts besides is in memory: nobody else can read it, and a full disk is no matter.
            database.pragma_update(None, "temp_store", "MEMORY")?;
            times::register(&database)?;
            let version = schema::check(&database)?;
            // The daemon brings its file up to date when it starts; a reader cannot.
            if version < schema::VERSION {
                return Err(SchemaError::Older { found: version, known: schema::VERSION });
            }
            Ok(database)
        };
        let database = open().map_err(|source| LedgerError::Open { path: path.to_owned(), source })?;
        Ok(Self { database, path: path.to_owned(), of_user: None, most_groups: MOST_GROUPS })
    }

    /// The same for a user who may see no other's calls: those of their processes and of their logins.
    #[must_use]
    pub fn of_user(self, uid: u32) -> Self {
        Self { of_user: Some(uid), ..self }
    }

    /// The same with another bound on the groups of a report.
    #[must_use]
    pub fn with_most_groups(self, most_groups: usize) -> Self {
        Self { most_groups, ..self }
    }

    /// What stops a question from another thread; one that has not begun goes on.
    #[must_use]
    pub fn interrupt_handle(&self) -> InterruptHandle {
        self.database.get_interrupt_handle()
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Adds up the calls of a stretch of time, by `dimensions`, of those that meet all `conditions`.
    ///
    /// Whole hours are taken from their sums and the rest from single calls, so a month takes no longer
    /// than its hours. A call with two tools counts for both where tools are asked for. Calls that a watched process
    /// served are somebody's usage elsewhere, or here a second time: they count only where roles are asked for.
    ///
    /// # Errors
    /// The database's.
    pub fn report(
        &self,
        span: Span,
        dimensions: &[Dimension],
        conditions: &[Condition],
    ) -> Result<Report, LedgerError> {
        let mut conditions = conditions.to_vec();
        let mut asked_for = dimensions.iter().chain(conditions.iter().map(Condition::dimension));
        if !asked_for.any(Dimension::is_role) {
            conditions.push(Condition::of_clients());
        }
        let conditions = conditions.as_slice();
        let asked = Dimensions::new(dimensions, conditions).of_user(self.of_user);
        // All of one state of the file: nothing is counted twice, or missed, while calls come and go.
        let transaction = self.database.unchecked_transaction()?;
        let Parts { span, parts } = self.parts(span, asked.need_calls())?;
        let mut groups = self.groups(&parts, &asked)?;
        let total = if asked.by_tool() {
            let all = Dimensions::new(&[], conditions).of_user(self.of_user);
            self.groups(&parts, &all)?.pop().unwrap_or_default().sums
        } else {
            groups.iter().fold(Sums::default(), |mut total, group| {
                total.add(&group.sums);
                total
            })
        };
        transaction.finish()?;
        groups.sort_by(|a, b| {
            let tokens = |sums: &Sums| sums.input_tokens.saturating_add(sums.output_tokens);
            b.sums
                .cost_usd
                .total_cmp(&a.sums.cost_usd)
                .then_with(|| tokens(&b.sums).cmp(&tokens(&a.sums)))
                .then_with(|| b.sums.calls.cmp(&a.sums.calls))
                .then_with(|| a.key.cmp(&b.key))
        });
        Ok(Report { span, total, groups })
    }

    /// The groups of all parts together.
    fn groups(&self, parts: &[Part], asked: &Dimensions<'_>) -> Result<Vec<Group>, LedgerError> {
        let mut names = self.database.prepare(&asked.names())?;
        let mut groups = Groups::new(self.most_groups, asked);
        let (filter, values) = asked.filter();
        for part in parts {
            let mut statement = self.database.prepare(&part.rows(asked, &filter))?;
            let mut rows = statement.query(rusqlite::params_from_iter(&values))?;
            while let Some(row) = rows.next()? {
                groups.add(row, asked, &mut names)?;
            }
        }
        Ok(groups.into_vec())
    }

    /// Single calls that began in a stretch of time and meet all conditions, the latest `most`, in order.
    ///
    /// # Errors
    /// The database's.
    pub fn calls(
        &self,
        span: Span,
        conditions: &[Condition],
        most: u32,
    ) -> Result<Vec<StoredCall>, LedgerError> {
        let page = self.page(span, conditions, most, None)?;
        Ok(page.calls.into_iter().map(|(_, call)| call).collect())
    }

    /// The same of those before a position.
    ///
    /// # Errors
    /// The database's.
    pub fn page(
        &self,
        span: Span,
        conditions: &[Condition],
        most: u32,
        before: Option<Position>,
    ) -> Result<Page, LedgerError> {
        let span = Span {
            until: before.map_or(span.until, |at| span.until.min(at.started.saturating_add(1))),
            ..span
        };
        let before = before.map_or_else(String::new, |Position { started, row }| {
            format!("AND (c.started, c.id) < ({started}, {row})")
        });
        let order = format!("{before} ORDER BY c.started DESC, c.id DESC");
        // One more tells whether there are earlier ones.
        let mut calls = self.select(span, conditions, &order, i64::from(most) + 1)?;
        let earlier = calls.len() > most as usize;
        calls.truncate(most as usize);
        calls.reverse();
        Ok(Page { calls, earlier })
    }

    /// The latest calls, and the number of the call that was stored last, from which [`Self::calls_after`] goes
    /// on.
    ///
    /// # Errors
    /// The database's.
    pub fn calls_and_number(
        &self,
        span: Span,
        conditions: &[Condition],
        most: u32,
    ) -> Result<(Vec<StoredCall>, i64), LedgerError> {
        // Both of one state of the file.
        let transaction = self.database.unchecked_transaction()?;
        let last = self.last_number()?;
        let calls = self.calls(span, conditions, most)?;
        transaction.finish()?;
        Ok((calls, last))
    }

    /// Single calls that were stored after the one of this number and meet all conditions, at most `most`, in
    /// the order in which they were stored; and the number from which to go on.
    ///
    /// # Errors
    /// The database's.
    pub fn calls_after(
        &self,
        number: i64,
        conditions: &[Condition],
        most: u32,
    ) -> Result<(Vec<StoredCall>, i64), LedgerError> {
        let transaction = self.database.unchecked_transaction()?;
        let last = self.last_number()?;
        let span = Span { from: i64::MIN, until: i64::MAX };
        let order = format!("AND c.id > {number} ORDER BY c.id");
        let calls = self.select(span, conditions, &order, most.into())?;
        transaction.finish()?;
        let seen = calls.last().filter(|_| calls.len() >= most as usize).map(|(at, _)| at.row);
        Ok((calls.into_iter().map(|(_, call)| call).collect(), seen.unwrap_or(last)))
    }

    fn last_number(&self) -> Result<i64, LedgerError> {
        Ok(self.database.query_row("SELECT coalesce(max(id), 0) FROM call", [], |row| row.get(0))?)
    }

    /// Single calls of a stretch of time that meet all conditions, `order` being more conditions and an order.
    fn select(
        &self,
        Span { from, until }: Span,
        conditions: &[Condition],
        order: &str,
        most: i64,
    ) -> Result<Vec<(Position, StoredCall)>, LedgerError> {
        let (filter, mut values) = Dimensions::new(&[], conditions).of_user(self.of_user).filter();
        values.push(most.into());
        let statement = format!(
            "SELECT c.*, o.fields AS origin_fields, t.fields AS target_fields, s.fields AS session_fields
             FROM call c JOIN origin o ON o.id = c.origin JOIN target t ON t.id = c.target
                LEFT JOIN session s ON s.id = c.session
             WHERE c.started >= {from} AND c.started < {until} {filter} {order} LIMIT ?"
        );
        let mut statement = self.database.prepare(&statement)?;
        let names: Vec<String> = statement.column_names().into_iter().map(str::to_owned).collect();
        let mut rows = statement.query(rusqlite::params_from_iter(values))?;
        let mut calls = Vec::new();
        while let Some(row) = rows.next()? {
            let position = Position { started: row.get("started")?, row: row.get("id")? };
            calls.push((position, stored_call(row, &names)?));
        }
        Ok(calls)
    }

    /// Splits a stretch of time into whole hours, of which there are sums, and the rest.
    fn parts(&self, span: Span, need_calls: bool) -> Result<Parts, LedgerError> {
        if need_calls {
            return Ok(Parts { span, parts: vec![Part::Calls(span)] });
        }
        const HOUR_NANOS: i64 = HOUR * NANOS;
        let oldest: Option<i64> =
            self.database.query_row("SELECT min(started) FROM call", [], |row| row.get(0))?;
        let mut first = span.from.div_euclid(HOUR_NANOS);
        let mut parts = Vec::new();
        let mut from = span.from;
        if span.from.rem_euclid(HOUR_NANOS) != 0 {
            if oldest.is_some_and(|oldest| oldest > span.from) {
                // The single calls of that hour may be gone: all of it, then.
                from = first.saturating_mul(HOUR_NANOS);
            } else {
                first += 1;
                let end = first.saturating_mul(HOUR_NANOS).min(span.until);
                parts.push(Part::Calls(Span { from: span.from, until: end }));
            }
        }
        let last = span.until.div_euclid(HOUR_NANOS);
        if last > first {
            parts.push(Part::Hours(first, last));
        }
        let rest = Span { from: last.max(first).saturating_mul(HOUR_NANOS), until: span.until };
        if rest.from < rest.until {
            parts.push(Part::Calls(rest));
        }
        Ok(Parts { span: Span { from, ..span }, parts })
    }
}

/// A stretch of time by where its numbers come from.
struct Parts {
    /// What it covers, all in all.
    span: Span,
    parts: Vec<Part>,
}

enum Part {
    /// Sums of whole hours: from the first to before the second, hours since the Unix epoch.
    Hours(i64, i64),
    /// Single calls.
    Calls(Span),
}

impl Part {
    /// A `SELECT` of what each row `c` that a filter leaves adds, whether it failed and what tells its group. By
    /// tools a call comes once for each of its own, and once where it has none.
    ///
    /// Nothing is added up here: SQLite would sort all rows first, in memory.
    fn rows(&self, asked: &Dimensions<'_>, filter: &str) -> String {
        let (sums, table, column, Span { from, until }) = match self {
            Self::Hours(first, end) => (sums::names(), "hour", "hour", Span { from: *first, until: *end }),
            Self::Calls(span) => (sums::of_each_call(), "call", "started", *span),
        };
        let each = if asked.by_tool() { EACH_TOOL } else { "" };
        let columns = asked.columns();
        format!(
            "SELECT {sums}, coalesce(c.error, '') <> '' AS failed{columns} FROM {table} c {each}
             WHERE c.{column} >= {from} AND c.{column} < {until} {filter}"
        )
    }
}

/// Each of a call's tools once, however often it used them; and one row without where it used none.
const EACH_TOOL: &str = "LEFT JOIN json_each(c.tool_calls) used ON NOT EXISTS (
        SELECT 1 FROM json_each(c.tool_calls) before WHERE before.value = used.value AND before.key < used.key
    )";

/// The fields of a line of the event log, as far as they are known.
fn stored_call(row: &rusqlite::Row<'_>, names: &[String]) -> Result<StoredCall, rusqlite::Error> {
    let mut call = Map::new();
    call.insert("type".to_owned(), "llm_usage".into());
    for (column, name) in names.iter().enumerate() {
        let value: Value = row.get(column)?;
        match (name.as_str(), value) {
            ("id" | "origin" | "target" | "session" | "pid", _) | (_, Value::Null) => {}
            ("started", Value::Integer(nanos)) => {
                if let Ok(at) = jiff::Timestamp::from_nanosecond(nanos.into()) {
                    call.insert("timestamp".to_owned(), format!("{at:.6}").into());
                }
            }
            ("origin_fields" | "target_fields", Value::Text(fields)) => {
                if let Ok(Json::Object(fields)) = serde_json::from_str(&fields) {
                    call.extend(fields);
                }
            }
            ("session_fields", Value::Text(fields)) => {
                call.insert("session".to_owned(), serde_json::from_str(&fields).unwrap_or(Json::Null));
            }
            ("finish_reasons" | "tool_calls" | "server_tool_calls", Value::Text(list)) => {
                call.insert(name.clone(), serde_json::from_str(&list).unwrap_or(Json::Null));
            }
            ("streaming", Value::Integer(flag)) => _ = call.insert(name.clone(), (flag != 0).into()),
            ("continued", Value::Integer(0)) | ("retry", Value::Integer(0)) => {}
            ("continued", Value::Integer(_)) => _ = call.insert(name.clone(), true.into()),
            (_, Value::Integer(number)) => _ = call.insert(name.clone(), number.into()),
            (_, Value::Real(number)) => _ = call.insert(name.clone(), number.into()),
            (_, Value::Text(text)) => _ = call.insert(name.clone(), text.into()),
            (_, Value::Blob(_)) => {}
        }
    }
    let pid: i64 = row.get("pid")?;
    if let Some(process) = call.get_mut("process").and_then(Json::as_object_mut) {
        process.insert("pid".to_owned(), pid.into());
    }
    let sum = |a: &str, b: &str| call.get(a)?.as_i64()?.checked_add(call.get(b)?.as_i64()?);
    if let Some(total) = sum("input_tokens", "output_tokens") {
        call.insert("total_tokens".to_owned(), total.into());
    }
    let rate = || {
        let is_reported = call.get("usage_source")? == UsageSource::Reported.as_str();
        let tokens = call.get("output_tokens")?.as_u64().filter(|_| is_reported)?;
        Call::tokens_per_second(tokens, call.get("duration_seconds")?.as_f64()?)
    };
    if let Some(rate) = rate() {
        call.insert("output_tokens_per_second".to_owned(), rate.into());
    }
    Ok(call)
}
