//! Questions to the ledger: sums by what people ask for, and single calls.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
};

use rusqlite::{Connection, InterruptHandle, OpenFlags, types::Value};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};

use super::{
    dimension::{Condition, Dimension, Dimensions},
    schema::{self, SchemaError},
    store::{BUSY, HOUR, NANOS},
    times::{self, Times},
};

/// The database, for whoever reads it.
#[derive(Debug)]
pub struct Ledger {
    database: Connection,
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

/// What a group of calls adds up to.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Group {
    /// One value for each dimension asked for; absent where the calls have none.
    pub key: Vec<Option<String>>,
    /// Calls.
    pub calls: u64,
    /// Those that failed, or were cut off.
    pub errors: u64,
    /// Those that repeated one that had failed.
    pub retries: u64,
    /// Those of which at least one token count is known; the sums below are theirs.
    pub known_usage: u64,
    /// Prompt tokens, cached ones included.
    pub input_tokens: u64,
    /// Of those, read from the provider's cache.
    pub cache_read_input_tokens: u64,
    /// Of those, written to it.
    pub cache_creation_input_tokens: u64,
    /// Generated tokens, reasoning included.
    pub output_tokens: u64,
    /// Of those, spent on reasoning.
    pub reasoning_tokens: u64,
    /// Calls whose cost is known.
    pub known_cost: u64,
    /// What those cost, US dollars.
    pub cost_usd: f64,
    /// What those under subscriptions would have cost, US dollars.
    pub list_cost_usd: f64,
    /// Time that all calls took together, seconds.
    pub duration_seconds: f64,
    /// How long they took.
    pub durations: Times,
    /// How long the first token took, where there was one.
    pub first_tokens: Times,
}

