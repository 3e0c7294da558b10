//! What the bodies of one API mean, as data.
//!
//! A dialect is a table of JSON paths with their meanings, a rule for when a stream is whole, and
//! one small function that brings its counts to the subset rules of [`Usage`]. The mechanism that
//! reads bodies knows none of them by name: a new dialect is a new [`Dialect`] value.

mod alibaba;
mod anthropic;
mod bedrock;
mod cohere;
mod counts;
mod gemini;
mod grpc;
mod local;
mod media;
mod objects;
mod openai;

pub(super) use alibaba::{DASHSCOPE, DASHSCOPE_INPUT};
pub(super) use anthropic::{COMPLETE, MESSAGES};
pub(super) use bedrock::{CONVERSE, INVOKE_AGENT, INVOKE_MODEL};
pub(super) use cohere::{COHERE, RERANK};
pub(super) use counts::{Counter, Counts, number};
pub(super) use gemini::{CODE_ASSIST, EMBED_CONTENT, GENERATE_CONTENT, PREDICT};
pub(super) use grpc::{
    BATCH_EMBED_RPC, EMBED_RPC, GEMINI_SHAPE, GENERATE_RPC, STREAM_GENERATE_RPC, VERTEX_EMBED_RPC,
    VERTEX_GENERATE_RPC, VERTEX_SHAPE, VERTEX_STREAM_GENERATE_RPC, XAI_CHAT, XAI_CHAT_SHAPE, XAI_CHAT_STREAM,
    XAI_CHAT_STREAM_SHAPE, XAI_COMPACT, XAI_DEFERRED, XAI_EMBED, XAI_IMAGE, XAI_SAMPLE, XAI_SAMPLE_STREAM,
};
pub(super) use local::{COMPLETION, GENERATE, OLLAMA, SAGEMAKER, WATSONX};
pub(super) use media::{IMAGES, MODERATION, OCR, SPEECH, TRANSCRIPTION};
pub(super) use objects::{CONVERSATIONS, INTERACTIONS, PREDICTIONS, RUNS};
pub(super) use openai::{CHAT, COMPLETIONS, EMBEDDINGS, RESPONSES, WORKERS};

use super::{
    Usage, body,
    json::{PathTable, Want},
};

/// What stands at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Field {
    /// The document: one JSON body, one event's data, one element of a streamed array.
    Document,
    /// The event's or error's `type`.
    Kind,
    /// What the document is, where a member other than its `type` says so.
    Object,
    /// What only an answer of this dialect has.
    Own,

    /// Request: the model asked for.
    Model,
    /// Request: the model asked for, at the end of a resource's name.
    ModelResource,
    /// Request: what only a request to an LLM has (`messages`, `contents`, `input`).
    Prompt,
    /// Request: one message of the prompt.
    Message,
    /// Request: more of the prompt, which other requests may have too.
    Instructions,
    /// Request: the descriptions of tools.
    Tools,
    /// Request: a part of the prompt that is an object, as the arguments of a tool are.
    Schema,
    /// Request: a part of the prompt that is no text, or that the provider keeps.
    Opaque,
    /// Request: what stands in the prompt and is not a part of it.
    Aside,

    /// The id of the response.
    ResponseId,
    /// The id of the response, where later events may correct it.
    LatestId,
    /// The model that answered.
    ResponseModel,

    /// An object of counts: what is inside counts once the object is whole.
    Usage,
    /// A count.
    Count(Counter),
    /// A part of a count, which is the sum of such parts.
    Add(Counter),
    /// A count by name, in a list of them: those that are known go to these counts.
    Named(&'static [(&'static str, Counter)]),
    /// The name of such a one.
    CountName,
    /// Its number.
    NamedCount,
    /// What the provider charges for the call, in the unit it bills in.
    Cost,
    /// The service tier that answered.
    ServiceTier,

    /// One of several answers.
    Choice,
    /// Which one, where it is said and not given by its position.
    ChoiceIndex,
    /// Why the answer ended.
    FinishReason,
    /// The same under another name, which some vendors use for something else that is a number.
    StopReason,
    /// The state of the response, which is its finish reason once it is final.
    Status,
    /// The answer has ended, for a reason that is not the model's.
    Finished,
    /// The stream is whole.
    Terminator,

    /// A tool call, whole or a piece of one.
    Tool,
    /// A tool call whose number is its position, in a list that repeats what was streamed.
    ToolAtPosition,
    /// The number of the tool call, the same in all of its pieces.
    ToolIndex,
    /// Its id.
    ToolId,
    /// What kind of tool or item it is.
    ToolKind,
    /// The tool's name.
    ToolName,
    /// A call of a tool of the provider's that is always the same.
    ServerTool(&'static str),

    /// Something the model generated.
    Content,
    /// The same once more where it was streamed, and for the first time where it was not.
    Whole,
    /// Arguments of a tool call, as an object.
    Arguments,
    /// Something the model generated that is no text.
    Media,

    /// An error, as an object or a text.
    Error,
    /// Its type.
    ErrorType,
    /// Its status, as a word.
    ErrorStatus,
    /// Its code, a word or a number.
    ErrorCode,
    /// The code of an error body that has it beside the error.
    OuterCode,

    /// Another field, by a number that stands for a word.
    Coded(&'static Code),
}

/// What the numbers of an enumeration mean.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Code {
    /// Of which field.
    pub(super) field: Field,
    /// The words, from number one on: zero says nothing.
    pub(super) words: &'static [&'static str],
}

