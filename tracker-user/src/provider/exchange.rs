//! One exchange with an LLM API, while it lasts.

use super::{
    Call,
    answer::Answer,
    catalog::Route,
    dialect::{Compiled, Field},
    json::{Scanner, Value},
    sniff::{Body, Sniffer},
    wire_text,
};
use crate::{
    capture::Timestamp,
    stream::{
        End, RequestHead, ResponseHead, Role,
        sse::{Decoder, SsePiece},
    },
};

const DONE: &[u8] = b"[DONE]";

/// Collects what one exchange says about itself; a few KiB, whatever its size.
pub(super) struct Exchange {
    route: Route,
    role: Role,
    host: Option<String>,
    port: Option<u16>,
    path: String,
    started: Timestamp,
    request: RequestBody,
    status: Option<u16>,
    sniffer: Sniffer,
    body: ResponseBody,
    answer: Answer,
    first_token: Option<Timestamp>,
    last_byte: Option<Timestamp>,
}

#[derive(Default)]
struct RequestBody {
    scanner: Scanner,
    model: Option<String>,
    prompt: bool,
}

/// How the response body is read, once its first bytes have told.
enum ResponseBody {
    Unknown,
    Json { scanner: Box<Scanner>, array: bool },
    Events(Box<Events>),
    Other,
}

/// State of a server-sent event stream.
#[derive(Default)]
struct Events {
    decoder: Decoder,
    event: EventData,
}

#[derive(Default)]
struct EventData {
    scanner: Scanner,
    /// Bytes of `[DONE]` that the event's data has matched so far.
    done: usize,
    /// The event has more data than that.
    other: bool,
}

impl Exchange {
    pub(super) const fn route(&self) -> &Route {
        &self.route
    }

    pub(super) fn new(route: Route, role: Role, head: &RequestHead, started: Timestamp) -> Self {
        Self {
            route,
            role,
            host: head.host.clone(),
            port: head.port,
            path: head.path.clone(),
            started,
            request: RequestBody::default(),
            status: None,
            sniffer: Sniffer::default(),
            body: ResponseBody::Unknown,
            answer: Answer::default(),
            first_token: None,
            last_byte: None,
        }
    }

    pub(super) fn request_body(&mut self, compiled: &Compiled, data: &[u8]) {
        let RequestBody { scanner, model, prompt } = &mut self.request;
        scanner.push(&compiled.request, data, &mut |hit| match (hit.field, hit.value) {
            (Field::Model, Value::Text { text, .. }) if model.is_none() && !text.is_empty() => {
                *model = Some(wire_text(text));
            }
            (Field::Prompt, Value::Present | Value::BeginArray | Value::BeginObject) => *prompt = true,
            _ => {}
        });
    }

    pub(super) fn response(&mut self, head: &ResponseHead, at: Timestamp) {
        self.status = Some(head.status);
        self.last_byte = Some(at);
    }

    pub(super) fn response_body(&mut self, compiled: &Compiled, data: &[u8], at: Timestamp) {
        self.last_byte = Some(at);
        if matches!(self.body, ResponseBody::Unknown) {
            self.sniffer.push(data);
            let Some(kind) = self.sniffer.verdict() else { return };
            self.body = match kind {
                Body::Json { array } => ResponseBody::Json { scanner: Box::default(), array },
                Body::Events => ResponseBody::Events(Box::default()),
                Body::Other => ResponseBody::Other,
            };
            let sniffer = std::mem::take(&mut self.sniffer);
            self.read(compiled, sniffer.held(), at);
        }
        self.read(compiled, data, at);
    }

    fn read(&mut self, compiled: &Compiled, data: &[u8], at: Timestamp) {
        let answer = &mut self.answer;
        match &mut self.body {
            ResponseBody::Json { scanner, .. } => {
                scanner.push(&compiled.response, data, &mut |hit| answer.hit(compiled.dialect, hit));
            }
            ResponseBody::Events(events) => {
                let Events { decoder, event } = &mut **events;
                decoder.push(data, &mut |piece| event.piece(compiled, answer, piece));
            }
            ResponseBody::Unknown | ResponseBody::Other => {}
        }
        if self.answer.content && self.first_token.is_none() {
            self.first_token = Some(at);
        }
    }

    /// The exchange is over. `None` when it was no call after all.
    pub(super) fn end(mut self, compiled: &Compiled, end: End, at: Timestamp) -> Option<Call> {
        let dialect = compiled.dialect;
        // A request that was not seen whole takes nothing from the answer.
        let complete = matches!(end, End::Complete | End::RequestCut);
        let (streaming, whole) = match &mut self.body {
            ResponseBody::Events(events) => {
                let Events { decoder, event } = &mut **events;
                let answer = &mut self.answer;
                decoder.finish(&mut |piece| event.piece(compiled, answer, piece));
                answer.abandon_document();
                (true, answer.stream_ended(dialect, complete))
            }
            ResponseBody::Json { scanner, array } => {
                let documents_whole = scanner.is_complete();
                // An error may come as an array too.
                let streaming = *array && self.status.is_none_or(|status| status < 400);
                self.answer.abandon_document();
                let whole = documents_whole && (!streaming || self.answer.stream_ended(dialect, complete));
                (streaming, whole)
            }
            ResponseBody::Unknown | ResponseBody::Other => (false, complete),
        };
        if !self.route.certain && !self.is_plausible() {
            return None;
        }
        let error = self.answer.error(self.status).or_else(|| (!whole).then(|| "interrupted".into()));
        let usage = self.answer.usage(dialect, self.route.quirks, whole);
        let last_byte = self.last_byte.unwrap_or(at);
        let Self { route, role, host, port, path, started, request, status, mut answer, first_token, .. } =
            self;
        Some(Call {
            started,
            provider: route.provider,
            operation: route.operation,
            model: request.model.or(route.model),
            response_model: answer.model.take(),
            response_id: answer.id.take(),
            server_address: host,
            server_port: port,
            path,
            role,
            streaming,
            status,
            error,
            finish_reasons: answer.finish_reasons(),
            usage,
            tool_calls: answer.tools.take(),
            time_to_first_token_seconds: first_token
                .filter(|_| streaming)
                .map(|first| first.seconds_since(started)),
            duration_seconds: last_byte.seconds_since(started),
        })
    }

    /// How much of the bodies this dialect has recognised, to be compared with that of another: a
    /// prompt, usage, or both, and then how many of its fields were met.
    pub(super) const fn evidence(&self) -> (u8, u32) {
        let recognised = if self.answer.recognised { 2 } else { 0 };
        (self.request.prompt as u8 + recognised, self.answer.hits)
    }

    /// Whether something came back that only an answer of this dialect has.
    pub(super) const fn is_answered(&self) -> bool {
        self.answer.recognised
    }

    /// Whether the bodies agree that this was a call to an LLM, at a host that nobody knows.
    fn is_plausible(&self) -> bool {
        let asked = self.request.prompt && (self.request.model.is_some() || self.route.model.is_some());
        asked || (self.answer.recognised && self.answer.model.is_some())
    }
}

impl EventData {
    fn piece(&mut self, compiled: &Compiled, answer: &mut Answer, piece: SsePiece<'_>) {
        match piece {
            SsePiece::Data(data) => {
                self.match_done(data);
                self.scanner.push(&compiled.response, data, &mut |hit| answer.hit(compiled.dialect, hit));
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
            }
            SsePiece::Event("error") | SsePiece::Field { name: "error", .. } => answer.set_error(),
            SsePiece::Event(_) | SsePiece::Field { .. } | SsePiece::Comment => {}
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
