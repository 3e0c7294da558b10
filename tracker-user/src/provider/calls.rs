//! Calls out of the exchanges of one connection.

use std::sync::Arc;

use super::{Call, Catalog, Progress, exchange::Exchange, realtime::Conversation};
use crate::stream::{Event, ExchangeId};

/// Exchanges of one connection that are followed at a time. HTTP/1.1 has one; HTTP/2 peers allow
/// a hundred or a few.
const MAX_IN_FLIGHT: usize = 1024;

/// Makes [`Call`]s of the [`Event`]s of one connection.
///
/// An exchange that is no LLM call costs nothing. One that is costs a few KiB until it has ended,
/// whatever the size of its bodies.
pub struct Calls {
    catalog: Arc<Catalog>,
    process: u32,
    /// One entry an exchange, or several readings of one whose path could not be read.
    in_flight: Vec<(ExchangeId, Box<Exchange>)>,
    /// WebSockets; HTTP/1.1 has one at most.
    conversations: Vec<(ExchangeId, Box<Conversation>)>,
    untracked: u64,
}

impl std::fmt::Debug for Calls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Calls").field("in_flight", &self.in_flight.len()).finish_non_exhaustive()
    }
}

impl Calls {
    /// For a new connection.
    #[must_use]
    pub const fn new(catalog: Arc<Catalog>) -> Self {
        Self { catalog, process: 0, in_flight: Vec::new(), conversations: Vec::new(), untracked: 0 }
    }

    /// Of the connection of the process with this id: whoever repeats a request does so itself.
    #[must_use]
    pub const fn of_process(mut self, process: u32) -> Self {
        self.process = process;
        self
    }

    /// Takes the next event; `out` gets the call that ended with it, if one did.
    pub fn handle(&mut self, event: &Event<'_>, out: &mut dyn FnMut(Call)) {
        match *event {
            Event::Request { exchange, role, head, at } => {
                if let Some(route) = Catalog::socket(head) {
                    if self.conversations.len() < MAX_IN_FLIGHT {
                        let new = Conversation::new(route, role, head, self.catalog.estimates());
                        self.conversations.push((exchange, Box::new(new)));
                    } else {
                        self.untracked += 1;
                    }
                    return;
                }
                let catalog = Arc::clone(&self.catalog);
                for route in catalog.route(head).into_iter().chain(catalog.routes_by_shape(head)) {
                    if self.in_flight.len() < MAX_IN_FLIGHT {
                        let wire = catalog.compiled(&route).dialect.wire;
                        let new = Exchange::new(route, role, head, at, wire, catalog.estimates());
                        self.in_flight.push((exchange, Box::new(new)));
                    } else {
                        self.untracked += 1;
                    }
                }
            }
            Event::RequestBody { exchange, data, at: _ } => {
                for (_, exchange) in self.in_flight.iter_mut().filter(|(id, _)| *id == exchange) {
                    let compiled = self.catalog.compiled(exchange.route());
                    exchange.request_body(compiled, self.catalog.retries(), data);
                }
            }
            Event::Response { exchange, head, at } => {
                if let Some((_, conversation)) = self.conversation(exchange) {
                    conversation.response(head.status);
                }
                for (_, exchange) in self.in_flight.iter_mut().filter(|(id, _)| *id == exchange) {
                    exchange.response(self.catalog.compiled(exchange.route()), head, at);
                }
            }
            Event::ResponseBody { exchange, data, at } => {
                for (_, exchange) in self.in_flight.iter_mut().filter(|(id, _)| *id == exchange) {
                    exchange.response_body(self.catalog.compiled(exchange.route()), data, at);
                }
            }
            Event::Trailers { exchange, headers, at: _ } => {
                for (_, exchange) in self.in_flight.iter_mut().filter(|(id, _)| *id == exchange) {
                    exchange.fields(self.catalog.compiled(exchange.route()), headers);
                }
            }
            Event::Message { exchange, from, data, fin, at } => {
                let catalog = Arc::clone(&self.catalog);
                if let Some((_, conversation)) = self.conversation(exchange) {
                    conversation.message(catalog.realtime(), from, data, fin, at, out);
                }
            }
            Event::MessagesLost { exchange, from, at: _ } => {
                if let Some((_, conversation)) = self.conversation(exchange) {
                    conversation.lost(from);
                }
            }
            Event::End { exchange, end, at } => {
                if let Some(entry) = self.conversations.iter().position(|&(id, _)| id == exchange) {
                    let (_, conversation) = self.conversations.swap_remove(entry);
                    return conversation.end(at, out);
                }
                let Some(exchange) = self.take(exchange) else { return };
                let compiled = self.catalog.compiled(exchange.route());
                if let Some(call) = exchange.end(compiled, &self.catalog, self.process, end, at) {
                    out(call);
                }
            }
        }
    }

    /// Calls that were begun and have not ended.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.in_flight.len()
            + self.conversations.iter().map(|(_, conversation)| conversation.in_flight()).sum::<usize>()
    }

    /// Hands out how far each call that has not ended has come, with the exchange that it is made in.
    pub fn progress(&mut self, out: &mut dyn FnMut(ExchangeId, Progress<'_>)) {
        let Self { catalog, in_flight, conversations, .. } = self;
        // Which of several readings is right will only be known at the end.
        let mut ids: Vec<ExchangeId> = in_flight.iter().map(|(id, _)| *id).collect();
        ids.sort_unstable();
        let alone =
            |id| ids.partition_point(|other| *other <= id) - ids.partition_point(|other| *other < id) == 1;
        for (id, exchange) in in_flight.iter_mut().filter(|(id, _)| alone(*id)) {
            let compiled = catalog.compiled(exchange.route());
            if let Some(progress) = exchange.progress(compiled) {
                out(*id, progress);
            }
        }
        for (id, conversation) in conversations {
            conversation.progress(&mut |progress| out(*id, progress));
        }
    }

    /// Calls that were lost because too many were in flight at once.
    #[must_use]
    pub const fn untracked(&self) -> u64 {
        self.untracked
    }

    fn conversation(&mut self, wanted: ExchangeId) -> Option<&mut (ExchangeId, Box<Conversation>)> {
        self.conversations.iter_mut().find(|(id, _)| *id == wanted)
    }

    /// Takes out what is known of an exchange: of several readings the one that its bodies bear out.
    fn take(&mut self, wanted: ExchangeId) -> Option<Box<Exchange>> {
        let mut taken: Option<Box<Exchange>> = None;
        let (mut readings, mut tie) = (0, false);
        let mut position = 0;
        while let Some((id, _)) = self.in_flight.get(position) {
            if *id != wanted {
                position += 1;
                continue;
            }
            let (_, exchange) = self.in_flight.swap_remove(position);
            readings += 1;
            let best = taken.as_ref().map(|best| best.evidence());
            tie = best == Some(exchange.evidence()) || tie && best > Some(exchange.evidence());
            if best < Some(exchange.evidence()) {
                taken = Some(exchange);
            }
        }
        if self.in_flight.is_empty() {
            self.in_flight = Vec::new();
        }
        // Two readings that are as good disagree about what the numbers mean, and one of several has to
        // be certain by itself.
        let evident =
            |exchange: &Exchange| exchange.is_evident(self.catalog.compiled(exchange.route()).dialect);
        taken.filter(|exchange| readings == 1 || !tie && evident(exchange))
    }
}

#[cfg(test)]
#[path = "calls_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "formats_tests.rs"]
mod formats_tests;

#[cfg(test)]
#[path = "estimate_tests.rs"]
mod estimate_tests;
