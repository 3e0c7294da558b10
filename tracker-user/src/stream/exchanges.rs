//! Which response belongs to which request.
//!
//! HTTP/1.1 has no numbers: responses come in the order of the requests, and one that was lost
//! shifts all later ones. A number booked on the wrong call is worse than a call without numbers,
//! so where the order is in doubt the exchanges end as [`End::Gap`] instead.
//!
//! Almost no client pipelines: with most, a new request means that all earlier responses are over.
//! That is relied on, until a connection proves otherwise by two requests in one write or by body
//! bytes of a response that arrive after a later request. From then on, a loss of unknown extent
//! while a response is awaited is final: which response is whose cannot be known again.

use std::collections::VecDeque;

use super::{End, Event, ExchangeId, Sink, http1::head::Method};
use crate::capture::Timestamp;

/// Most exchanges in flight on one connection; a responding direction that is never seen must not
/// make the queue grow for ever.
const MAX_IN_FLIGHT: usize = 64;

/// No response is shorter than `HTTP/1.1 204 ` and its line ends. Fewer lost bytes can be the tail of
/// one response, but cannot hold a whole one.
const SMALLEST_RESPONSE: u64 = 17;

/// How far one message of an exchange is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    Awaited,
    Open,
    Done,
}

/// A request and its response.
#[derive(Debug)]
struct Exchange {
    id: ExchangeId,
    method: Method,
    expects_continue: bool,
    request: Progress,
    response: Progress,
    /// How it will end, if both messages come to their end; absent: complete.
    fate: Option<End>,
    /// Its end was reported; it stays because its response is still to be passed over.
    ended: bool,
}

impl Exchange {
    fn end(&mut self, end: End, at: Timestamp, out: &mut Sink<'_>) {
        if !std::mem::replace(&mut self.ended, true) {
            out(Event::End { exchange: self.id, end, at });
        }
    }
}

/// The exchanges of a connection that are not over, in the order of their requests.
#[derive(Debug, Default)]
pub(super) struct Exchanges {
    queue: VecDeque<Exchange>,
    next_id: u64,
    pipelined: bool,
    abandoned: bool,
    /// Since the last request, one was dropped whose response may still come.
    dropped: bool,
}

impl Exchanges {
    /// Whether responses can no longer be matched on this connection.
    pub(super) fn is_abandoned(&self) -> bool {
        self.abandoned
    }

    /// How many are not over.
    pub(super) fn len(&self) -> usize {
        self.queue.len()
    }

    /// Whether an exchange is not over.
    pub(super) fn contains(&self, id: ExchangeId) -> bool {
        self.queue.iter().any(|exchange| exchange.id == id)
    }

    /// Two requests were seen in one write.
    pub(super) fn saw_pipelining(&mut self) {
        self.pipelined = true;
    }

    /// A request began.
    pub(super) fn begin(
        &mut self,
        method: Method,
        expects_continue: bool,
        at: Timestamp,
        out: &mut Sink<'_>,
    ) -> ExchangeId {
        if self.queue.len() >= MAX_IN_FLIGHT {
            self.abandon(at, out);
        }
        self.dropped = false;
        let id = ExchangeId(self.next_id);
        self.next_id += 1;
        let (response, fate) =
            if self.abandoned { (Progress::Done, Some(End::Gap)) } else { (Progress::Awaited, None) };
        self.queue.push_back(Exchange {
            id,
            method,
            expects_continue,
            request: Progress::Open,
            response,
            fate,
            ended: false,
        });
        id
    }

    /// The method of the request that the next response answers.
    pub(super) fn next_method(&self) -> Option<Method> {
        self.queue.iter().find(|exchange| exchange.response == Progress::Awaited).map(|next| next.method)
    }

    /// Whether no request awaits a response, on a connection where one is to be matched.
    pub(super) fn lacks_request(&self) -> bool {
        !self.abandoned && self.next_method().is_none()
    }

    /// Whether the request that the next response answers is not whole, and not for want of leave to send
    /// its body.
    pub(super) fn next_request_is_open(&self) -> bool {
        let next = self.queue.iter().find(|exchange| exchange.response == Progress::Awaited);
        next.is_some_and(|next| next.request == Progress::Open && !next.expects_continue)
    }

    /// The final response of the next exchange began.
    pub(super) fn respond(&mut self) -> Option<ExchangeId> {
        let next = self.queue.iter_mut().find(|exchange| exchange.response == Progress::Awaited)?;
        next.response = Progress::Open;
        Some(next.id)
    }

    /// Whether the end of an exchange was reported.
    pub(super) fn has_ended(&self, id: ExchangeId) -> bool {
        self.queue.iter().find(|exchange| exchange.id == id).is_none_or(|exchange| exchange.ended)
    }

    /// A final response began that no request awaits; whether nothing explains it.
    pub(super) fn is_unsolicited(&mut self) -> bool {
        !std::mem::take(&mut self.dropped) && !self.abandoned
    }

    /// The request in progress was answered, and its sender waited for leave to send its body.
    pub(super) fn body_may_be_withheld(&self) -> bool {
        self.open_request().is_some_and(|open| open.expects_continue && open.response != Progress::Awaited)
    }

    /// The request in progress is whole.
    pub(super) fn request_done(&mut self, at: Timestamp, out: &mut Sink<'_>) {
        if let Some(open) = self.open_request_mut() {
            open.request = Progress::Done;
        }
        self.finish(at, out);
    }

