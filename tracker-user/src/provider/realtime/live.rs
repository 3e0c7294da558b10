//! Gemini Live (`BidiGenerateContent`), on the Gemini API and on Vertex AI.
//!
//! Responses have no ids and no states: a turn of the model is one, from the user's input to
//! `turnComplete`, or to a `toolCall` that comes with a usage of its own. Source: Google's reference
//! of the Live API, and recordings.

use super::{
    Conversation,
    said::{
        Path, Said,
        Says::{
            Arguments, Asked, AskedText, Asks, Content, Count, Interrupted, Media, Model, Reason, Tool,
            ToolsAnswered, TurnComplete, Usage as UsageObject,
        },
    },
    turn::Turn,
};
use crate::{
    capture::Timestamp,
    provider::{
        Call, Usage, UsageSource,
        dialect::{
            Counter::{CacheRead, Input, Output, Reasoning, ToolInput, Total},
            Counts, Field,
        },
        json::Want::{Everything, Presence, Scalar, Text, Within},
    },
};

// Google's own SDKs send some keys in snake case, others in camel case.
pub(super) const CLIENT: &[Path] = &[
    ("setup.model", Scalar, Model),
    ("client_content.turn_complete", Presence, Asked),
    ("client_content.turnComplete", Presence, Asked),
    ("clientContent.turnComplete", Presence, Asked),
    ("realtime_input.text", Text, AskedText),
    ("realtimeInput.text", Text, AskedText),
    ("realtime_input.activity_end", Presence, Asked),
    ("realtime_input.activityEnd", Presence, Asked),
    ("realtimeInput.activityEnd", Presence, Asked),
    ("realtime_input.audio_stream_end", Presence, Asked),
    ("realtime_input.audioStreamEnd", Presence, Asked),
    ("realtimeInput.audioStreamEnd", Presence, Asked),
    ("tool_response", Presence, ToolsAnswered),
    ("toolResponse", Presence, ToolsAnswered),
    ("setup.system_instruction", Within, Asks(Field::Instructions)),
    ("setup.systemInstruction", Within, Asks(Field::Instructions)),
    ("setup.tools", Everything, Asks(Field::Tools)),
    ("client_content.turns", Within, Asks(Field::Prompt)),
    ("clientContent.turns", Within, Asks(Field::Prompt)),
    ("tool_response.function_responses[].response", Everything, Asks(Field::Schema)),
    ("toolResponse.functionResponses[].response", Everything, Asks(Field::Schema)),
    ("realtime_input.media_chunks", Presence, Asks(Field::Opaque)),
    ("realtimeInput.mediaChunks", Presence, Asks(Field::Opaque)),
    ("realtime_input.audio", Presence, Asks(Field::Opaque)),
    ("realtimeInput.audio", Presence, Asks(Field::Opaque)),
    ("realtime_input.video", Presence, Asks(Field::Opaque)),
    ("realtimeInput.video", Presence, Asks(Field::Opaque)),
];

pub(super) const SERVER: &[Path] = &[
    ("serverContent.modelTurn.parts[].text", Text, Content),
    ("serverContent.modelTurn.parts[].inlineData", Presence, Media),
    ("serverContent.modelTurn.parts[].executableCode", Presence, Content),
    ("serverContent.outputTranscription.text", Presence, Content),
    ("serverContent.interrupted", Presence, Interrupted),
    ("serverContent.turnComplete", Presence, TurnComplete),
    ("serverContent.turnCompleteReason", Scalar, Reason),
    ("toolCall.functionCalls[].name", Scalar, Tool),
    ("toolCall.functionCalls[].args", Everything, Arguments),
    ("usageMetadata", Presence, UsageObject),
    ("usageMetadata.promptTokenCount", Scalar, Count(Input)),
    ("usageMetadata.toolUsePromptTokenCount", Scalar, Count(ToolInput)),
    ("usageMetadata.cachedContentTokenCount", Scalar, Count(CacheRead)),
    ("usageMetadata.responseTokenCount", Scalar, Count(Output)),
    // Vertex.
    ("usageMetadata.candidatesTokenCount", Scalar, Count(Output)),
    ("usageMetadata.thoughtsTokenCount", Scalar, Count(Reasoning)),
    ("usageMetadata.totalTokenCount", Scalar, Count(Total)),
];

