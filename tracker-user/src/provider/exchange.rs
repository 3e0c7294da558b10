//! One exchange with an LLM API, while it lasts.

use std::hash::{DefaultHasher, Hasher as _};

use super::{
    Call, Usage, UsageSource,
    answer::Answer,
    body::{Body, Outcome},
    call,
    catalog::{Catalog, Route, is_by_subscription},
    counted::Known,
    dialect::{Compiled, Dialect, Field, Framing, Wire},
    estimate::{self, Estimates, Output, Prompt},
    form::Form,
    grpc,
    json::{Hit, Scanner, Value},
    pace::{ChunkTimes, Pace},
    progress::Progress,
    retries::{self, Retries},
    wire_text,
};
use crate::{
    capture::Timestamp,
    stream::{End, RequestHead, ResponseHead, Role},
};

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
    /// Headers of the response that its dialect asks for.
    headers: Vec<(&'static str, String)>,
    /// The response was announced as lines of JSON.
    lines: bool,
    /// The status of a gRPC call.
    rpc_status: Option<String>,
    body: Body,
    answer: Answer,
    pace: Pace,
    last_byte: Option<Timestamp>,
    retry: Option<u32>,
    labels: Option<String>,
    subscription: bool,
}

#[derive(Default)]
struct RequestBody {
    reader: Reader,
    /// How gRPC messages are compressed.
    encoding: Option<String>,
    model: Option<String>,
    prompt: bool,
    /// Of what has passed; `None` while nothing has.
    hash: Option<DefaultHasher>,
    /// Counts its tokens, where that is wanted.
    estimate: Option<Prompt>,
}

/// How a request's body is read.
#[derive(Default)]
enum Reader {
    /// Nothing of it has come.
    #[default]
    Unknown,
    Json(Box<Scanner>),
    Form(Box<Form>),
    Rpc(Box<grpc::Messages>),
}

impl Reader {
    fn of(wire: Wire, encoding: Option<&str>, start: &[u8]) -> Self {
        match wire {
            Wire::Grpc { .. } => Self::Rpc(Box::new(grpc::Messages::new(encoding))),
            Wire::Json if Form::begins(start) => Self::Form(Box::default()),
            Wire::Json => Self::Json(Box::default()),
        }
    }
}

impl RequestBody {
    /// Whether its text was there to be counted, to its end.
    fn is_whole(&self) -> bool {
        match &self.reader {
            Reader::Json(scanner) => scanner.is_complete(),
            Reader::Rpc(messages) => messages.are_whole(),
            Reader::Unknown | Reader::Form(_) => false,
        }
    }

    fn hit(&mut self, hit: Hit<'_, Field>) {
        let Self { model, prompt, estimate, .. } = self;
        if let Some(estimate) = estimate {
            estimate.hit(&hit);
        }
        match (hit.field, hit.value) {
            (Field::Model, Value::Text { text, .. }) if model.is_none() && !text.is_empty() => {
                *model = Some(wire_text(text));
            }
            // `projects/p/locations/l/publishers/google/models/m`, `models/m`
            (Field::ModelResource, Value::Text { text, truncated: false }) if model.is_none() => {
                *model = text.rsplit('/').next().filter(|name| !name.is_empty()).map(wire_text);
            }
            (
                Field::Prompt | Field::Message | Field::Opaque,
                Value::Present | Value::BeginArray | Value::BeginObject,
            ) => *prompt = true,
            _ => {}
        }
    }
}

