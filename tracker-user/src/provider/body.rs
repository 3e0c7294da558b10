//! Response bodies, by their framing.
//!
//! One JSON document, several of them one after another (NDJSON), an array of them, server-sent
//! events, or Amazon's event stream: the first bytes decide. Whatever the framing, the documents in
//! it are read by the same tables. Only gRPC has to be announced.

use super::{
    answer::Answer,
    base64,
    dialect::{Compiled, Dialect, Field, Wire},
    eventstream::{self, Headers},
    grpc,
    json::{PathTable, Scanner, Value, Want},
    sniff::{Kind, Sniffer},
};
use crate::stream::sse::{self, SsePiece};

const DONE: &[u8] = b"[DONE]";

/// How a response body is read, once its first bytes have told.
pub(super) enum Body {
    /// Too little is there.
    Unknown(Sniffer),
    /// JSON documents, or one array of them.
    Json {
        /// Reads them.
        scanner: Box<Scanner>,
        /// It is an array of objects.
        array: bool,
    },
    /// Server-sent events.
    Events(Box<Events>),
    /// Amazon's event stream.
    Messages(Box<Messages>),
    /// gRPC.
    Rpc(Box<grpc::Messages>),
    /// Something that has no fields: audio, text.
    Other,
}

impl Default for Body {
    fn default() -> Self {
        Self::Unknown(Sniffer::default())
    }
}

/// What a body turned out to be when it was over.
pub(super) struct Outcome {
    /// It was a stream.
    pub(super) streaming: bool,
    /// It came to its own end.
    pub(super) whole: bool,
}

impl Body {
    /// gRPC of a sender with this `grpc-encoding`.
    pub(super) fn rpc(encoding: Option<&str>) -> Self {
        Self::Rpc(Box::new(grpc::Messages::new(encoding)))
    }

    /// Reads the next piece.
    pub(super) fn push(&mut self, compiled: &Compiled, answer: &mut Answer, data: &[u8]) {
        if let Self::Unknown(sniffer) = self {
            sniffer.push(data);
            let Some(kind) = sniffer.verdict() else { return };
            let sniffer = std::mem::take(sniffer);
            *self = match kind {
                Kind::Json { array } => Self::Json { scanner: Box::default(), array },
                Kind::Events => Self::Events(Box::default()),
                Kind::Messages => Self::Messages(Box::default()),
                Kind::Other => Self::Other,
            };
            self.read(compiled, answer, sniffer.held());
            return self.read(compiled, answer, sniffer.rest(data));
        }
        self.read(compiled, answer, data);
    }

    fn read(&mut self, compiled: &Compiled, answer: &mut Answer, data: &[u8]) {
        match self {
            Self::Json { scanner, .. } => {
                scanner.push(&compiled.response, data, &mut |hit| answer.hit(compiled.dialect, hit));
            }
            Self::Events(events) => {
                let Events { decoder, event } = &mut **events;
                decoder.push(data, &mut |piece| event.piece(compiled, answer, piece));
            }
            Self::Messages(messages) => messages.push(compiled, answer, data),
            Self::Rpc(messages) => messages.push(&compiled.response, data, &mut |hit| match hit {
                Ok(hit) => answer.hit(compiled.dialect, hit),
                Err(grpc::Broken) => answer.abandon_document(),
            }),
            Self::Unknown(_) | Self::Other => {}
        }
    }

    /// The body is over. `complete` says whether HTTP says so too, `lines` whether the response was
    /// announced as lines of JSON, `failed` whether its status is an error's.
    pub(super) fn end(
        &mut self,
        compiled: &Compiled,
        answer: &mut Answer,
        complete: bool,
        lines: bool,
        failed: bool,
    ) -> Outcome {
        let dialect = compiled.dialect;
        let streaming = self.streams(dialect, lines, failed);
        match self {
            Self::Events(events) => {
                let Events { decoder, event } = &mut **events;
                decoder.finish(&mut |piece| event.piece(compiled, answer, piece));
                answer.abandon_document();
                Outcome { streaming, whole: answer.stream_ended(dialect, complete) }
            }
            // What began with a zero byte for another reason: no message was ever there.
            Self::Messages(messages) if messages.decoder.is_malformed() && !messages.begun => {
                Outcome { streaming, whole: complete }
            }
            Self::Messages(messages) => {
                answer.abandon_document();
                let ended = messages.decoder.is_between_messages();
                Outcome { streaming, whole: answer.stream_ended(dialect, complete && ended) }
            }
            Self::Rpc(messages) => {
                answer.abandon_document();
                Outcome { streaming, whole: complete && messages.is_between_messages() }
            }
            Self::Json { scanner, .. } => {
                let whole = scanner.is_complete();
                answer.abandon_document();
                let ended = !streaming || answer.stream_ended(dialect, complete);
                Outcome { streaming, whole: whole && ended }
            }
            Self::Unknown(_) | Self::Other => Outcome { streaming, whole: complete },
        }
    }

