//! What one message says.

use crate::provider::{
    answer::is_error_type,
    dialect::{Counter, Counts, Field, RESPONSES},
    json::{Hit, Value, Want},
    wire_text,
};

/// Names of tools that are kept of one response.
pub(super) const MAX_TOOLS: usize = 64;

/// One row of a path table.
pub(super) type Path = (&'static str, Want, Says);

/// What stands at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Says {
    /// The event's type.
    Kind,
    /// The response's id.
    ResponseId,
    /// The response's model, asked for or answering.
    Model,
    /// The session's model.
    SessionModel,
    /// The model that writes down the user's speech.
    Transcriber,
    /// The response's state.
    Status,
    /// `false`: nothing is to be generated.
    Generate,
    /// Something the model generated.
    Content,
    /// The same, that is no text.
    Media,
    /// Arguments of a tool that it calls.
    Arguments,
    /// A part of what the model is to read, for an estimate.
    Asks(Field),
    /// Text that completes the user's input.
    AskedText,
    /// The usage object.
    Usage,
    /// A count.
    Count(Counter),
    /// An item of the response's output.
    Item,
    /// What kind of item it is.
    ItemKind,
    /// The name of the tool that the item calls.
    ItemName,
    /// A tool called by name alone.
    Tool,
    /// An error.
    Error,
    /// Its type.
    ErrorType,
    /// Its code.
    ErrorCode,
    /// The HTTP status that the error would have had.
    ErrorStatus,
    /// The user's input is complete.
    Asked,
    /// The client's tools have answered.
    ToolsAnswered,
    /// The model has to stop because the user speaks.
    Interrupted,
    /// The model's turn is over.
    TurnComplete,
    /// Why, where it is said.
    Reason,
}

/// What one message says, as far as anybody wants to know.
#[derive(Default)]
pub(super) struct Said {
    pub(super) kind: Option<String>,
    pub(super) response_id: Option<String>,
    pub(super) model: Option<String>,
    pub(super) session_model: Option<String>,
    pub(super) transcriber: Option<String>,
    pub(super) status: Option<String>,
    pub(super) generates_nothing: bool,
    pub(super) content: bool,
    pub(super) usage: bool,
    pub(super) counts: Counts,
    pub(super) tools: Vec<String>,
    pub(super) error: Option<Fault>,
    pub(super) asked: bool,
    pub(super) tools_answered: bool,
    pub(super) interrupted: bool,
    pub(super) turn_complete: bool,
    pub(super) reason: Option<String>,
    item: Option<Item>,
}

/// An error, by the names that it has.
#[derive(Default)]
pub(super) struct Fault {
    kind: Option<String>,
    code: Option<String>,
    pub(super) status: Option<u16>,
}

#[derive(Default)]
struct Item {
    calls: bool,
    name: Option<String>,
}

impl Said {
    /// Takes one field.
    pub(super) fn hit(&mut self, hit: Hit<'_, Says>) {
        match (hit.field, hit.value) {
            (Says::Kind, Value::Text { text, .. }) => self.kind = Some(wire_text(text)),
            (Says::ResponseId, Value::Text { text, .. }) => set(&mut self.response_id, text),
            (Says::Model, Value::Text { text, .. }) => set(&mut self.model, text),
            (Says::SessionModel, Value::Text { text, .. }) => set(&mut self.session_model, text),
            (Says::Transcriber, Value::Text { text, .. }) => set(&mut self.transcriber, text),
            (Says::Status, Value::Text { text, .. }) => set(&mut self.status, text),
            (Says::Reason, Value::Text { text, .. }) => set(&mut self.reason, text),
            (Says::Generate, Value::Bool(generate)) => self.generates_nothing = !generate,
            (Says::Content | Says::Media, Value::Present | Value::BeginObject) => self.content = true,

            (Says::Usage, Value::BeginObject) => self.usage = true,
            (Says::Count(counter), value) => self.counts.set(counter, value),

            (Says::Item, Value::BeginObject) => self.item = Some(Item::default()),
            (Says::ItemKind, Value::Text { text, .. }) => {
                if let Some(item) = &mut self.item {
                    item.calls = RESPONSES.tool_kinds.contains(&text);
                }
            }
            (Says::ItemName, Value::Text { text, .. }) => {
                if let Some(item) = self.item.as_mut().filter(|_| !text.is_empty()) {
                    item.name = Some(wire_text(text));
                }
            }
            (Says::Item, Value::End) => {
                if let Some(Item { calls: true, name: Some(name) }) = self.item.take() {
                    self.tool(name);
                }
            }
            (Says::Tool, Value::Text { text, .. }) if !text.is_empty() => self.tool(wire_text(text)),

            (Says::Error, Value::BeginObject | Value::Present) => _ = self.fault(),
            (Says::ErrorType, Value::Text { text, truncated: false }) if is_error_type(text) => {
                self.fault().kind = Some(text.to_owned());
            }
            (Says::ErrorCode, Value::Text { text, truncated: false }) if is_error_type(text) => {
                self.fault().code = Some(text.to_owned());
            }
            (Says::ErrorStatus, Value::Integer(status)) => self.fault().status = status.try_into().ok(),

            (Says::AskedText, Value::Present)
            | (Says::Asked, Value::Present | Value::BeginObject | Value::BeginArray) => self.asked = true,
            (Says::ToolsAnswered, Value::BeginObject) => self.tools_answered = true,
            (Says::Interrupted, Value::Present) => self.interrupted = true,
            (Says::TurnComplete, Value::Present) => self.turn_complete = true,
            _ => {}
        }
    }

    fn tool(&mut self, name: String) {
        if self.tools.len() < MAX_TOOLS {
            self.tools.push(name);
        }
    }

    fn fault(&mut self) -> &mut Fault {
        self.error.get_or_insert_default()
    }
}

impl Fault {
    /// The best name that there is.
    pub(super) fn name(self) -> String {
        self.kind.or(self.code).unwrap_or_else(|| "error".into())
    }
}

/// The last one counts; an empty one says nothing.
fn set(known: &mut Option<String>, text: &str) {
    if !text.is_empty() {
        *known = Some(wire_text(text));
    }
}
