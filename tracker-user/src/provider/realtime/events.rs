//! OpenAI's events: the Realtime API, those who copy it, and the Responses API over WebSocket.
//!
//! Source: OpenAI's references of client and server events, and recordings. xAI's usage stands beside
//! the response, in which it is empty; Azure's voice API and older sessions have other names for events that do not matter here.

use super::{
    Conversation, Speech,
    said::{
        Path, Said,
        Says::{
            Asks, Content, Count, Error, ErrorCode, ErrorStatus, ErrorType, Generate, Item, ItemKind,
            ItemName, Kind, Model, ResponseId, SessionModel, Status, Transcriber, Usage as UsageObject,
        },
    },
    turn::Turn,
};
use crate::{
    capture::Timestamp,
    provider::{
        Call,
        dialect::{
            Counter::{
                AudioInput, AudioOutput, CacheCreation, CacheRead, ImageInput, Input, Output, Reasoning,
            },
            Field, RESPONSES,
        },
        json::Want::{Everything, Presence, Scalar, Text, Within},
    },
};

/// The operation of what is beside the responses.
const TRANSCRIPTION: &str = "transcription";

pub(super) const CLIENT: &[Path] = &[
    ("type", Scalar, Kind),
    ("model", Scalar, Model),
    ("generate", Scalar, Generate),
    ("response.model", Scalar, Model),
    ("session.model", Scalar, SessionModel),
    ("session.input_audio_transcription.model", Scalar, Transcriber),
    ("session.audio.input.transcription.model", Scalar, Transcriber),
    ("session.instructions", Within, Asks(Field::Instructions)),
    ("session.tools", Everything, Asks(Field::Tools)),
    ("item", Within, Asks(Field::Prompt)),
    ("audio", Presence, Asks(Field::Opaque)),
];

pub(super) const SERVER: &[Path] = &[
    ("type", Scalar, Kind),
    ("response_id", Scalar, ResponseId),
    ("response.id", Scalar, ResponseId),
    ("response.model", Scalar, Model),
    ("response.status", Scalar, Status),
    ("response.output[]", Presence, Item),
    ("response.output[].type", Scalar, ItemKind),
    ("response.output[].name", Scalar, ItemName),
    ("response.error", Presence, Error),
    ("response.error.type", Scalar, ErrorType),
    ("response.error.code", Scalar, ErrorCode),
    ("response.status_details.error", Presence, Error),
    ("response.status_details.error.type", Scalar, ErrorType),
    ("response.status_details.error.code", Scalar, ErrorCode),
    ("response.usage", Presence, UsageObject),
    ("response.usage.input_tokens", Scalar, Count(Input)),
    ("response.usage.output_tokens", Scalar, Count(Output)),
    // Realtime says `token`, Responses says `tokens`.
    ("response.usage.input_token_details.cached_tokens", Scalar, Count(CacheRead)),
    ("response.usage.input_tokens_details.cached_tokens", Scalar, Count(CacheRead)),
    ("response.usage.input_tokens_details.cache_write_tokens", Scalar, Count(CacheCreation)),
    ("response.usage.output_token_details.reasoning_tokens", Scalar, Count(Reasoning)),
    ("response.usage.output_tokens_details.reasoning_tokens", Scalar, Count(Reasoning)),
    ("response.usage.input_token_details.audio_tokens", Scalar, Count(AudioInput)),
    ("response.usage.input_token_details.image_tokens", Scalar, Count(ImageInput)),
    ("response.usage.output_token_details.audio_tokens", Scalar, Count(AudioOutput)),
    // Of a transcription; of xAI's responses too, whose own usage is empty.
    ("usage", Presence, UsageObject),
    ("usage.input_tokens", Scalar, Count(Input)),
    ("usage.output_tokens", Scalar, Count(Output)),
    ("usage.input_token_details.cached_tokens", Scalar, Count(CacheRead)),
    ("usage.input_token_details.audio_tokens", Scalar, Count(AudioInput)),
    ("usage.output_token_details.reasoning_tokens", Scalar, Count(Reasoning)),
    ("usage.output_token_details.audio_tokens", Scalar, Count(AudioOutput)),
    ("item", Presence, Item),
    ("item.type", Scalar, ItemKind),
    ("item.name", Scalar, ItemName),
    ("delta", Text, Content),
    ("session.model", Scalar, SessionModel),
    ("session.input_audio_transcription.model", Scalar, Transcriber),
    ("session.audio.input.transcription.model", Scalar, Transcriber),
    ("error", Presence, Error),
    ("error.type", Scalar, ErrorType),
    ("error.code", Scalar, ErrorCode),
    ("status", Scalar, ErrorStatus),
    ("status_code", Scalar, ErrorStatus),
];

impl Conversation {
    /// The client's event is whole.
    pub(super) fn event_asks(
        &mut self,
        said: Said,
        begun: Timestamp,
        at: Timestamp,
        out: &mut dyn FnMut(Call),
    ) {
        let Said { kind, model, session_model, transcriber, generates_nothing, .. } = said;
        let setting = kind.as_deref() == Some("session.update");
        let input = self.session.ears.as_mut().and_then(|ears| ears.asked(setting));
        match kind.as_deref() {
            Some("response.create") => {
                // The answers to earlier ones were lost.
                for turn in self.turns.extract_if(.., |turn| turn.doubtful && !turn.answered) {
                    self.session.emit(turn.cut_short(), at, out);
                }
                let turn = self.open(Turn::begun(begun), at, out);
                turn.model = model;
                turn.warm_up = generates_nothing;
                turn.input = input;
            }
            Some("session.update" | "transcription_session.update") => {
                self.session.model = session_model.or(self.session.model.take());
                self.session.transcriber = transcriber.or(self.session.transcriber.take());
            }
            Some("input_audio_buffer.commit") => self.session.asked = Some(at),
            _ => {}
        }
    }