    /// Whether it is a stream, as far as it has come; `lines` and `failed` as for [`end`](Self::end).
    pub(super) fn streams(&self, dialect: &Dialect, lines: bool, failed: bool) -> bool {
        match self {
            Self::Events(_) => true,
            Self::Messages(messages) => messages.begun || !messages.decoder.is_malformed(),
            Self::Rpc(messages) => {
                let several = messages.count() > 1;
                match dialect.wire {
                    Wire::Grpc { streaming } => streaming.unwrap_or(several),
                    Wire::Json => several,
                }
            }
            Self::Json { scanner, array } => {
                // Errors come as an array too, and as the only line of what would have been many.
                let array = *array && dialect.streams_array;
                !failed && (array || lines || scanner.documents() > 1)
            }
            Self::Unknown(_) | Self::Other => false,
        }
    }
}

/// State of a server-sent event stream.
#[derive(Default)]
pub(super) struct Events {
    decoder: sse::Decoder,
    event: EventData,
}

#[derive(Default)]
struct EventData {
    scanner: Scanner,
    /// Bytes of `[DONE]` that the event's data has matched so far.
    done: usize,
    /// The event has more data than that.
    other: bool,
    /// The event is about a part of the response: only its content counts.
    aside: bool,
}

impl EventData {
    fn piece(&mut self, compiled: &Compiled, answer: &mut Answer, piece: SsePiece<'_>) {
        match piece {
            SsePiece::Data(data) => {
                self.match_done(data);
                let aside = self.aside;
                self.scanner.push(&compiled.response, data, &mut |hit| {
                    if !aside || hit.field == Field::Content {
                        answer.hit(compiled.dialect, hit);
                    }
                });
            }
            SsePiece::Dispatch => {
                if self.done == DONE.len() && !self.other {
                    answer.terminated |= compiled.dialect.end.done;
                }
                if !self.scanner.is_complete() {
                    answer.abandon_document();
                }
                self.scanner.reset();
                self.done = 0;
                self.other = false;
                self.aside = false;
            }
            SsePiece::Event("error") | SsePiece::Field { name: "error", .. } => answer.set_error(None),
            SsePiece::Event(name) => {
                self.aside = compiled.dialect.asides.iter().any(|start| name.starts_with(start));
                answer.event_name(compiled.dialect, name);
            }
            SsePiece::Field { .. } | SsePiece::Comment => {}
        }
    }

    fn match_done(&mut self, data: &[u8]) {
        if self.other {
            return;
        }
        for &byte in data {
            if DONE.get(self.done) == Some(&byte) {
                self.done += 1;
            } else if self.done < DONE.len() || byte != b' ' {
                self.other = true;
                return;
            }
        }
    }
}

/// State of Amazon's event stream.
#[derive(Default)]
pub(super) struct Messages {
    decoder: eventstream::Decoder,
    payload: Payload,
    /// There was a message.
    begun: bool,
}

#[derive(Default)]
struct Payload {
    /// Reads the document, wherever it is.
    scanner: Scanner,
    /// Where it is inside an envelope: reads that.
    envelope: Option<(Box<Scanner>, base64::Decoder)>,
}

impl Messages {
    fn push(&mut self, compiled: &Compiled, answer: &mut Answer, data: &[u8]) {
        let Self { decoder, payload, begun } = self;
        decoder.push(data, &mut |piece| match piece {
            eventstream::Piece::Begin(headers) => {
                *begun = true;
                payload.begin(compiled, answer, &headers);
            }
            eventstream::Piece::Payload(data) => payload.push(compiled, answer, data),
            eventstream::Piece::End => {
                if !payload.scanner.is_complete() {
                    answer.abandon_document();
                }
            }
        });
    }
}

impl Payload {
    fn begin(&mut self, compiled: &Compiled, answer: &mut Answer, headers: &Headers<'_>) {
        self.scanner.reset();
        let encloses = compiled.dialect.encloses;
        self.envelope = (!encloses.is_empty() && headers.event_type == encloses).then(Default::default);
        match headers.message_type {
            "exception" | "error" => answer.set_error(Some(headers.error)),
            _ => answer.event_name(compiled.dialect, headers.event_type),
        }
    }

    fn push(&mut self, compiled: &Compiled, answer: &mut Answer, data: &[u8]) {
        let Self { scanner, envelope } = self;
        let mut document = |data: &[u8]| {
            scanner.push(&compiled.response, data, &mut |hit| answer.hit(compiled.dialect, hit));
        };
        let Some((envelope, base64)) = envelope else { return document(data) };
        envelope.push(&compiled.envelope, data, &mut |hit| {
            if let Value::Piece(text) = hit.value {
                base64.push(text, &mut document);
            }
        });
    }
}

/// What the envelope of a document in an event stream has of it.
pub(super) fn envelope() -> PathTable<()> {
    PathTable::compile([("bytes", Want::Text, ())])
}
