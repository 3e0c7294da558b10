//! Tokens that no provider reported, counted from the text as it passes.
//!
//! Which paths are text is said by the dialects' tables: [`Field::Prompt`] and its kin in requests,
//! [`Field::Content`] and its kin in responses. Nothing of a text is kept beyond the small window of a
//! [`Counter`](tracker_tokens::Counter). All models are counted with OpenAI's vocabulary; the README says by
//! how much that is wrong for whom.
//!
//! What cannot be known is absent: the prompt where it holds pictures, sound or documents, or a reference to
//! what the provider keeps, or was not seen whole; the answer where it is not text.

mod text;

use text::Text;

use super::{
    Usage, UsageSource,
    dialect::{Field, Framing, Wire},
    json::{Hit, Value},
};

/// Which calls' tokens are estimated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Estimates {
    /// None.
    Never,
    /// Those that no provider reported.
    #[default]
    Missing,
    /// All, in the place of what was reported: shows how good the estimates are.
    Always,
}

/// The longest beginning of a `data:` URL up to its content.
const OPENING: usize = 80;

/// What a request asks the model to read.
#[derive(Debug, Default)]
pub(super) struct Prompt {
    text: Text,
    opening: Opening,
    messages: u64,
    /// Tokens beside the text.
    more: u64,
    tools: bool,
    opaque: bool,
}

/// The beginning of a string, as it came, as long as it may be that of a `data:` URL.
#[derive(Default)]
struct Opening {
    held: Vec<u8>,
    state: Is,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Is {
    #[default]
    Text,
    Open,
    Data,
}

impl std::fmt::Debug for Opening {
    /// Not what is held.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Opening").finish_non_exhaustive()
    }
}

impl Prompt {
    /// Of a request that is written so.
    pub(super) fn of(wire: Wire) -> Self {
        Self { text: Text::of(wire), ..Self::default() }
    }

    /// Takes one field of the request.
    pub(super) fn hit(&mut self, hit: &Hit<'_, Field>) {
        match (hit.field, hit.value) {
            (Field::Opaque, Value::Present | Value::BeginObject | Value::BeginArray) => self.opaque = true,
            (Field::Message, Value::BeginObject) => self.messages += 1,
            (Field::Tools, Value::BeginObject) => self.tools = true,
            (Field::Prompt | Field::Instructions | Field::Schema | Field::Tools, value) => {
                match value {
                    Value::Present => self.begin(),
                    Value::Piece(escaped) => self.piece(escaped),
                    Value::Key(key) if matches!(hit.field, Field::Schema | Field::Tools) => {
                        self.begin();
                        self.text.push(key);
                        // What stands between a key and its value.
                        self.more += 1;
                    }
                    // Embeddings can be asked for of tokens.
                    Value::Integer(_) | Value::Float(_) | Value::Bool(_) => self.more += 1,
                    _ => {}
                }
            }
            _ => {}
        }
    }

    fn begin(&mut self) {
        self.release();
        self.text.boundary();
        self.opening.state = Is::Open;
    }

    fn piece(&mut self, escaped: &[u8]) {
        match self.opening.state {
            Is::Text => self.text.push(escaped),
            Is::Data => {}
            Is::Open => {
                for (at, &byte) in escaped.iter().enumerate() {
                    self.opening.held.push(byte);
                    self.opening.state = judge(&self.opening.held);
                    match self.opening.state {
                        Is::Open => continue,
                        Is::Data => self.opaque = true,
                        Is::Text => {
                            self.release();
                            self.text.push(&escaped[at + 1..]);
                        }
                    }
                    return;
                }
            }
        }
    }

    /// What was held back is text after all.
    fn release(&mut self) {
        let Opening { held, state } = &mut self.opening;
        if std::mem::take(state) != Is::Data {
            self.text.push(held);
        }
        held.clear();
    }

    /// Whether there is something in it that cannot be counted.
    pub(super) const fn is_opaque(&self) -> bool {
        self.opaque
    }