    /// The server's event is whole.
    pub(super) fn event_answers(
        &mut self,
        mut said: Said,
        begun: Timestamp,
        at: Timestamp,
        out: &mut dyn FnMut(Call),
    ) {
        let kind = said.kind.take().unwrap_or_default();
        match kind.as_str() {
            "session.created" | "session.updated" => {
                self.session.served = said.session_model.or(self.session.served.take());
                self.session.transcriber = said.transcriber.or(self.session.transcriber.take());
            }
            "input_audio_buffer.committed" => self.session.asked = Some(at),
            "conversation.item.input_audio_transcription.completed" => {
                self.transcribed(&said, begun, at, out);
            }
            "response.created" => self.created(said, begun, at, out),
            "response.output_item.done" => {
                if let Some(turn) = self.turn(said.response_id.as_deref()) {
                    turn.add_tools(said.tools);
                }
            }
            "response.done"
            | "response.completed"
            | "response.incomplete"
            | "response.failed"
            | "response.cancelled" => self.finished(&kind, said, begun, at, out),
            "error" => self.failed(said, at, out),
            _ if said.content && kind.starts_with("response.") && kind.ends_with(".delta") => {
                if let Some(turn) = self.turn(said.response_id.as_deref()) {
                    turn.content(at);
                }
            }
            _ => {}
        }
    }

    /// A response has begun: the oldest that was asked for, or one that nobody asked for.
    fn created(&mut self, said: Said, begun: Timestamp, at: Timestamp, out: &mut dyn FnMut(Call)) {
        let Said { response_id: id, model, .. } = said;
        for turn in self.turns.extract_if(.., |turn| turn.doubtful && turn.answered) {
            self.session.emit(turn.cut_short(), at, out);
        }
        let turn = match self.turns.iter().position(|turn| !turn.answered) {
            Some(asked) => &mut self.turns[asked],
            None => self.open(Turn { unasked: true, ..Turn::begun(begun) }, at, out),
        };
        turn.answered = true;
        turn.id.clone_from(&id);
        turn.served = model;
        // Errors until now were about something else.
        (turn.error, turn.status) = (None, None);
        // Whose the pieces are that come now is not looked at.
        if self.turns.iter().filter(|turn| turn.answered).count() > 1 {
            self.turns.iter_mut().for_each(|turn| turn.unheard = true);
        }
    }

    /// A response has ended.
    fn finished(
        &mut self,
        kind: &str,
        said: Said,
        begun: Timestamp,
        at: Timestamp,
        out: &mut dyn FnMut(Call),
    ) {
        let id = said.response_id.as_deref();
        let position = self.position(id).or_else(|| self.turns.iter().position(|turn| !turn.answered));
        // Its beginning may have been lost.
        let mut turn = match position {
            Some(position) => self.turns.remove(position),
            None => Turn { unasked: true, ..Turn::begun(begun) },
        };
        let Said { response_id, model, status, tools, counts, error, .. } = said;
        turn.answered = response_id.is_some();
        turn.id = response_id.or(turn.id);
        turn.served = model.or(turn.served);
        // The list at the end is left empty by some servers.
        if !tools.is_empty() {
            turn.tools = tools;
        }
        turn.usage = (RESPONSES.normalise)(&counts, self.session.route.quirks);
        turn.error = match error {
            Some(fault) => Some(fault.name()),
            None => {
                (kind == "response.failed" || status.as_deref() == Some("failed")).then(|| "failed".into())
            }
        };
        turn.finish_reasons.extend(status);
        // The Responses API never begins by itself: the request was lost, and may have been a warm-up.
        turn.warm_up |= self.session.route.speech == Speech::Responses && turn.unasked && turn.is_empty();
        self.session.emit(turn, at, out);
    }

    /// The server complains. In a Realtime session that may be about anything; where it was about the
    /// response that was asked for, none will come.
    fn failed(&mut self, said: Said, at: Timestamp, out: &mut dyn FnMut(Call)) {
        let Some(fault) = said.error else { return };
        let responses = self.session.route.speech == Speech::Responses;
        let position = if responses {
            self.turns.len().checked_sub(1)
        } else {
            self.turns.iter().position(|turn| !turn.answered)
        };
        let Some(position) = position else { return };
        let turn = &mut self.turns[position];
        turn.status = fault.status;
        turn.error = Some(fault.name());
        if responses {
            turn.answered = true;
            let turn = self.turns.remove(position);
            self.session.emit(turn, at, out);
        }
    }

    /// What the user said was written down, by another model, which has a usage of its own.
    fn transcribed(&mut self, said: &Said, begun: Timestamp, at: Timestamp, out: &mut dyn FnMut(Call)) {
        let mut turn = Turn::begun(self.session.asked.unwrap_or(begun));
        turn.operation = Some(TRANSCRIPTION);
        turn.served.clone_from(&self.session.transcriber);
        turn.answered = true;
        // Some are billed by duration, and have no counts.
        turn.usage = (RESPONSES.normalise)(&said.counts, self.session.route.quirks);
        self.session.emit(turn, at, out);
    }

    /// The response with this id; without one, the newest that the server has begun.
    fn position(&self, id: Option<&str>) -> Option<usize> {
        match id {
            Some(id) => self.turns.iter().position(|turn| turn.id.as_deref() == Some(id)),
            None => self.turns.iter().rposition(|turn| turn.answered),
        }
    }

    fn turn(&mut self, id: Option<&str>) -> Option<&mut Turn> {
        self.position(id).map(|position| &mut self.turns[position])
    }
}
