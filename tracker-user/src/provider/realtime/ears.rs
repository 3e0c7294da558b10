//! Counts what is said, for where nobody reports it.
//!
//! The Responses API is told all of a prompt at once. In the others it is everything that was said until then,
//! by the client and by the model.

use super::{Speech, said::Says, turn::Turn};
use crate::provider::{
    Usage,
    dialect::{Field, Framing, GENERATE_CONTENT, RESPONSES},
    estimate::{self, Estimates, Output, Prompt},
    json::Hit,
};

/// Listens to one conversation.
pub(super) struct Ears {
    speech: Speech,
    always: bool,
    /// The client's message in progress.
    prompt: Prompt,
    /// What the model has said since a response last ended.
    output: Output,
    /// Tokens of what was said; absent where that cannot be known.
    context: Option<u64>,
    /// Those of the instructions, which a new setting replaces.
    instructions: u64,
}

impl Ears {
    /// For a new conversation, where estimates are wanted.
    pub(super) fn open(speech: Speech, estimates: Estimates) -> Option<Box<Self>> {
        (estimates != Estimates::Never).then(|| {
            Box::new(Self {
                speech,
                always: estimates == Estimates::Always,
                prompt: Prompt::default(),
                output: Output::default(),
                context: Some(0),
                instructions: 0,
            })
        })
    }

    const fn framing(&self) -> &'static Framing {
        match self.speech {
            Speech::Realtime | Speech::Responses => &RESPONSES.framing,
            Speech::Live => &GENERATE_CONTENT.framing,
        }
    }

    /// Takes a field of the client's message.
    pub(super) fn hear_client(&mut self, hit: &Hit<'_, Says>) {
        let field = match hit.field {
            Says::Asks(field) => field,
            Says::AskedText => Field::Prompt,
            _ => return,
        };
        self.prompt.hit(&Hit { field, value: hit.value, index: hit.index });
    }

    /// Takes a field of the server's message, of a type that may have to be known first.
    pub(super) fn hear_server(&mut self, hit: &Hit<'_, Says>, kind: Option<&str>) {
        let field = match hit.field {
            Says::Content if self.speech == Speech::Live => Field::Content,
            Says::Content => match kind {
                Some(kind) if !kind.starts_with("response.") || !kind.ends_with(".delta") => return,
                // What is spoken is billed as sound.
                Some(kind) if kind.ends_with("audio_transcript.delta") => return,
                Some(kind) if !kind.ends_with("audio.delta") => Field::Content,
                _ => Field::Media,
            },
            Says::Arguments => Field::Arguments,
            Says::Media => Field::Media,
            _ => return,
        };
        self.output.hit(&Hit { field, value: hit.value, index: 0 }, false);
    }

    /// The client's message is whole, and says so much that the model is to read. Settings that `replace`
    /// earlier ones are told apart. Where a request has its whole prompt in one message, it is handed back.
    pub(super) fn asked(&mut self, replaces: bool) -> Option<u64> {
        let prompt = std::mem::take(&mut self.prompt);
        let opaque = prompt.is_opaque();
        let tokens = prompt.tokens(self.framing());
        if self.speech == Speech::Responses {
            return tokens;
        }
        if opaque {
            self.context = None;
        } else if replaces {
            self.instructions = tokens.unwrap_or(self.instructions);
        } else {
            self.add(tokens);
        }
        None
    }

    fn add(&mut self, tokens: Option<u64>) {
        self.context = self.context.map(|context| context.saturating_add(tokens.unwrap_or(0)));
    }

    /// Bytes of the conversation were lost: what was said is not known any more.
    pub(super) fn lost(&mut self) {
        (self.prompt, self.output, self.context) = (Prompt::default(), Output::default(), None);
    }

    /// Tokens of the response in progress until now, where they can be known.
    pub(super) fn so_far(&mut self) -> Option<u64> {
        self.output.so_far()
    }

    /// A response is over: adds what nobody reported of it.
    pub(super) fn finish(&mut self, turn: &mut Turn) {
        let output = std::mem::take(&mut self.output);
        let framing = self.framing();
        let interrupted = turn.error.as_deref() == Some("interrupted");
        let generated = turn.pace.has_content();
        let countable = !turn.unheard && (turn.error.is_none() || interrupted || generated);
        let Turn { usage, tools, .. } = turn;
        if self.always {
            *usage = Usage::default();
        }
        let input = match self.speech {
            Speech::Responses => turn.input.take(),
            Speech::Realtime | Speech::Live => {
                self.context.map(|context| context.saturating_add(self.instructions))
            }
        };
        if countable {
            estimate::complete(usage, interrupted, |whole| {
                let input = input.filter(|input| whole && *input > 0);
                (input, output.tokens(framing, tools, !interrupted))
            });
        }
        match usage.output_tokens {
            None if generated => self.context = None,
            tokens => self.add(tokens),
        }
    }
}
