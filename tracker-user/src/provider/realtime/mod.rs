//! Conversations over WebSocket: one [`Call`] for each response in them.
//!
//! Messages are JSON documents, whatever their opcode says. Each is scanned as it passes for the few
//! fields of a table, gathered in a [`Said`]; when it is whole, `events` (the Realtime API and the
//! Responses API) or `live` (Gemini Live) says what it means for the [`Turn`]s that are open.
//!
//! A response belongs to the client's `response.create`, if there was one, or began by itself, as
//! with voice detection by the server.

mod ears;
mod events;
mod live;
mod said;
mod turn;

use ears::Ears;
use said::{Said, Says};
use turn::Turn;

use super::{
    Call, Progress,
    call::LABELS,
    catalog::{SocketRoute, is_by_subscription},
    dialect::{self, IN_PROMPTS, RESPONSES},
    estimate::Estimates,
    exchange::header,
    json::{PathTable, Scanner},
};
use crate::{
    capture::Timestamp,
    stream::{Peer, RequestHead, Role},
};

/// Responses that are followed at a time; the APIs allow one, or a few out of band.
const MAX_TURNS: usize = 32;

/// What the messages of a WebSocket are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Speech {
    /// OpenAI's Realtime API and those that copy it.
    Realtime,
    /// The events of the Responses API, asked for by `response.create`.
    Responses,
    /// Gemini Live.
    Live,
}

/// The tables of all conversations, compiled.
#[derive(Debug)]
pub(super) struct Tables {
    events: Pair,
    live: Pair,
}

#[derive(Debug)]
struct Pair {
    client: PathTable<Says>,
    server: PathTable<Says>,
}

impl Tables {
    pub(super) fn new() -> Self {
        // Requests of the Responses API are the same as over HTTP, some inside a `response`.
        let asks = |prefix: &'static str, rows: &'static [dialect::Path]| {
            rows.iter().map(move |(path, want, field)| (format!("{prefix}{path}"), *want, Says::Asks(*field)))
        };
        let pair = |requests: &[&'static str], client: &[said::Path], server: &[said::Path]| Pair {
            client: PathTable::compile(
                (requests.iter().flat_map(|prefix| asks(prefix, RESPONSES.request)))
                    .chain(asks("", IN_PROMPTS))
                    .chain(client.iter().map(|&(path, want, says)| (path.to_owned(), want, says))),
            ),
            server: PathTable::compile(server.iter().copied()),
        };
        Self {
            events: pair(&["", "response."], events::CLIENT, events::SERVER),
            live: pair(&[], live::CLIENT, live::SERVER),
        }
    }

    fn of(&self, speech: Speech, from: Peer) -> &PathTable<Says> {
        let pair = if speech == Speech::Live { &self.live } else { &self.events };
        if from == Peer::Client { &pair.client } else { &pair.server }
    }
}

/// One WebSocket to an LLM; a few KiB, whatever passes through it.
pub(super) struct Conversation {
    client: Reader,
    server: Reader,
    session: Session,
    /// Responses that were asked for or have begun, oldest first.
    turns: Vec<Turn>,
}

/// The message of one side that is being read.
#[derive(Default)]
struct Reader {
    scanner: Scanner,
    said: Said,
    begun: Option<Timestamp>,
    /// A message of which something is missing says nothing.
    damaged: bool,
}

/// What holds for all calls of a conversation.
struct Session {
    route: SocketRoute,
    role: Role,
    host: Option<String>,
    port: Option<u16>,
    path: String,
    subscription: bool,
    /// What the client says that the conversation is for.
    labels: Option<String>,
    /// Of the response that opened it: 101, or 200 over HTTP/2.
    status: Option<u16>,
    /// The model that the client asked for.
    model: Option<String>,
    /// The model that the server says it is.
    served: Option<String>,
    /// The model that writes down what the user says.
    transcriber: Option<String>,
    /// When the user's last input was complete.
    asked: Option<Timestamp>,
    /// Absent where nothing is to be estimated.
    ears: Option<Box<Ears>>,
}

impl Conversation {
    pub(super) fn new(route: SocketRoute, role: Role, head: &RequestHead, estimates: Estimates) -> Self {
        let session = Session {
            ears: Ears::open(route.speech, estimates),
            route,
            role,
            host: head.host.clone(),
            port: head.port,
            path: head.path.clone(),
            subscription: is_by_subscription(head),
            labels: header(&head.headers, LABELS).map(str::to_owned),
            status: None,
            model: None,
            served: None,
            transcriber: None,
            asked: None,
        };
        Self { client: Reader::default(), server: Reader::default(), session, turns: Vec::new() }
    }

