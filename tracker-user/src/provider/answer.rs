//! What a response has said so far.

use super::{
    Usage,
    dialect::{Code, Counter, Counts, Dialect, Field, Merge, Quirks, number},
    estimate::Output,
    json::{Hit, Value},
    tools::Tools,
    wire_text,
};

/// Answers of one response whose ends are told apart; requests for more are rare and their finish
/// reasons the same.
const MAX_CHOICES: usize = 64;

/// Longest error type that is passed on; longer ones are messages, not types.
const MAX_ERROR_TYPE: usize = 64;

/// Collects the fields of one response, whatever the number of documents they come in.
#[derive(Default)]
pub(super) struct Answer {
    pub(super) id: Option<String>,
    pub(super) model: Option<String>,
    counts: Counts,
    /// Counts of the usage object that is being read; they join `counts` when it is whole.
    staged: Counts,
    in_usage: u32,
    /// The count of a list of them that is being read.
    named: Option<Named>,
    /// The choice that is being read.
    choice: Option<Choice>,
    finish: Vec<(u32, String)>,
    pub(super) tools: Tools,
    /// The current document's own type.
    kind: Option<Kind>,
    /// The current document is the last.
    ends: bool,
    error: ErrorParts,
    pub(super) service_tier: Option<String>,
    pub(super) cost: Option<f64>,
    /// Something was generated.
    pub(super) content: bool,
    /// Documents that brought some of it.
    pub(super) chunks: u32,
    /// The current document is one of them.
    generates: bool,
    /// Counts it, where that is wanted.
    pub(super) output: Option<Output>,
    /// An event that ends the stream was seen.
    pub(super) terminated: bool,
    /// The answer has ended by its own words, which may do for a terminator.
    finished: bool,
    /// A field was seen that only an answer of this dialect has.
    pub(super) recognised: bool,
    /// More than that: it is nobody else's. Counts are not enough, many have the same.
    pub(super) own: bool,
    /// How many of the dialect's paths were met.
    pub(super) hits: u32,
}

/// A count that says by a name beside it what it counts.
struct Named {
    known: &'static [(&'static str, Counter)],
    counter: Option<Counter>,
    count: Option<i64>,
}

#[derive(Default)]
struct Choice {
    index: u32,
    finish: Option<String>,
}

enum Kind {
    Terminal,
    Error,
    Other(String),
}

/// Where an error may say what it is, best first.
#[derive(Default)]
struct ErrorParts {
    seen: bool,
    kind: Option<String>,
    status: Option<String>,
    code: Option<String>,
    outer_kind: Option<String>,
    outer_code: Option<String>,
}

impl Answer {
    /// Of which nothing was seen yet.
    pub(super) fn new(output: Option<Output>) -> Self {
        Self { output, ..Self::default() }
    }