    /// The number of tokens, where it can be known.
    pub(super) fn tokens(mut self, framing: &Framing) -> Option<u64> {
        self.release();
        let text = self.text.tokens().saturating_add(self.more);
        if text == 0 || self.opaque {
            return None;
        }
        let mut around = self.messages.saturating_mul(framing.message);
        if self.messages > 0 {
            around = around.saturating_add(framing.prompt);
        }
        if self.tools {
            around = around.saturating_add(framing.tools);
        }
        Some(text.saturating_add(around))
    }
}

/// What a string is that begins so.
fn judge(start: &[u8]) -> Is {
    const SCHEME: &[u8] = b"data:";
    const CODING: &[u8] = b";base64,";
    let Some(kind) = start.strip_prefix(SCHEME) else {
        return if SCHEME.starts_with(start) { Is::Open } else { Is::Text };
    };
    let fits = |b: &u8| b.is_ascii_alphanumeric() || b"/+.-;=,_\\".contains(b);
    match kind {
        _ if kind.ends_with(CODING) => Is::Data,
        _ if start.len() < OPENING && kind.iter().all(fits) => Is::Open,
        _ => Is::Text,
    }
}

/// What a response says.
#[derive(Debug, Default)]
pub(super) struct Output {
    text: Text,
    choice: i64,
    more: u64,
    /// Some of it is no text.
    media: bool,
}

impl Output {
    /// Of a response that is written so.
    pub(super) fn of(wire: Wire) -> Self {
        Self { text: Text::of(wire), ..Self::default() }
    }

    /// Takes one field of the response; `streamed` says whether it repeats what came before.
    pub(super) fn hit(&mut self, hit: &Hit<'_, Field>, streamed: bool) {
        match (hit.field, hit.value) {
            (Field::Content, Value::Piece(escaped)) => self.text.push(escaped),
            (Field::Whole | Field::Finished, _) if streamed => {}
            (Field::Whole | Field::Finished, Value::Piece(escaped)) => self.text.push(escaped),
            (Field::Whole | Field::Finished | Field::Arguments, Value::Present) => self.text.boundary(),
            (Field::Arguments, Value::Piece(escaped)) => self.text.push(escaped),
            (Field::Arguments, Value::Key(key)) => {
                self.text.boundary();
                self.text.push(key);
                self.more += 2;
            }
            (Field::Arguments, Value::Integer(_) | Value::Float(_) | Value::Bool(_)) => self.more += 1,
            (Field::Media, Value::Present | Value::BeginObject) => self.media = true,
            (Field::ChoiceIndex, Value::Integer(choice)) if choice != self.choice => {
                self.choice = choice;
                self.text.boundary();
            }
            _ => {}
        }
    }

    /// The number of tokens that have come until now, where it can be known.
    pub(super) fn so_far(&mut self) -> Option<u64> {
        (!self.media).then(|| self.text.so_far().saturating_add(self.more))
    }

    /// The number of tokens, where it can be known, with those of the tools' names.
    pub(super) fn tokens(mut self, framing: &Framing, tools: &[String], ended: bool) -> Option<u64> {
        for tool in tools {
            self.text.boundary();
            self.text.push(tool.as_bytes());
            self.more += framing.tool_call;
        }
        let text = self.text.tokens().saturating_add(self.more);
        let end = if ended { framing.answer } else { 0 };
        Some(text.saturating_add(end)).filter(|_| text > 0 && !self.media)
    }
}

/// Adds to `usage` what the provider did not report of a call. A count that is on the wire stays as it is.
/// `count` says how many tokens went in, where it is asked for that, and how many came out.
pub(super) fn complete(
    usage: &mut Usage,
    interrupted: bool,
    count: impl FnOnce(bool) -> (Option<u64>, Option<u64>),
) {
    let reported = usage.source == UsageSource::Reported;
    // Who reports one side only has a reason, unless it was to report the other at the end.
    if reported && !(interrupted && usage.output_tokens.is_none()) {
        return;
    }
    let (input, output) = count(!reported);
    if input.is_none() && output.is_none() {
        return;
    }
    usage.input_tokens = usage.input_tokens.or(input);
    usage.output_tokens = output;
    usage.source = UsageSource::Estimated;
}