/// The answer to a question.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// What it is about: from the beginning of an hour where the single calls of it are gone.
    pub span: Span,
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
            schema::check(&database)?;
            Ok(database)
        };
        let database = open().map_err(|source| LedgerError::Open { path: path.to_owned(), source })?;
        Ok(Self { database, of_user: None, most_groups: usize::MAX })
    }

    /// The same for a user who may see no other's calls: those of their processes and of their logins.
    #[must_use]
    pub fn of_user(self, uid: u32) -> Self {
        Self { of_user: Some(uid), ..self }
    }

    /// The same with a bound on what a report may have.
    #[must_use]
    pub fn with_most_groups(self, most_groups: usize) -> Self {
        Self { most_groups, ..self }
    }

    /// What stops a question from another thread; one that has not begun goes on.
    #[must_use]
    pub fn interrupt_handle(&self) -> InterruptHandle {
        self.database.get_interrupt_handle()
    }

    /// Adds up the calls of a stretch of time, by `dimensions`, of those that meet all `conditions`.
    ///
    /// Whole hours are taken from their sums and the rest from single calls, so a month takes no longer
    /// than its hours. A call with two tools counts for both where tools are asked for.
    ///
    /// # Errors
    /// The database's.
    pub fn report(
        &self,
        span: Span,
        dimensions: &[Dimension],
        conditions: &[Condition],
    ) -> Result<Report, LedgerError> {
        let asked = Dimensions::new(dimensions, conditions).of_user(self.of_user);
        let parts = self.parts(span, asked.need_calls())?;
        let mut groups = HashMap::<Vec<Option<String>>, Group>::new();
        for part in &parts.parts {
            self.sums(part, &asked, &mut groups)?;
            self.times(part, &asked, &mut groups)?;
        }
        let mut groups: Vec<Group> = groups.into_iter().map(|(key, group)| Group { key, ..group }).collect();
        groups.sort_by(|a, b| {
            let tokens = |group: &Group| group.input_tokens + group.output_tokens;
            b.cost_usd
                .total_cmp(&a.cost_usd)
                .then_with(|| tokens(b).cmp(&tokens(a)))
                .then_with(|| b.calls.cmp(&a.calls))
                .then_with(|| a.key.cmp(&b.key))
        });
        Ok(Report { span: parts.span, groups })
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
        let asked = Dimensions::new(&[], conditions).of_user(self.of_user);
        let (filter, mut values) = asked.filter();
        // One more tells whether there are earlier ones.
        values.push((i64::from(most) + 1).into());
        let span = Span {
            until: before.map_or(span.until, |at| span.until.min(at.started.saturating_add(1))),
            ..span
        };
        let after = before.map_or_else(String::new, |Position { started, row }| {
            format!("AND (call.started, call.id) < ({started}, {row})")
        });
        let source = calls(span, asked.need_tools());
        let statement = format!(
            "SELECT DISTINCT call.*, o.fields AS origin_fields, t.fields AS target_fields,
                s.fields AS session_fields
             FROM (SELECT call.id, coalesce(error, '') AS error, usage_source, {source}) c
             JOIN call ON call.id = c.id JOIN origin o ON o.id = call.origin
             JOIN target t ON t.id = call.target LEFT JOIN session s ON s.id = call.session
             WHERE true {after} {filter} ORDER BY call.started DESC, call.id DESC LIMIT ?"
        );
        let mut statement = self.database.prepare(&statement)?;
        let names: Vec<String> = statement.column_names().into_iter().map(str::to_owned).collect();
        let mut rows = statement.query(rusqlite::params_from_iter(values))?;
        let mut page = Page::default();
        while let Some(row) = rows.next()? {
            if page.calls.len() >= most as usize {
                page.earlier = true;
                break;
            }
            let position = Position { started: row.get("started")?, row: row.get("id")? };
            page.calls.push((position, stored_call(row, &names)?));
        }
        page.calls.reverse();
        Ok(page)
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

    fn sums(
        &self,
        part: &Part,
        asked: &Dimensions<'_>,
        groups: &mut HashMap<Vec<Option<String>>, Group>,
    ) -> Result<(), LedgerError> {
        let source = part.rows(asked.need_tools());
        let (filter, values) = asked.filter();
        let (columns, group_by) = asked.columns();
        let statement = format!(
            "SELECT sum(c.calls), sum(c.calls * (c.error <> '')), sum(c.retries), sum(c.known_usage),
                sum(c.input_tokens), sum(c.cache_read_input_tokens), sum(c.cache_creation_input_tokens),
                sum(c.output_tokens), sum(c.reasoning_tokens), sum(c.known_cost), sum(c.cost_usd),
                sum(c.list_cost_usd), sum(c.duration_seconds) {columns}
             FROM ({source}) c JOIN origin o ON o.id = c.origin JOIN target t ON t.id = c.target
                LEFT JOIN session s ON s.id = c.session
             WHERE true {filter} GROUP BY {group_by} true"
        );
        let mut statement = self.database.prepare(&statement)?;
        let mut rows = statement.query(rusqlite::params_from_iter(values))?;
        while let Some(row) = rows.next()? {
            if groups.len() > self.most_groups {
                return Err(LedgerError::TooManyGroups(self.most_groups));
            }
            let group = groups.entry(asked.key(row, 13)?).or_default();
            for (column, sum) in [
                &mut group.calls,
                &mut group.errors,
                &mut group.retries,
                &mut group.known_usage,
                &mut group.input_tokens,
                &mut group.cache_read_input_tokens,
                &mut group.cache_creation_input_tokens,
                &mut group.output_tokens,
                &mut group.reasoning_tokens,
                &mut group.known_cost,
            ]
            .into_iter()
            .enumerate()
            {
                *sum += row.get::<_, u64>(column)?;
            }
            group.cost_usd += row.get::<_, f64>(10)?;
            group.list_cost_usd += row.get::<_, f64>(11)?;
            group.duration_seconds += row.get::<_, f64>(12)?;
        }
        Ok(())
    }

    fn times(
        &self,
        part: &Part,
        asked: &Dimensions<'_>,
        groups: &mut HashMap<Vec<Option<String>>, Group>,
    ) -> Result<(), LedgerError> {
        let source = part.times(asked.need_tools());
        let (filter, values) = asked.filter();
        let (columns, group_by) = asked.columns();
        let statement = format!(
            "SELECT c.kind, c.time, sum(c.calls) {columns}
             FROM ({source}) c JOIN origin o ON o.id = c.origin JOIN target t ON t.id = c.target
                LEFT JOIN session s ON s.id = c.session
             WHERE true {filter} GROUP BY {group_by} c.kind, c.time"
        );
        let mut statement = self.database.prepare(&statement)?;
        let mut rows = statement.query(rusqlite::params_from_iter(values))?;
        while let Some(row) = rows.next()? {
            let Some(group) = groups.get_mut(&asked.key(row, 3)?) else { continue };
            let times = if row.get_ref(0)?.as_str() == Ok("duration") {
                &mut group.durations
            } else {
                &mut group.first_tokens
            };
            let bucket = match part {
                Part::Hours(..) => Some(row.get(1)?),
                Part::Calls(_) => times::bucket(row.get(1)?),
            };
            if let Some(bucket) = bucket {
                times.add(bucket, row.get(2)?);
            }
        }
        Ok(())
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
    /// A `SELECT` of what a group adds up, and of what calls are told apart by. A call comes once for each
    /// use of a tool where `tools` are asked for.
    fn rows(&self, tools: bool) -> String {
        match self {
            Self::Hours(first, end) => {
                format!(
                    "SELECT *, NULL AS tool, NULL AS session FROM hour WHERE hour >= {first} AND hour < {end}"
                )
            }
            Self::Calls(span) => format!(
                "SELECT origin, target, coalesce(error, '') AS error, usage_source, 1 - continued AS calls,
                    coalesce(retry, 0) > 0 AS retries,
                    input_tokens IS NOT NULL OR output_tokens IS NOT NULL AS known_usage,
                    coalesce(input_tokens, 0) AS input_tokens,
                    coalesce(cache_read_input_tokens, 0) AS cache_read_input_tokens,
                    coalesce(cache_creation_input_tokens, 0) AS cache_creation_input_tokens,
                    coalesce(output_tokens, 0) AS output_tokens,
                    coalesce(reasoning_tokens, 0) AS reasoning_tokens,
                    cost_usd IS NOT NULL AS known_cost, coalesce(cost_usd, 0.0) AS cost_usd,
                    coalesce(list_cost_usd, 0.0) AS list_cost_usd,
                    duration_seconds, {}",
                calls(*span, tools)
            ),
        }
    }

    /// A `SELECT` of how many calls took how long: buckets of whole hours, seconds of single calls.
    fn times(&self, tools: bool) -> String {
        match self {
            Self::Hours(first, end) => format!(
                "SELECT h.origin, h.target, h.error, h.usage_source, NULL AS tool,
                    NULL AS session, x.kind,
                    x.bucket AS time, x.calls
                 FROM hour h JOIN hour_time x ON x.of = h.id WHERE h.hour >= {first} AND h.hour < {end}"
            ),
            Self::Calls(span) => {
                let of = |kind, column| {
                    format!(
                        "SELECT origin, target, coalesce(error, '') AS error, usage_source, '{kind}' AS kind,
                            {column} AS time, 1 AS calls, {}
                         AND NOT continued AND {column} IS NOT NULL",
                        calls(*span, tools)
                    )
                };
                let (all, first) =
                    (of("duration", "duration_seconds"), of("first_token", "time_to_first_token_seconds"));
                format!("{all} UNION ALL {first}")
            }
        }
    }
}

/// The end of a `SELECT` of single calls: their tools and sessions, where from, which.
fn calls(Span { from, until }: Span, tools: bool) -> String {
    let (tool, uses) = if tools { TOOLS } else { ("NULL", "") };
    format!("{tool} AS tool, session FROM call {uses} WHERE started >= {from} AND started < {until}")
}

/// The column and the table of the names of a call's tools, one row each; a call without comes once.
const TOOLS: (&str, &str) = ("uses.value", "LEFT JOIN json_each(call.tool_calls) uses");

/// The fields of a line of the event log, as far as they are known.
fn stored_call(row: &rusqlite::Row<'_>, names: &[String]) -> Result<StoredCall, rusqlite::Error> {
    let mut call = Map::new();
    call.insert("type".to_owned(), "llm_usage".into());
    for (column, name) in names.iter().enumerate() {
        let value: Value = row.get(column)?;
        match (name.as_str(), value) {
            ("id" | "origin" | "target" | "session" | "pid" | "tool", _) | (_, Value::Null) => {}
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
    Ok(call)
}