    /// Takes one field.
    pub(super) fn hit(&mut self, dialect: &Dialect, hit: Hit<'_, Field>) {
        // An object that is another dialect's speaks for nobody.
        let own = |value| matches!(value, Value::Text { text, .. } if dialect.own_kinds.contains(&text));
        // Pieces are as the bytes came.
        let piece = matches!(hit.value, Value::Piece(_) | Value::Key(_));
        let counts = !piece && (hit.field != Field::Object || own(hit.value));
        self.hits = self.hits.saturating_add(u32::from(counts));
        if let Some(output) = &mut self.output {
            output.hit(&hit, self.content);
        }
        match (hit.field, hit.value) {
            (Field::Coded(code), Value::Integer(number)) => self.coded(dialect, code, number),
            (Field::Document, Value::End) => self.end_document(),
            (Field::Kind, Value::Text { text, .. }) => {
                self.own |= dialect.own_kinds.contains(&text);
                self.kind(dialect, text);
            }
            (Field::Object, Value::Text { text, .. }) => self.own |= dialect.own_kinds.contains(&text),
            (Field::Own, Value::Present | Value::BeginArray | Value::BeginObject) => self.own = true,

            (Field::ResponseId, Value::Text { text, .. }) => first(&mut self.id, text),
            (Field::ResponseId, Value::Integer(id)) => first(&mut self.id, &id.to_string()),
            (Field::LatestId, Value::Text { text, .. }) if !text.is_empty() => {
                self.id = Some(wire_text(text));
            }
            (Field::ResponseModel, Value::Text { text, .. }) => first(&mut self.model, text),

            (Field::Usage, Value::BeginObject) => {
                if self.in_usage == 0 {
                    self.staged = Counts::default();
                }
                self.in_usage += 1;
            }
            (Field::Usage, Value::End) => self.end_usage(dialect),
            (Field::Count(counter), value) => {
                self.counts_now(value).set(counter, value);
            }
            (Field::Add(counter), value) => self.counts_now(value).add(counter, value),
            (Field::Named(known), Value::BeginObject) => {
                self.named = Some(Named { known, counter: None, count: None });
            }
            (Field::CountName, Value::Text { text, .. }) => {
                if let Some(named) = &mut self.named {
                    let counter = named.known.iter().find(|(name, _)| name.eq_ignore_ascii_case(text));
                    named.counter = counter.map(|(_, counter)| *counter);
                }
            }
            (Field::NamedCount, value) => {
                if let Some(named) = &mut self.named {
                    named.count = number(value).flatten().and_then(|count| i64::try_from(count).ok());
                }
            }
            (Field::Named(_), Value::End) => {
                if let Some(Named { counter: Some(counter), count: Some(count), .. }) = self.named.take() {
                    self.counts_now(Value::Integer(count)).add(counter, Value::Integer(count));
                }
            }
            (Field::Cost, Value::Float(cost)) if cost >= 0.0 => self.cost = Some(cost),
            (Field::Cost, Value::Integer(cost)) if cost >= 0 => self.cost = Some(cost as f64),
            // Some senders repeat it in every event.
            (Field::ServiceTier, Value::Text { text, .. })
                if !text.is_empty() && self.service_tier.as_deref() != Some(text) =>
            {
                self.service_tier = Some(wire_text(text));
            }

            (Field::Choice, Value::BeginObject) => {
                self.recognised = true;
                self.own = true;
                self.choice = Some(Choice { index: hit.index, finish: None });
            }
            (Field::ChoiceIndex, Value::Integer(index)) => {
                if let (Some(choice), Ok(index)) = (&mut self.choice, index.try_into()) {
                    choice.index = index;
                }
            }
            (Field::Choice, Value::End) => {
                if let Some(choice) = self.choice.take() {
                    self.tools.settle(choice.index, None);
                    if let Some(reason) = choice.finish {
                        self.finish(choice.index, reason);
                    }
                }
            }
            (Field::FinishReason | Field::Status, Value::Text { text, .. })
                if !text.is_empty() && !dialect.unfinished.contains(&text) =>
            {
                self.finish_reason(wire_text(text));
            }
            (Field::StopReason, Value::Text { text, .. })
                if !text.is_empty() && self.choice.as_ref().is_none_or(|choice| choice.finish.is_none()) =>
            {
                self.finish_reason(wire_text(text));
            }
            // With `enum-encoding=int` Google's enums are numbers; zero is "unspecified".
            (Field::FinishReason, Value::Integer(code)) if code != 0 => self.finish_reason(code.to_string()),
            (Field::Finished, Value::Present) => {
                self.recognised = true;
                self.finished = true;
            }
            (Field::Terminator, Value::Present | Value::BeginObject) => self.ends = true,

            (Field::Tool, Value::BeginObject) => self.tools.begin(None),
            (Field::ToolAtPosition, Value::BeginObject) => self.tools.begin(Some(hit.index)),
            (Field::ToolIndex, Value::Integer(index)) => self.tools.index(index.try_into().ok()),
            (Field::ToolId, Value::Text { text, .. }) => self.tools.id(text),
            (Field::ToolKind, Value::Text { text, .. }) => {
                self.tools.kind(text, dialect.owner(text));
            }
            (Field::ToolName, Value::Text { text, .. }) => self.tools.name(text),
            (Field::ServerTool(name), Value::BeginObject) => {
                self.generated(true);
                self.tools.server(name);
            }
            (Field::Tool | Field::ToolAtPosition, Value::End) => {
                let called = self.tools.end();
                self.generated(called);
            }

            (Field::Content | Field::Media, Value::Present | Value::BeginObject) => self.generated(true),

            (Field::Error, Value::Present | Value::BeginObject) => self.error.seen = true,
            (Field::ErrorType, value) => error_part(&mut self.error.kind, value),
            (Field::ErrorStatus, value) => error_part(&mut self.error.status, value),
            (Field::ErrorCode, value) => error_part(&mut self.error.code, value),
            (Field::OuterCode, value) => error_part(&mut self.error.outer_code, value),
            _ => {}
        }
    }