impl Conversation {
    /// The client's message is whole.
    pub(super) fn live_asks(&mut self, said: Said, at: Timestamp) {
        self.session.model = said.model.or(self.session.model.take());
        if let Some(ears) = &mut self.session.ears {
            ears.asked(false);
        }
        // Within a turn the model goes on when its tools have answered.
        if said.asked || said.tools_answered && self.turns.is_empty() {
            self.session.asked = Some(at);
        }
    }

    /// The server's message is whole.
    pub(super) fn live_answers(
        &mut self,
        said: Said,
        begun: Timestamp,
        at: Timestamp,
        out: &mut dyn FnMut(Call),
    ) {
        let generates = said.content || !said.tools.is_empty();
        // What has ended only waits for its usage, which comes at once or not at all.
        let over = self.turns.first().is_some_and(|turn| turn.ended) && (generates || said.turn_complete);
        if over {
            self.live_finished(at, out);
        }
        let begins = generates || said.turn_complete || said.usage;
        if self.turns.is_empty() {
            if !begins {
                return;
            }
            let started = self.session.asked.take().unwrap_or(begun);
            self.open(Turn::begun(started), at, out);
        }
        let Some(turn) = self.turns.first_mut() else { return };
        turn.answered |= begins;
        if generates {
            turn.content(at);
        }
        if said.interrupted && !turn.finish_reasons.iter().any(|reason| reason == "interrupted") {
            turn.finish_reasons.push("interrupted".into());
        }
        turn.finish_reasons.extend(said.reason);
        turn.ended |= said.turn_complete;
        let calls_tools = !said.tools.is_empty();
        turn.add_tools(said.tools);
        if said.usage {
            turn.usage = usage(&said.counts);
        }
        let counted = turn.usage.source == UsageSource::Reported;
        if counted && (turn.ended || calls_tools && said.usage) {
            turn.ended = true;
            self.live_finished(at, out);
        }
    }

    fn live_finished(&mut self, at: Timestamp, out: &mut dyn FnMut(Call)) {
        // The client may ask for the next turn while this one lasts: that is kept.
        for turn in std::mem::take(&mut self.turns) {
            self.session.emit(turn, at, out);
        }
    }
}

/// Unlike `generateContent`, thoughts are not beside the response, unless the total says so.
fn usage(counts: &Counts) -> Usage {
    let (prompt, output, thoughts) = (counts.get(Input), counts.get(Output), counts.get(Reasoning));
    let input = prompt.map(|prompt| {
        let with_tools = prompt.saturating_add(counts.get(ToolInput).unwrap_or(0));
        let total = counts.get(Total);
        if total.is_some() && total == prompt.checked_add(output.unwrap_or(0)) { prompt } else { with_tools }
    });
    let beside = match (input, output, thoughts, counts.get(Total)) {
        (Some(input), Some(output), Some(thoughts), Some(total)) => {
            thoughts > output || thoughts > 0 && Some(total) == input.checked_add(output + thoughts)
        }
        _ => output.is_none(),
    };
    let output = match thoughts.filter(|_| beside) {
        Some(thoughts) => Some(output.unwrap_or(0).saturating_add(thoughts)),
        None => output,
    };
    let reported = input.is_some() || output.is_some();
    Usage {
        input_tokens: input,
        cache_read_input_tokens: input.and(counts.get(CacheRead)),
        output_tokens: output,
        reasoning_tokens: output.and(thoughts),
        source: if reported { UsageSource::Reported } else { UsageSource::Missing },
        ..Usage::default()
    }
}
