//! What can be seen at one moment: the answer of `/api/v1/live`, and what `llm-tracker top` shows.

use std::{borrow::Cow, cmp::Reverse, collections::BTreeMap};

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use super::{
    Owner, State, container,
    flights::Flight,
    groups::{Key, MINUTE, MINUTES, OTHER},
    model, session,
};
use crate::{
    attribution::Origin, human::moment, pricing::Usd, provider::UsageSource, record::Record, stream::Role,
};

/// The minutes of which rates are made, the present one included.
const RECENT: u64 = 5;
/// Rows of each table, at most.
const MAX_ROWS: usize = 100;

/// What calls can be told apart by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum By {
    /// The process's name (`comm`).
    Process,
    /// The container's name, else its id.
    Container,
    /// The model that was asked for, else the one that answered.
    Model,
    /// The session's name.
    Session,
    /// The provider.
    Provider,
    /// The agent that the process works for.
    Agent,
    /// The user that the process runs as.
    User,
}

impl By {
    /// All, in the order in which they are offered.
    pub const ALL: [Self; 7] =
        [Self::Process, Self::Container, Self::Model, Self::Session, Self::Provider, Self::Agent, Self::User];

    /// As it is written in the snapshot.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Process => "process",
            Self::Container => "container",
            Self::Model => "model",
            Self::Session => "session",
            Self::Provider => "provider",
            Self::Agent => "agent",
            Self::User => "user",
        }
    }
}

/// Sums over calls that have ended. What a call's provider did not say is in none of them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Sums {
    /// Calls.
    pub calls: u64,
    /// Those that failed.
    pub errors: u64,
    /// Prompt tokens, reported or estimated.
    pub input_tokens: u64,
    /// Generated tokens, reported or estimated.
    pub output_tokens: u64,
    /// Calls of which the cost is known.
    pub calls_with_cost: u64,
    /// What those cost, US dollars.
    pub cost_usd: f64,
}

impl Sums {
    pub(super) const NONE: Self =
        Self { calls: 0, errors: 0, input_tokens: 0, output_tokens: 0, calls_with_cost: 0, cost_usd: 0.0 };

    pub(super) fn of(record: &Record) -> Self {
        let call = &record.call;
        let cost = record.cost.amount();
        Self {
            calls: u64::from(!call.continued),
            errors: u64::from(call.error_type().is_some()),
            input_tokens: call.usage.input_tokens.unwrap_or(0),
            output_tokens: call.usage.output_tokens.unwrap_or(0),
            calls_with_cost: u64::from(cost.is_some()),
            cost_usd: cost.unwrap_or_default().dollars(),
        }
    }

    pub(super) fn add(&mut self, other: &Self) {
        let Self { calls, errors, input_tokens, output_tokens, calls_with_cost, cost_usd } = other;
        self.calls = self.calls.saturating_add(*calls);
        self.errors = self.errors.saturating_add(*errors);
        self.input_tokens = self.input_tokens.saturating_add(*input_tokens);
        self.output_tokens = self.output_tokens.saturating_add(*output_tokens);
        self.calls_with_cost = self.calls_with_cost.saturating_add(*calls_with_cost);
        self.cost_usd += cost_usd;
    }

    /// What the calls cost, US dollars; absent where that is known of none.
    #[must_use]
    pub fn cost(&self) -> Option<f64> {
        (self.calls_with_cost > 0).then_some(self.cost_usd)
    }
}

/// Whose call it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Caller {
    /// Process id.
    pub pid: u32,
    /// The process's name (`comm`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub process: Option<String>,
    /// Its user id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// That user's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The container's name, else its id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
    /// The agent that the process works for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// The session's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
}

impl Caller {
    fn of(origin: &Origin) -> Self {
        Self {
            pid: origin.process.pid,
            process: origin.process.name.clone(),
            uid: origin.process.uid,
            user: origin.process.user.clone(),
            container: container(origin).cloned(),
            agent: origin.agent.as_ref().map(|agent| agent.name.clone()),
            session: session(origin).cloned(),
        }
    }
}

/// A call that has not ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InFlight {
    /// Whose it is.
    #[serde(flatten)]
    pub caller: Caller,
    /// As in the call record.
    pub provider: Cow<'static, str>,
    /// As in the call record.
    pub operation: Cow<'static, str>,
    /// The model that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// As in the call record.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_address: Option<String>,
    /// `client` or `server`.
    pub role: Cow<'static, str>,
    /// Whether the answer comes as a stream, as far as it has come.
    pub streaming: bool,
    /// HTTP status; absent while there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Since the request's first byte, seconds.
    pub elapsed_seconds: f64,
    /// From there to the first content of a stream, seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time_to_first_token_seconds: Option<f64>,
    /// Output tokens until now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_tokens: Option<u64>,
    /// `reported` by the provider, `estimated` from what has come, or `missing`.
    pub usage_source: Cow<'static, str>,
    /// Output tokens a second, in the last five seconds of the stream.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_tokens_per_second: Option<f64>,
}