    /// A field whose value is a number that stands for a word; of new ones the word is not known.
    fn coded(&mut self, dialect: &Dialect, code: &Code, number: i64) {
        let Some(at) = usize::try_from(number).ok().and_then(|number| number.checked_sub(1)) else { return };
        let number = number.to_string();
        let text = code.words.get(at).copied().unwrap_or(&number);
        self.hit(dialect, Hit { field: code.field, value: Value::Text { text, truncated: false }, index: 0 });
    }

    /// A field of the response's head.
    pub(super) fn header(&mut self, dialect: &Dialect, field: Field, text: &str) {
        // Amazon's error types carry the address of their definition: `Name:http://...`.
        let text = text.split(':').next().unwrap_or_default().trim();
        let value = match text.parse() {
            Ok(number) => Value::Integer(number),
            Err(_) => Value::Text { text, truncated: false },
        };
        self.hit(dialect, Hit { field, value, index: 0 });
    }

    /// An id in the body of an error is the error's, not a response's.
    pub(super) fn forget_id(&mut self) {
        self.id = None;
    }

    /// The transport itself spoke of an error: `event: error`, a field of that name, an exception.
    pub(super) fn set_error(&mut self, kind: Option<&str>) {
        self.error.seen = true;
        if let Some(kind) = kind.filter(|kind| is_error_type(kind)) {
            self.error.kind = Some(kind.to_owned());
        }
    }

    /// The transport named the event that comes next.
    pub(super) fn event_name(&mut self, dialect: &Dialect, name: &str) {
        if dialect.end.kinds.contains(&name) {
            self.kind = Some(Kind::Terminal);
        }
    }

    /// Whether the response has reached a state that is final.
    pub(super) fn is_final(&self) -> bool {
        !self.finish.is_empty()
    }

    /// Where a count goes: with the others of its object, if it is in one.
    fn counts_now(&mut self, value: Value<'_>) -> &mut Counts {
        if self.in_usage > 0 {
            return &mut self.staged;
        }
        self.recognised |= matches!(value, Value::Integer(_) | Value::Float(_));
        &mut self.counts
    }

    fn kind(&mut self, dialect: &Dialect, text: &str) {
        self.kind = if dialect.end.kinds.contains(&text) {
            Some(Kind::Terminal)
        } else if text == "error" {
            Some(Kind::Error)
        } else if self.error.outer_kind.is_none() && is_error_type(text) && !dialect.streams_kinds() {
            Some(Kind::Other(text.to_owned()))
        } else {
            None
        };
    }

    fn generated(&mut self, something: bool) {
        self.content |= something;
        self.generates |= something;
    }

    fn end_document(&mut self) {
        self.named = None;
        self.chunks = self.chunks.saturating_add(u32::from(std::mem::take(&mut self.generates)));
        self.choice = None;
        self.in_usage = 0;
        self.tools.settle(0, self.tools.document_index());
        self.terminated |= std::mem::take(&mut self.ends);
        match self.kind.take() {
            Some(Kind::Terminal) => self.terminated = true,
            Some(Kind::Error) => self.error.seen = true,
            Some(Kind::Other(kind)) => self.error.outer_kind = Some(kind),
            None => {}
        }
    }