    /// The server has agreed, or not: without a WebSocket no message will come.
    pub(super) const fn response(&mut self, status: u16) {
        self.session.status = Some(status);
    }

    /// Takes a piece of a message, the last one if `fin`; `out` gets the call that ended with it.
    pub(super) fn message(
        &mut self,
        tables: &Tables,
        from: Peer,
        data: &[u8],
        fin: bool,
        at: Timestamp,
        out: &mut dyn FnMut(Call),
    ) {
        let table = tables.of(self.session.route.speech, from);
        let Self { client, server, session, .. } = self;
        let reader = if from == Peer::Client { client } else { server };
        let begun = *reader.begun.get_or_insert(at);
        let Reader { scanner, said, .. } = reader;
        scanner.push(table, data, &mut |hit| {
            match (&mut session.ears, from) {
                (Some(ears), Peer::Client) => ears.hear_client(&hit),
                (Some(ears), Peer::Server) => ears.hear_server(&hit, said.kind.as_deref()),
                (None, _) => {}
            }
            said.hit(hit);
        });
        if !fin {
            return;
        }
        let Reader { scanner, said, damaged, .. } = std::mem::take(reader);
        if damaged || !scanner.is_complete() {
            return;
        }
        match (self.session.route.speech, from) {
            (Speech::Live, Peer::Client) => self.live_asks(said, at),
            (Speech::Live, Peer::Server) => self.live_answers(said, begun, at, out),
            (_, Peer::Client) => self.event_asks(said, begun, at, out),
            (_, Peer::Server) => self.event_answers(said, begun, at, out),
        }
    }

    /// Messages of one side were lost, or are not whole.
    pub(super) fn lost(&mut self, from: Peer) {
        *self.reader(from) = Reader::default();
        if let Some(ears) = &mut self.session.ears {
            ears.lost();
        }
        self.turns.iter_mut().for_each(|turn| turn.unheard = true);
        if from == Peer::Server {
            // Their ends may be among what was lost.
            self.turns.iter_mut().for_each(|turn| turn.doubtful = true);
        }
    }

    /// The WebSocket is over.
    pub(super) fn end(mut self, at: Timestamp, out: &mut dyn FnMut(Call)) {
        for turn in std::mem::take(&mut self.turns) {
            self.session.emit(turn.cut_short(), at, out);
        }
    }

    /// Hands out how far each response that has not ended has come.
    pub(super) fn progress(&mut self, out: &mut dyn FnMut(Progress<'_>)) {
        let Self { session, turns, .. } = self;
        // Whose the pieces are is not looked at.
        let alone = turns.len() == 1;
        for turn in turns.iter().filter(|turn| !turn.ended && !turn.warm_up) {
            let ears = session.ears.as_mut().filter(|_| alone && !turn.unheard);
            let counted = ears.and_then(|ears| ears.so_far());
            if session.route.certain || turn.answered {
                out(Progress {
                    started: turn.started,
                    provider: session.route.provider,
                    operation: turn.operation.unwrap_or(session.route.operation),
                    model: turn.model.as_deref().or(session.model.as_deref()),
                    server_address: session.host.as_deref(),
                    role: session.role,
                    streaming: true,
                    status: session.status,
                    first_token: turn.pace.first(),
                    output_tokens: counted,
                    usage_source: Progress::source(None, counted),
                });
            }
        }
    }

    /// Responses that have not ended.
    pub(super) fn in_flight(&self) -> usize {
        self.turns.len()
    }

    fn reader(&mut self, from: Peer) -> &mut Reader {
        match from {
            Peer::Client => &mut self.client,
            Peer::Server => &mut self.server,
        }
    }

    /// Follows one more; the oldest has to go where there are too many.
    fn open(&mut self, turn: Turn, at: Timestamp, out: &mut dyn FnMut(Call)) -> &mut Turn {
        if self.turns.len() >= MAX_TURNS {
            let oldest = self.turns.remove(0);
            self.session.emit(oldest.cut_short(), at, out);
        }
        self.turns.push(turn);
        let last = self.turns.len() - 1;
        &mut self.turns[last]
    }
}