/// How bodies are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wire {
    /// JSON, in the framing that its first bytes tell.
    Json,
    /// gRPC: messages of Protocol Buffers, so that paths are of field numbers.
    Grpc {
        /// Whether the answer is a stream; absent where only the number of its messages tells.
        streaming: Option<bool>,
    },
}

/// One row of a path table.
pub(super) type Path = (&'static str, Want, Field);

/// What may stand anywhere in a prompt and is not its text. Names that are common in the data of tools do
/// no harm: that is [`Field::Schema`].
pub(super) const IN_PROMPTS: &[Path] = &[
    ("**.type", Want::Presence, Field::Aside),
    // A token of its own, which is in the framing.
    ("**.role", Want::Presence, Field::Aside),
    // Of earlier answers, which models are not given again.
    ("**.reasoning", Want::Presence, Field::Aside),
    ("**.reasoning_content", Want::Presence, Field::Aside),
    ("**.reasoning_details", Want::Presence, Field::Aside),
    ("**.thinking", Want::Presence, Field::Aside),
    ("**.id", Want::Presence, Field::Aside),
    ("**.tool_call_id", Want::Presence, Field::Aside),
    ("**.call_id", Want::Presence, Field::Aside),
    ("**.tool_use_id", Want::Presence, Field::Aside),
    ("**.toolUseId", Want::Presence, Field::Aside),
    ("**.cache_control", Want::Presence, Field::Aside),
    ("**.cachePoint", Want::Presence, Field::Aside),
    ("**.status", Want::Presence, Field::Aside),
    ("**.signature", Want::Presence, Field::Aside),
    ("**.thoughtSignature", Want::Presence, Field::Aside),
    ("**.thought_signature", Want::Presence, Field::Aside),
    ("**.encrypted_content", Want::Presence, Field::Opaque),
    ("**.image_url", Want::Presence, Field::Opaque),
    ("**.image", Want::Presence, Field::Opaque),
    ("**.images", Want::Presence, Field::Opaque),
    ("**.input_audio", Want::Presence, Field::Opaque),
    ("**.audio", Want::Presence, Field::Opaque),
    ("**.video", Want::Presence, Field::Opaque),
    ("**.video_url", Want::Presence, Field::Opaque),
    ("**.source", Want::Presence, Field::Opaque),
    ("**.document", Want::Presence, Field::Opaque),
    ("**.file", Want::Presence, Field::Opaque),
    ("**.file_id", Want::Presence, Field::Opaque),
    ("**.file_data", Want::Presence, Field::Opaque),
    ("**.file_url", Want::Presence, Field::Opaque),
    ("**.fileData", Want::Presence, Field::Opaque),
    ("**.inlineData", Want::Presence, Field::Opaque),
    ("**.inline_data", Want::Presence, Field::Opaque),
];

/// How the counts of one event join those of the events before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Merge {
    /// Key by key, the newer one wins: counts are cumulative and an event may name only some.
    Overwrite,
    /// The newer set replaces the older one whole: counts are snapshots and may fall or vanish.
    Replace,
}