/// The value of a header, where it was sent and is one of those that are kept.
pub(super) fn header<'a>(headers: &'a [(&'static str, String)], wanted: &str) -> Option<&'a str> {
    headers.iter().find(|(name, _)| *name == wanted).map(|(_, value)| value.as_str())
}

impl Exchange {
    pub(super) const fn route(&self) -> &Route {
        &self.route
    }

    pub(super) fn new(
        route: Route,
        role: Role,
        head: &RequestHead,
        started: Timestamp,
        wire: Wire,
        estimates: Estimates,
    ) -> Self {
        // What is asked for again was asked for before, by another request.
        let estimated = estimates != Estimates::Never && !route.poll;
        let (prompt, output) = estimated.then(|| (Prompt::of(wire), Output::of(wire))).unzip();
        Self {
            route,
            role,
            host: head.host.clone(),
            port: head.port,
            path: head.path.clone(),
            started,
            request: RequestBody {
                estimate: prompt,
                encoding: header(&head.headers, grpc::ENCODING).map(str::to_owned),
                ..RequestBody::default()
            },
            status: None,
            headers: Vec::new(),
            lines: false,
            rpc_status: None,
            body: Body::default(),
            answer: Answer::new(output),
            pace: Pace::default(),
            last_byte: None,
            retry: retries::said(head),
            labels: header(&head.headers, call::LABELS).map(str::to_owned),
            subscription: is_by_subscription(head),
        }
    }

    /// The next piece of the request's body.
    pub(super) fn request_body(&mut self, compiled: &Compiled, retries: &Retries, data: &[u8]) {
        let request = &mut self.request;
        request.hash.get_or_insert_with(|| retries.hasher()).write(data);
        let mut reader = std::mem::take(&mut request.reader);
        if let Reader::Unknown = reader {
            reader = Reader::of(compiled.dialect.wire, request.encoding.as_deref(), data);
            request.prompt |= matches!(reader, Reader::Form(_));
        }
        match &mut reader {
            Reader::Unknown => {}
            Reader::Json(scanner) => scanner.push(&compiled.request, data, &mut |hit| request.hit(hit)),
            Reader::Form(form) => {
                if let Some(found) = form.push(data) {
                    request.model = Some(wire_text(&found));
                }
            }
            Reader::Rpc(messages) => messages.push(&compiled.request, data, &mut |hit| {
                let _ = hit.map(|hit| request.hit(hit));
            }),
        }
        request.reader = reader;
    }

    pub(super) fn response(&mut self, compiled: &Compiled, head: &ResponseHead, at: Timestamp) {
        self.status = Some(head.status);
        self.last_byte = Some(at);
        self.fields(compiled, &head.headers);
        let kind = head.content_type.as_deref().unwrap_or_default().to_ascii_lowercase();
        if matches!(compiled.dialect.wire, Wire::Grpc { .. })
            && head.content_type.as_deref().is_none_or(grpc::is_content_type)
        {
            self.body = Body::rpc(header(&head.headers, grpc::ENCODING));
        }
        self.lines = ["ndjson", "jsonl", "stream+json", "json-seq"].iter().any(|lines| kind.contains(lines));
    }

    /// Fields of the response's head, or those behind its body.
    pub(super) fn fields(&mut self, compiled: &Compiled, fields: &[(&'static str, String)]) {
        let wanted = |name| compiled.dialect.headers.iter().any(|&(header, _)| header == name);
        self.headers.extend(fields.iter().filter(|(name, _)| wanted(*name)).cloned());
        self.rpc_status = self.rpc_status.take().or_else(|| header(fields, grpc::STATUS).map(str::to_owned));
    }

    pub(super) fn response_body(&mut self, compiled: &Compiled, data: &[u8], at: Timestamp) {
        self.last_byte = Some(at);
        let chunks = self.answer.chunks;
        self.body.push(compiled, &mut self.answer, data);
        if self.answer.content {
            self.pace.content(self.answer.chunks - chunks, at);
        }
    }

    /// How far it has come; `None` where it is not known to be a call, or is one that was begun before.
    pub(super) fn progress(&mut self, compiled: &Compiled) -> Option<Progress<'_>> {
        if self.route.poll || !self.route.certain && !self.is_plausible(compiled) {
            return None;
        }
        let failed = self.status.is_some_and(|status| status >= 400);
        let streaming = self.body.streams(compiled.dialect, self.lines, failed);
        let reported = self.answer.usage(compiled.dialect, self.route.quirks, false).output_tokens;
        let counted = self.answer.output.as_mut().filter(|_| reported.is_none()).and_then(Output::so_far);
        let Self { route, role, host, started, request, status, pace, .. } = self;
        Some(Progress {
            started: *started,
            provider: route.provider,
            operation: route.operation,
            model: request.model.as_deref().or(route.model.as_deref()),
            server_address: host.as_deref(),
            role: *role,
            streaming,
            status: *status,
            first_token: pace.first().filter(|_| streaming),
            output_tokens: reported.or(counted),
            usage_source: Progress::source(reported, counted),
        })
    }

    /// The exchange is over. `None` when it was no call after all, or one that has been counted.
    pub(super) fn end(
        mut self,
        compiled: &Compiled,
        catalog: &Catalog,
        process: u32,
        end: End,
        at: Timestamp,
    ) -> Option<Call> {
        let dialect = compiled.dialect;
        // A request that was not seen whole takes nothing from the answer.
        let complete = matches!(end, End::Complete | End::RequestCut);
        let failed = self.status.is_some_and(|status| status >= 400);
        let answer = &mut self.answer;
        let Outcome { streaming, whole } = self.body.end(compiled, answer, complete, self.lines, failed);
        if !self.route.certain && !self.is_plausible(compiled) {
            return None;
        }
        let answer = &mut self.answer;
        if failed {
            answer.forget_id();
        }
        for (name, value) in &self.headers {
            for &(_, field) in dialect.headers.iter().filter(|(header, _)| header == name) {
                answer.header(dialect, field, value);
            }
        }
        let rpc_error = || self.rpc_status.as_deref().and_then(grpc::error);
        let interrupted = || (!whole).then(|| "interrupted".into());
        let error = answer.error(self.status).or_else(rpc_error).or_else(interrupted);
        let mut usage = answer.usage(dialect, self.route.quirks, whole);
        // What is made in the background will say what it used.
        let pending = dialect.polled && !streaming && !answer.is_final();
        if !pending {
            if catalog.estimates() == Estimates::Always {
                usage = Usage::default();
            }
            self.estimate(&mut usage, &dialect.framing, end, error.as_deref());
        }
        let answer = &self.answer;
        let done = answer.is_final() || usage.source != UsageSource::Missing;
        let mut known = None;
        if let (true, Some(id)) = (dialect.polled, &answer.id) {
            known = catalog.counted().note(
                self.route.provider,
                id,
                if done { Known::Done } else { Known::Pending },
            );
        }
        if self.route.poll && (!done || known == Some(Known::Done)) {
            return None;
        }
        let last_byte = self.last_byte.unwrap_or(at);
        // What can be asked for only once has been asked to be made before.
        let continued = self.route.poll && (known == Some(Known::Pending) || !dialect.polled);
        let retry = self.retry(catalog.retries(), process, end, error.is_some(), last_byte);
        let Self {
            route,
            role,
            host,
            port,
            path,
            started,
            request,
            status,
            mut answer,
            pace,
            labels,
            subscription,
            ..
        } = self;
        let reasoned = usage.reasoning_tokens.is_some_and(|tokens| tokens > 0);
        let measured = streaming && whole && !reasoned && usage.source == UsageSource::Reported;
        let per_token = pace.time_per_token(usage.output_tokens).filter(|_| measured);
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
            server_tool_calls: answer.tools.take_server(),
            service_tier: answer.service_tier.take(),
            cost: answer.cost,
            subscription,
            continued,
            retry,
            labels,
            time_to_first_token_seconds: pace.time_to_first_token(started).filter(|_| streaming),
            time_per_output_token_seconds: per_token,
            chunk_times: if streaming { pace.times() } else { ChunkTimes::default() },
            duration_seconds: last_byte.seconds_since(started),
        })
    }

    /// Which repetition it is of a request that failed.
    fn retry(&self, retries: &Retries, process: u32, end: End, failed: bool, last: Timestamp) -> Option<u32> {
        let Self { role, route, host, port, path, started, request, status, retry, .. } = self;
        // Of a request that was not seen whole nobody knows whether it is the same.
        let cut = matches!(end, End::RequestCut | End::Gap);
        let hash = request.hash.as_ref().filter(|_| !cut && !route.poll && *role == Role::Client);
        let Some(body) = hash.map(DefaultHasher::finish) else { return *retry };
        let failed = retries::is_failure(*status, failed);
        retries.note((process, host, port, path, body), (*started, last), failed, *retry)
    }

    /// Adds what was counted where nothing was reported: not of what failed, and not where bytes of it
    /// are missing.
    fn estimate(&mut self, usage: &mut Usage, framing: &Framing, end: End, error: Option<&str>) {
        let prompt = self.request.estimate.take().filter(|_| self.request.is_whole());
        let output = self.answer.output.take();
        let interrupted = error == Some("interrupted");
        let seen = matches!(end, End::Complete | End::Closed | End::RequestCut);
        let accepted = self.status.is_some_and(|status| status < 400);
        if seen && accepted && (error.is_none() || interrupted || self.answer.content) {
            let tools = self.answer.tools.names();
            estimate::complete(usage, interrupted, |input| {
                let prompt = prompt.filter(|_| input).and_then(|prompt| prompt.tokens(framing));
                (prompt, output.and_then(|output| output.tokens(framing, tools, !interrupted)))
            });
        }
    }

    /// How much of the bodies this dialect has recognised, to be compared with that of another: a
    /// prompt, an answer that only it has, or both, and then how many of its fields were met.
    pub(super) const fn evidence(&self) -> (u8, u32) {
        let own = if self.answer.own { 2 } else { 0 };
        (self.request.prompt as u8 + own, self.answer.hits)
    }

    /// Whether the bodies alone show a call of this dialect: a prompt, and an answer that only it has.
    /// Without a prompt it may be a look at an answer that was given before.
    pub(super) fn is_evident(&self, dialect: &Dialect) -> bool {
        let ours = |model: &Option<String>| {
            let fits = |start: &&str| model.as_ref().is_some_and(|model| model.starts_with(*start));
            dialect.models.is_empty() || dialect.models.iter().any(fits)
        };
        self.request.prompt && self.answer.own && ours(&self.request.model) && ours(&self.answer.model)
    }

    /// Whether the bodies agree that this was a call to an LLM, at a host that nobody knows.
    fn is_plausible(&self, compiled: &Compiled) -> bool {
        let RequestBody { model, prompt, reader, .. } = &self.request;
        // A form may leave its model out, where the path says enough.
        let form = matches!(reader, Reader::Form(_)) && self.path.contains("/v1/");
        let asked = *prompt && (model.is_some() || self.route.model.is_some() || form);
        let answered = self.answer.recognised && (self.answer.model.is_some() || compiled.dialect.nameless);
        asked || answered
    }
}