    /// The response in progress is whole. That ends the exchange: the rest of a request that is not
    /// whole may never be seen, and nobody waits for it.
    pub(super) fn response_done(&mut self, at: Timestamp, out: &mut Sink<'_>) {
        if let Some(open) = self.open_response_mut() {
            open.response = Progress::Done;
            if open.request != Progress::Done {
                open.end(open.fate.unwrap_or(End::RequestCut), at, out);
            }
        }
        self.finish(at, out);
    }

    /// The body of the message in progress cannot be decoded.
    pub(super) fn undecodable(&mut self, request: bool) {
        let open = if request { self.open_request_mut() } else { self.open_response_mut() };
        if let Some(open) = open {
            open.fate = Some(End::Malformed);
        }
    }

    /// Bytes of the request in progress were lost, but not its end.
    pub(super) fn request_damaged(&mut self) {
        if let Some(open) = self.open_request_mut() {
            open.fate = open.fate.or(Some(End::RequestCut));
        }
    }

    /// Bytes of the response in progress were lost, but not its end.
    pub(super) fn response_damaged(&mut self, at: Timestamp, out: &mut Sink<'_>) {
        if let Some(open) = self.open_response_mut() {
            open.end(End::Gap, at, out);
        }
    }

    /// Body bytes of a response arrived without a loss before them; `known` says whether its request
    /// was seen. With a client that does not pipeline, no later request can have been sent.
    pub(super) fn response_continues(&mut self, known: bool, at: Timestamp, out: &mut Sink<'_>) {
        if known {
            self.pipelined |= self.queue.back().is_some_and(|last| last.response == Progress::Awaited);
        } else if self.next_method().is_some() {
            // Which of the requests after the unknown one were missed cannot be told.
            self.abandon(at, out);
        }
    }

    /// The requesting direction lost its place.
    pub(super) fn lost_request(&mut self, end: End, at: Timestamp, out: &mut Sink<'_>) {
        if self.pipelined {
            return self.abandon(at, out);
        }
        if end == End::Gap {
            return self.end_all(End::Gap, at, out);
        }
        // Nothing was lost: the requests before this one keep their places.
        if let Some(at_fault) = self.queue.iter().position(|exchange| exchange.request == Progress::Open)
            && let Some(mut exchange) = self.queue.remove(at_fault)
        {
            exchange.end(end, at, out);
            self.dropped = true;
        }
    }

    /// The responding direction lost its place, over `lost` bytes where that is known.
    pub(super) fn lost_response(&mut self, end: End, lost: Option<u64>, at: Timestamp, out: &mut Sink<'_>) {
        let awaited = self.queue.iter().filter(|exchange| exchange.response == Progress::Awaited).count();
        let in_progress = self.open_response_mut().is_some();
        let at_fault = if in_progress { Progress::Open } else { Progress::Awaited };
        if let Some(exchange) = self.queue.iter_mut().find(|exchange| exchange.response == at_fault) {
            exchange.response = Progress::Done;
            exchange.end(end, at, out);
            self.dropped |= !in_progress;
        }
        if in_progress && awaited == 1 && lost.is_some_and(|lost| lost < SMALLEST_RESPONSE) {
            return self.finish(at, out);
        }
        if self.pipelined && awaited > 0 {
            return self.abandon(at, out);
        }
        self.end_all(End::Gap, at, out);
    }

    /// The response in progress has switched protocols. Its exchange is handed over, not ended; there
    /// can be no others.
    pub(super) fn upgrade(&mut self, at: Timestamp, out: &mut Sink<'_>) -> Option<ExchangeId> {
        let upgraded = |exchange: &Exchange| exchange.response == Progress::Open && !exchange.ended;
        let position = self.queue.iter().position(upgraded)?;
        let upgraded = self.queue.remove(position)?;
        self.close(false, at, out);
        Some(upgraded.id)
    }

    /// Responses can no longer be matched for certain: all ends here, and so will all that follows.
    pub(super) fn abandon(&mut self, at: Timestamp, out: &mut Sink<'_>) {
        self.abandoned = true;
        self.end_all(End::Gap, at, out);
    }

    /// The connection closed; `ends_response` if that is how the response in progress ends.
    pub(super) fn close(&mut self, ends_response: bool, at: Timestamp, out: &mut Sink<'_>) {
        if ends_response {
            self.response_done(at, out);
        }
        self.end_all(End::Closed, at, out);
    }

    fn end_all(&mut self, end: End, at: Timestamp, out: &mut Sink<'_>) {
        self.dropped |= self.next_method().is_some();
        for mut exchange in self.queue.drain(..) {
            exchange.end(end, at, out);
        }
    }

    fn finish(&mut self, at: Timestamp, out: &mut Sink<'_>) {
        self.queue.retain_mut(|exchange| {
            let over = exchange.request == Progress::Done && exchange.response == Progress::Done;
            if over {
                exchange.end(exchange.fate.unwrap_or(End::Complete), at, out);
            }
            !over
        });
    }

    /// Requests are sent one after the other: only the last can be in progress.
    fn open_request(&self) -> Option<&Exchange> {
        self.queue.back().filter(|exchange| exchange.request == Progress::Open)
    }

    fn open_request_mut(&mut self) -> Option<&mut Exchange> {
        self.queue.back_mut().filter(|exchange| exchange.request == Progress::Open)
    }

    fn open_response_mut(&mut self) -> Option<&mut Exchange> {
        self.queue.iter_mut().find(|exchange| exchange.response == Progress::Open)
    }
}