/// When a stream is whole, beside its HTTP body being whole.
#[derive(Clone, Copy, Debug)]
pub(super) struct StreamEnd {
    /// `[DONE]` ends it.
    pub(super) done: bool,
    /// An event of one of these types ends it.
    pub(super) kinds: &'static [&'static str],
    /// A finish reason and a whole HTTP body will do: some senders leave the terminator out.
    pub(super) finish_reason: bool,
}

/// What a provider does differently within a dialect.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Quirks {
    /// How reasoning relates to the completion count.
    pub(super) reasoning: Reasoning,
    /// Audio of the prompt is counted beside `prompt_tokens` (Mistral).
    pub(super) audio_beside_prompt: bool,
}

/// Tokens that are billed beside those of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Framing {
    /// Around a message, with its role.
    pub(super) message: u64,
    /// Around all messages.
    pub(super) prompt: u64,
    /// For what the provider says of tools, where there are some.
    pub(super) tools: u64,
    /// At the end of an answer.
    pub(super) answer: u64,
    /// Around the name and the arguments of a tool call.
    pub(super) tool_call: u64,
}

/// No messages but one text.
const NO_FRAMING: Framing = Framing { message: 0, prompt: 0, tools: 0, answer: 0, tool_call: 0 };

/// OpenAI's chat completions, by its cookbook ("How to count tokens with tiktoken"); tool calls as measured.
const CHAT_FRAMING: Framing = Framing { message: 4, prompt: 3, tool_call: 7, ..NO_FRAMING };

/// How an OpenAI-shaped provider counts reasoning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Reasoning {
    /// Inside `completion_tokens`, unless the total says otherwise.
    #[default]
    Within,
    /// Beside `completion_tokens` (xAI).
    Beside,
    /// Not reported: it is what the total has more (Gemini's OpenAI-compatible API).
    Unreported,
}

/// The wire format of one API.
#[derive(Clone, Copy, Debug)]
pub(super) struct Dialect {
    /// Its name in a configuration; empty where it has none.
    pub(super) name: &'static str,
    /// How its bodies are written.
    pub(super) wire: Wire,
    /// Paths of the request body.
    pub(super) request: &'static [Path],
    /// Paths of the response body and of every event of a streamed one, in groups that dialects
    /// share.
    pub(super) response: &'static [&'static [Path]],
    /// More of them, each group below a path: messages that stand in several others.
    pub(super) nested: &'static [(&'static str, &'static [Path])],
    /// Headers of the response, lower case, that say what its body may not; the body goes first.
    pub(super) headers: &'static [(&'static str, Field)],
    /// Keys below which the whole response may be wrapped, in some or all events.
    pub(super) envelopes: &'static [&'static str],
    /// The message of Amazon's event stream that has a document inside, in Base64, instead of being one;
    /// empty: none.
    pub(super) encloses: &'static str,
    /// Beginnings of the names of events that are about parts of the response and not about itself:
    /// of those only the content counts.
    pub(super) asides: &'static [&'static str],
    /// The kinds of tools or items that are calls of the client's tools; empty: all. What says no
    /// kind is one.
    pub(super) tool_kinds: &'static [&'static str],
    /// The kinds that are calls of the provider's own tools: with `*` for any beginning, where the kind
    /// is the tool's name, else the name is beside it.
    pub(super) server_tool_kinds: &'static [&'static str],
    /// Values of a status or finish reason that are not final.
    pub(super) unfinished: &'static [&'static str],
    /// An array of responses is a stream of them.
    pub(super) streams_array: bool,
    /// The response may be asked for again, by its id, and repeats what it used.
    pub(super) polled: bool,
    /// Its bodies name no model, so that none is asked for where the host is unknown.
    pub(super) nameless: bool,
    /// Beginnings of the names of its models, where nothing else in its bodies shows whose they are.
    pub(super) models: &'static [&'static str],
    /// Values of the type or object that only answers of this dialect have, beside choices.
    pub(super) own_kinds: &'static [&'static str],
    /// How counts of several events join.
    pub(super) merge: Merge,
    /// When a stream is whole.
    pub(super) end: StreamEnd,
    /// What estimates add to the tokens of the text.
    pub(super) framing: Framing,
    /// Counts to usage, by the subset rules.
    pub(super) normalise: fn(&Counts, Quirks) -> Usage,
}