    /// Forgets what belongs to a document that will not be read to its end.
    pub(super) fn abandon_document(&mut self) {
        self.named = None;
        self.choice = None;
        self.in_usage = 0;
        self.kind = None;
        self.ends = false;
        self.tools.abandon();
    }

    fn end_usage(&mut self, dialect: &Dialect) {
        self.in_usage = self.in_usage.saturating_sub(1);
        // The first chunks of a Vertex stream have an object without counts.
        if self.in_usage > 0 || self.staged.is_empty() {
            return;
        }
        self.recognised = true;
        match dialect.merge {
            Merge::Overwrite => self.counts.overwrite(&self.staged),
            Merge::Replace => self.counts = self.staged,
        }
    }

    fn finish_reason(&mut self, reason: String) {
        match &mut self.choice {
            Some(choice) => choice.finish = Some(reason),
            None => self.finish(0, reason),
        }
    }

    /// Some senders repeat the reason, and a few correct it: the last one counts.
    fn finish(&mut self, choice: u32, reason: String) {
        self.finished = true;
        if let Some((_, known)) = self.finish.iter_mut().find(|(index, _)| *index == choice) {
            *known = reason;
        } else if self.finish.len() < MAX_CHOICES {
            self.finish.push((choice, reason));
        }
    }

    /// The finish reasons, in the order of the choices' ends, without repeats.
    pub(super) fn finish_reasons(&mut self) -> Vec<String> {
        let mut reasons = Vec::new();
        for (_, reason) in self.finish.drain(..) {
            if !reasons.contains(&reason) {
                reasons.push(reason);
            }
        }
        reasons
    }

    /// Whether the stream came to its own end; `whole` says whether its HTTP body did.
    pub(super) fn stream_ended(&self, dialect: &Dialect, whole: bool) -> bool {
        self.terminated || (whole && self.finished && dialect.end.finish_reason)
    }

    /// The counts so far, normalised. A placeholder sent before the answer was generated only
    /// counts when the answer is whole and nothing newer came.
    pub(super) fn usage(&self, dialect: &Dialect, quirks: Quirks, whole: bool) -> Usage {
        let mut counts = self.counts;
        if let (true, None, Some(n)) =
            (whole, counts.get(Counter::Output), counts.get(Counter::OutputAtStart))
        {
            counts.set(Counter::Output, Value::Integer(n.try_into().unwrap_or(-1)));
        }
        (dialect.normalise)(&counts, quirks)
    }

    /// The error's type, where there was an error: in the body, in the stream, or by the status.
    pub(super) fn error(&mut self, status: Option<u16>) -> Option<String> {
        let status = status.filter(|&status| status >= 400);
        if status.is_none() && !self.error.seen {
            return None;
        }
        let ErrorParts { seen: _, kind, status: word, code, outer_kind, outer_code } =
            std::mem::take(&mut self.error);
        kind.or(word)
            .or(code)
            .or(outer_kind)
            .or(outer_code)
            .or_else(|| status.map(|status| status.to_string()))
            .or_else(|| Some("error".into()))
    }
}

impl Dialect {
    /// Whether events of this dialect say their type, so that a type is not an error's.
    fn streams_kinds(&self) -> bool {
        !self.end.kinds.is_empty()
    }
}

/// Keeps the first text that is not empty.
fn first(known: &mut Option<String>, text: &str) {
    if known.is_none() && !text.is_empty() {
        *known = Some(wire_text(text));
    }
}

fn error_part(known: &mut Option<String>, value: Value<'_>) {
    match value {
        Value::Text { text, truncated: false } => {
            // Amazon's have a name space before them: `com.amazon.coral.service#Name`.
            let text = text.rsplit('#').next().unwrap_or_default();
            if is_error_type(text) {
                *known = Some(text.to_owned());
            }
        }
        Value::Integer(code) => *known = Some(code.to_string()),
        _ => {}
    }
}

/// Whether a text is the name of an error and not its message.
pub(super) fn is_error_type(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= MAX_ERROR_TYPE
        && text.bytes().all(|b| b == b' ' || b.is_ascii_graphic())
}