impl InFlight {
    fn of(flight: &Flight, now: u64) -> Self {
        Self {
            caller: Caller::of(&flight.origin),
            provider: flight.provider.into(),
            operation: flight.operation.into(),
            model: flight.model.clone(),
            server_address: flight.server_address.clone(),
            role: flight.role.as_str().into(),
            streaming: flight.streaming,
            status: flight.status,
            elapsed_seconds: seconds(now.saturating_sub(flight.started)),
            time_to_first_token_seconds: flight.time_to_first_token_seconds,
            output_tokens: flight.output_tokens,
            usage_source: flight.usage_source.as_str().into(),
            output_tokens_per_second: flight.rate(),
        }
    }

    /// Whether its tokens are our own count.
    #[must_use]
    pub fn is_estimated(&self) -> bool {
        self.usage_source == UsageSource::Estimated.as_str()
    }
}

/// A call that has ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ended {
    /// Nanoseconds since the Unix epoch.
    #[serde(skip)]
    pub(super) at: u64,
    #[serde(skip)]
    owner: Owner,
    /// Since its end, seconds.
    pub ended_seconds_ago: f64,
    /// Whose it was.
    #[serde(flatten)]
    pub caller: Caller,
    /// As in the call record.
    pub provider: Cow<'static, str>,
    /// As in the call record.
    pub operation: Cow<'static, str>,
    /// The model that was asked for, else the one that answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// HTTP status.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// OTel's `error.type`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// As in the call record.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input_tokens: Option<u64>,
    /// As in the call record.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_tokens: Option<u64>,
    /// As in the call record.
    pub usage_source: Cow<'static, str>,
    /// As in the call record.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time_to_first_token_seconds: Option<f64>,
    /// As in the call record.
    pub duration_seconds: f64,
    /// As in the call record.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost_usd: Option<f64>,
}

impl Ended {
    pub(super) fn of(record: &Record) -> Self {
        let call = &record.call;
        Self {
            at: record.ended(),
            owner: Owner::of(&record.origin),
            ended_seconds_ago: 0.0,
            caller: Caller::of(&record.origin),
            provider: call.provider.into(),
            operation: call.operation.into(),
            model: model(call).cloned(),
            status: call.status,
            error: call.error_type().map(Cow::into_owned),
            input_tokens: call.usage.input_tokens,
            output_tokens: call.usage.output_tokens,
            usage_source: call.usage.source.as_str().into(),
            time_to_first_token_seconds: call.time_to_first_token_seconds,
            duration_seconds: call.duration_seconds,
            cost_usd: record.cost.amount().map(Usd::dollars),
        }
    }

    fn seen(&self, now: u64) -> Self {
        Self { ended_seconds_ago: seconds(now.saturating_sub(self.at)), ..self.clone() }
    }
}

/// What all calls with one name amount to.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// The name; absent where there is none or it is not known. `other` is what there were too many of.
    pub name: Option<String>,
    #[serde(flatten)]
    #[expect(missing_docs, reason = "flattened: its fields are the row's own")]
    pub totals: Totals,
}

/// What is under way, and what has been.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Totals {
    /// Calls in flight.
    pub in_flight: u64,
    /// Their output tokens a second, together; absent where that is known of none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_tokens_per_second: Option<f64>,
    /// What ended in the last `window_seconds`.
    pub recent: Sums,
    /// What ended in the last hour.
    pub hour: Sums,
}

impl Totals {
    fn add_flights(&mut self, flights: u64, rate: Option<f64>) {
        self.in_flight += flights;
        if let Some(rate) = rate {
            *self.output_tokens_per_second.get_or_insert_default() += rate;
        }
    }

    fn add(&mut self, recent: &Sums, hour: &Sums) {
        self.recent.add(recent);
        self.hour.add(hour);
    }

    fn join(&mut self, other: &Self) {
        self.add_flights(other.in_flight, other.output_tokens_per_second);
        self.add(&other.recent, &other.hour);
    }
}

/// One minute.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Minute {
    /// When it began, RFC 3339.
    pub start: String,
    #[serde(flatten)]
    #[expect(missing_docs, reason = "flattened: its fields are the minute's own")]
    pub sums: Sums,
}