/// What most dialects do, to be completed.
const PLAIN: Dialect = Dialect {
    name: "",
    wire: Wire::Json,
    request: &[],
    response: &[],
    nested: &[],
    headers: &[],
    envelopes: &[],
    encloses: "",
    asides: &[],
    tool_kinds: &[],
    server_tool_kinds: &[],
    unfinished: &[],
    streams_array: false,
    polled: false,
    nameless: false,
    models: &[],
    own_kinds: &[],
    merge: Merge::Overwrite,
    end: StreamEnd { done: true, kinds: &[], finish_reason: true },
    framing: CHAT_FRAMING,
    normalise: counts::plain_usage,
};

impl Dialect {
    /// Whose tool a kind of tool or item is.
    pub(super) fn owner(&self, kind: &str) -> Owner {
        if self.tool_kinds.is_empty() || self.tool_kinds.contains(&kind) {
            return Owner::Client;
        }
        let server = self.server_tool_kinds.iter().find_map(|pattern| match pattern.strip_prefix('*') {
            Some(end) => kind.ends_with(end).then_some(Owner::Server { named_by_kind: true }),
            None => (kind == *pattern).then_some(Owner::Server { named_by_kind: false }),
        });
        server.unwrap_or(Owner::Nobody)
    }
}

/// Who runs a tool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Owner {
    /// The client; also whoever it is where that is not said.
    #[default]
    Client,
    /// The provider.
    Server {
        /// The tool has no name beside its kind.
        named_by_kind: bool,
    },
    /// It is no tool.
    Nobody,
}

/// The tables of a dialect, compiled.
#[derive(Debug)]
pub(super) struct Compiled {
    pub(super) dialect: &'static Dialect,
    pub(super) request: PathTable<Field>,
    pub(super) response: PathTable<Field>,
    /// For documents that come inside another one.
    pub(super) envelope: PathTable<()>,
}

impl Compiled {
    pub(super) fn new(dialect: &'static Dialect) -> Self {
        let common = [("", Want::Presence, Field::Document)];
        let below = |outer: &str, inner: &str| format!("{outer}.{inner}");
        let groups = dialect.response.iter().map(|group| ("", *group)).chain(dialect.nested.iter().copied());
        let rows: Vec<(String, Want, Field)> = groups
            .flat_map(|(outer, group)| {
                group.iter().map(move |&(path, want, field)| (below(outer, path), want, field))
            })
            .collect();
        let wrapped = dialect.envelopes.iter().flat_map(|envelope| {
            rows.iter().map(move |(path, want, field)| (below(envelope, path), *want, *field))
        });
        let direct = common.iter().map(|&(path, want, field)| (path.to_owned(), want, field));
        let direct = direct.chain(rows.iter().cloned());
        Self {
            dialect,
            request: PathTable::compile(dialect.request.iter().chain(IN_PROMPTS).copied()),
            response: PathTable::compile(direct.chain(wrapped)),
            envelope: body::envelope(),
        }
    }
}
