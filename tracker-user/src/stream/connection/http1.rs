//! A connection while it speaks HTTP/1.1, or nothing that is known.

use super::{Connection, Protocol, early::Early};
use crate::{
    capture::{Direction, Timestamp},
    stream::{
        End, Event, ExchangeId, Role, Sink,
        half::{Body, Phase},
        http1::{
            MAX_HEAD, Malformed,
            head::{self, Method, Request, Response, Wrapping},
            start::{PREFACE, Rigour, Start},
        },
        http2,
    },
};

/// A first line is judged again with every byte up to this length, and after that only when whole.
const JUDGED_LINE: usize = 1024;

impl Connection {
    /// Takes bytes at, or before, the start of a message; returns what is left of them.
    pub(super) fn head<'a>(
        &mut self,
        direction: Direction,
        bytes: &'a [u8],
        aligned: bool,
        at: Timestamp,
        out: &mut Sink<'_>,
    ) -> &'a [u8] {
        let half = self.half_mut(direction);
        let rigour = half.rigour();
        let mut bytes = bytes;
        if half.head.is_empty() {
            if rigour == Rigour::InStep {
                // RFC 9112, section 2.2: empty lines before a message are tolerated.
                let content = bytes.iter().position(|byte| !matches!(byte, b'\r' | b'\n'));
                bytes = &bytes[content.unwrap_or(bytes.len())..];
                if bytes.is_empty() {
                    return bytes;
                }
            } else if !aligned {
                return self.skip(direction, bytes.len(), at, out);
            }
            half.head_at = at;
        }
        let started = half.head_at;
        let mut buffer = std::mem::take(&mut half.head);
        let carried = buffer.len();
        let view = if carried == 0 {
            &bytes[..bytes.len().min(MAX_HEAD)]
        } else {
            buffer.extend_from_slice(&bytes[..bytes.len().min(MAX_HEAD.saturating_sub(carried))]);
            &buffer[..]
        };
        let judged = match Start::of(&view[..if carried > JUDGED_LINE { 5 } else { view.len() }], rigour) {
            Start::Undecided if carried > JUDGED_LINE && view.starts_with(b"HTTP/") => Start::Response,
            Start::Undecided if carried > JUDGED_LINE => Start::Request,
            judged => judged,
        };
        let end = if judged == Start::Undecided { None } else { head::end(view, carried.saturating_sub(2)) };
        let side = self.client.map(|client| client == direction);
        let accepted = match (judged, end) {
            (Start::Http2, _) if side.is_none() => {
                // Without the preface it may be a later SETTINGS frame.
                let joined = self.bytes_out_of_step > 0 && !view.starts_with(PREFACE);
                buffer.truncate(carried);
                self.half_mut(direction).head = buffer;
                self.begin_http2(direction, joined, out);
                return bytes;
            }
            (Start::No, _)
                if side.is_none()
                    && rigour == Rigour::Seeking
                    && carried == 0
                    && http2::begins_with_frames(view) =>
            {
                self.begin_http2(direction, true, out);
                return bytes;
            }
            (Start::Request, _) if side == Some(false) => Err(Malformed),
            (Start::Response, _) if side == Some(true) => Err(Malformed),
            (Start::Http2 | Start::No, _) => Err(Malformed),
            (_, None) if view.len() >= MAX_HEAD => Err(Malformed),
            (_, None) => {
                let half = self.half_mut(direction);
                half.head = if carried == 0 { view.to_vec() } else { buffer };
                return &[];
            }
            (Start::Response, Some(end)) => {
                let method = self.exchanges.next_method().unwrap_or(Method::Other);
                let response = head::response(&view[..end], rigour, method);
                if response.is_ok() && self.is_early(direction, started) {
                    buffer.truncate(carried);
                    self.half_mut(direction).head = buffer;
                    self.early = Some(Early::new(direction, started, None));
                    self.client = Some(direction.opposite());
                    self.begins_cleanly();
                    return bytes;
                }
                response.map(|response| (end, Err(response)))
            }
            (_, Some(end)) => head::request(&view[..end], rigour).map(|request| (end, Ok(request))),
        };
        match accepted {
            Ok((end, message)) => {
                self.begins_cleanly();
                match message {
                    Ok(request) => self.request(direction, request, started, at, out),
                    Err(response) => self.response(direction, response, at, out),
                }
                &bytes[end.saturating_sub(carried)..]
            }
            Err(Malformed) => {
                self.reject(direction, carried, at, out);
                if carried > 0 && aligned { bytes } else { self.skip(direction, bytes.len(), at, out) }
            }
        }
    }

    /// A message of HTTP/1.1 begins.
    fn begins_cleanly(&mut self) {
        self.bytes_out_of_step = 0;
        self.turns = 0;
        self.protocol = Protocol::Http1;
    }

    /// What was taken for a head is none.
    fn reject(&mut self, direction: Direction, carried: usize, at: Timestamp, out: &mut Sink<'_>) {
        if self.half(direction).rigour() == Rigour::InStep {
            self.counters.malformed += 1;
            self.lose(direction, End::Malformed, None, at, out);
        }
        self.skip(direction, carried, at, out);
    }

    fn request(
        &mut self,
        direction: Direction,
        request: Request,
        started: Timestamp,
        at: Timestamp,
        out: &mut Sink<'_>,
    ) {
        let Request { head, method, body, expects_continue } = request;
        self.client = Some(direction);
        self.counters.requests += 1;
        let half = self.half_mut(direction);
        half.requests_in_chunk += 1;
        if half.requests_in_chunk > 1 {
            self.exchanges.saw_pipelining();
        }
        let exchange = self.exchanges.begin(method, expects_continue, at, out);
        self.forget_ended();
        let role = if direction == Direction::Write { Role::Client } else { Role::Server };
        out(Event::Request { exchange, role, head: &head, at: started });
        self.start_body(direction, body, Some(exchange), at, out);
    }

    fn response(&mut self, direction: Direction, response: Response, at: Timestamp, out: &mut Sink<'_>) {
        let Response { head, body } = response;
        let client = direction.opposite();
        self.client = Some(client);
        if (100..200).contains(&head.status) && head.status != 101 {
            self.half_mut(direction).phase = Phase::Head;
            return;
        }
        let method = self.exchanges.next_method();
        let exchange = self.exchanges.respond();
        if let Some(exchange) = exchange {
            out(Event::Response { exchange, head: &head, at });
        } else {
            self.counters.unmatched_responses += 1;
            let in_step = |direction| self.half(direction).rigour() == Rigour::InStep;
            let in_step = in_step(direction) && in_step(client);
            self.unsolicited = self.exchanges.is_unsolicited() && in_step;
        }
        if head.status == 101 && self.upgrade(&head, at, out) {
            return;
        }
        let tunnel = method == Some(Method::Connect) && (200..300).contains(&head.status);
        if head.status == 101 || tunnel {
            self.exchanges.request_done(at, out);
            self.exchanges.response_done(at, out);
            self.exchanges.close(false, at, out);
            self.protocol = Protocol::Upgraded;
            return;
        }
        self.start_body(direction, body, exchange, at, out);
    }

    fn start_body(
        &mut self,
        direction: Direction,
        wrapping: Wrapping,
        exchange: Option<ExchangeId>,
        at: Timestamp,
        out: &mut Sink<'_>,
    ) {
        if wrapping.framing.is_done() {
            return self.message_done(direction, at, out);
        }
        let (body, opened) = Body::new(wrapping, exchange);
        self.half_mut(direction).phase = Phase::Body(body);
        if opened.is_err() {
            self.undecodable(direction);
        }
    }

    /// Takes bytes of a body; returns what is left of them.
    pub(super) fn body<'a>(
        &mut self,
        direction: Direction,
        bytes: &'a [u8],
        aligned: bool,
        at: Timestamp,
        out: &mut Sink<'_>,
    ) -> &'a [u8] {
        let requesting = self.client == Some(direction);
        let withheld = requesting && aligned && self.exchanges.body_may_be_withheld();
        let Some(body) = self.half_mut(direction).body_mut() else { return bytes };
        if withheld && body.untouched && Start::of(bytes, Rigour::Seeking) == Start::Request {
            // RFC 9110, section 10.1.1: refused before it was sent, the body may be left out.
            self.message_done(direction, at, out);
            return bytes;
        }
        body.untouched = false;
        if !requesting {
            let known = body.exchange.is_some();
            self.exchanges.response_continues(known, at, out);
            self.forget_ended();
        }
        let Some(body) = self.half_mut(direction).body_mut() else { return bytes };
        let exchange = body.exchange.unwrap_or(ExchangeId(0)); // Without an exchange it is muted.
        let (mut rest, mut followed, mut decoded) = (bytes, Ok(()), Ok(()));
        while !rest.is_empty() && !body.framing.is_done() && followed.is_ok() {
            followed = body.framing.next(&mut rest).map(|piece| {
                let step = body.decode(piece, &mut |data| {
                    out(if requesting {
                        Event::RequestBody { exchange, data, at }
                    } else {
                        Event::ResponseBody { exchange, data, at }
                    });
                });
                if step.is_err() {
                    body.mute();
                    decoded = step;
                }
            });
        }
        let done = body.framing.is_done();
        let headers = if requesting { Vec::new() } else { head::trailers(body.framing.trailers()) };
        let known = body.exchange.is_some();
        if !headers.is_empty() && known && !self.exchanges.has_ended(exchange) {
            out(Event::Trailers { exchange, headers: &headers, at });
        }
        if decoded.is_err() {
            self.undecodable(direction);
        }
        if followed.is_err() {
            self.counters.malformed += 1;
            self.lose(direction, End::Malformed, None, at, out);
        } else if done {
            self.message_done(direction, at, out);
        }
        rest
    }

    fn undecodable(&mut self, direction: Direction) {
        self.counters.undecodable += 1;
        self.exchanges.undecodable(self.client == Some(direction));
    }

    fn message_done(&mut self, direction: Direction, at: Timestamp, out: &mut Sink<'_>) {
        self.half_mut(direction).phase = Phase::Head;
        if self.client == Some(direction) {
            self.exchanges.request_done(at, out);
        } else {
            self.exchanges.response_done(at, out);
            self.forget_ended();
        }
    }

    /// `lost` bytes of a direction were never delivered.
    pub(super) fn message_gap(&mut self, direction: Direction, lost: u64, at: Timestamp, out: &mut Sink<'_>) {
        let requesting = self.client == Some(direction);
        let skipped = self.half_mut(direction).body_mut().and_then(|body| {
            body.mute();
            body.framing.skip(lost).then(|| body.framing.is_done())
        });
        let Some(done) = skipped else {
            return self.lose(direction, End::Gap, Some(lost), at, out);
        };
        if requesting {
            self.exchanges.request_damaged();
        } else {
            self.exchanges.response_damaged(at, out);
            self.forget_ended();
        }
        if done {
            self.message_done(direction, at, out);
        }
    }

    /// A direction has lost its place: what can no longer be told ends.
    pub(super) fn lose(
        &mut self,
        direction: Direction,
        end: End,
        lost: Option<u64>,
        at: Timestamp,
        out: &mut Sink<'_>,
    ) {
        self.half_mut(direction).lose_step();
        match self.client {
            None => {}
            Some(client) if client == direction => self.exchanges.lost_request(end, at, out),
            Some(_) => self.exchanges.lost_response(end, lost, at, out),
        }
        self.forget_ended();
    }

    pub(super) fn abandon(&mut self, at: Timestamp, out: &mut Sink<'_>) {
        self.exchanges.abandon(at, out);
        self.forget_ended();
    }

    /// Bodies whose exchange has ended are followed to their end, but not handed out; where it is not
    /// even remembered, they belong to nobody.
    fn forget_ended(&mut self) {
        if self.exchanges.is_abandoned() && !std::mem::replace(&mut self.abandoned, true) {
            self.counters.abandoned += 1;
        }
        for half in [&mut self.write, &mut self.read] {
            if let Some(body) = half.body_mut()
                && let Some(exchange) = body.exchange
                && self.exchanges.has_ended(exchange)
            {
                body.mute();
                body.exchange = Some(exchange).filter(|exchange| self.exchanges.contains(*exchange));
            }
        }
    }
}