/// What there is to see at one moment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    /// That moment, RFC 3339.
    pub at: String,
    /// When the daemon began to watch, RFC 3339.
    pub since: String,
    /// How long `recent` reaches back, seconds: to divide by for a rate.
    pub window_seconds: f64,
    /// Of everything.
    pub totals: Totals,
    /// Calls in flight, the oldest first.
    pub in_flight: Vec<InFlight>,
    /// Calls in flight beside those: there are too many to be shown.
    pub in_flight_omitted: u64,
    /// Calls that have ended in the last five minutes, the newest first.
    pub ended: Vec<Ended>,
    /// The same by what they can be told apart by, the most in flight and the most recent first.
    pub by: BTreeMap<By, Vec<Row>>,
    /// The last hour, the oldest first.
    pub minutes: Vec<Minute>,
}

impl Snapshot {
    /// How many of something there were an hour, if it goes on as it has in the window.
    #[must_use]
    pub fn per_hour(&self, recent: f64) -> f64 {
        self.per_second(recent) * 3600.0
    }

    /// The same, a second.
    #[must_use]
    pub fn per_second(&self, recent: f64) -> f64 {
        recent / self.window_seconds.max(1.0)
    }
}

/// What there is to see of `state`.
pub(super) fn take(state: &State, now: u64, visible: &dyn Fn(&Owner) -> bool) -> Snapshot {
    let minute = now / MINUTE;
    let mut totals = Totals::default();
    let mut rows: BTreeMap<By, BTreeMap<Option<String>, Totals>> =
        By::ALL.map(|by| (by, BTreeMap::new())).into();
    let first = (minute + 1).saturating_sub(MINUTES);
    let mut minutes: Vec<Sums> = vec![Sums::NONE; MINUTES as usize];

    for (key, history) in state.groups.iter().filter(|(key, _)| visible(&key.owner)) {
        let (mut recent, mut hour) = (Sums::NONE, Sums::NONE);
        for (number, sums) in history.until(minute) {
            hour.add(sums);
            if number.saturating_add(RECENT) > minute {
                recent.add(sums);
            }
            if let Some(sum) = minutes.get_mut(number.saturating_sub(first) as usize) {
                sum.add(sums);
            }
        }
        if hour == Sums::NONE {
            continue;
        }
        totals.add(&recent, &hour);
        for (by, rows) in &mut rows {
            rows.entry(key.name(*by).cloned()).or_default().add(&recent, &hour);
        }
    }
    let mut in_flight = Vec::new();
    for flight in state.flights.iter().filter(|flight| visible(&Owner::of(&flight.origin))) {
        in_flight.push((flight.started, InFlight::of(flight, now)));
        if flight.role == Role::Server {
            continue;
        }
        let rate = flight.rate();
        totals.add_flights(1, rate);
        let key = Key::of(flight.provider, flight.model.as_ref(), &flight.origin);
        for (by, rows) in &mut rows {
            rows.entry(key.name(*by).cloned()).or_default().add_flights(1, rate);
        }
    }
    in_flight.sort_by(|(a, one), (b, other)| (a, one.caller.pid).cmp(&(b, other.caller.pid)));

    let watched = seconds(now.saturating_sub(state.since));
    let window = (RECENT - 1) as f64 * 60.0 + seconds(now % MINUTE);
    Snapshot {
        at: shown(now),
        since: shown(state.since),
        window_seconds: window.min(watched),
        totals,
        in_flight: in_flight.into_iter().map(|(_, flight)| flight).collect(),
        in_flight_omitted: state.flights.omitted(visible),
        ended: (state.ended.iter().rev())
            .filter(|ended| visible(&ended.owner) && now.saturating_sub(ended.at) <= super::ENDED_FOR)
            .map(|ended| ended.seen(now))
            .collect(),
        by: rows.into_iter().map(|(by, rows)| (by, table(rows))).collect(),
        minutes: (first..)
            .zip(minutes)
            .map(|(number, sums)| Minute { start: shown(number.saturating_mul(MINUTE)), sums })
            .collect(),
    }
}

fn table(rows: BTreeMap<Option<String>, Totals>) -> Vec<Row> {
    let mut rows: Vec<Row> = rows.into_iter().map(|(name, totals)| Row { name, totals }).collect();
    let order = |Totals { in_flight, recent, hour, .. }: &Totals| (*in_flight, recent.calls, hour.calls);
    rows.sort_by_key(|row| Reverse(order(&row.totals)));
    if rows.len() > MAX_ROWS {
        let rest = rows.split_off(MAX_ROWS - 1);
        let mut other = Row { name: Some(OTHER.to_owned()), ..Row::default() };
        rest.iter().for_each(|row| other.totals.join(&row.totals));
        rows.push(other);
    }
    rows
}

fn seconds(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / 1e9
}

/// RFC 3339, as far as it matters to people.
fn shown(unix_nanos: u64) -> String {
    format!("{:.3}", moment(unix_nanos))
}
