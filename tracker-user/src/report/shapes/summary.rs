//! What calls add up to: by trial, and all together by model and by who made them.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Value, json};

use crate::report::fields::Fields;

/// Tokens of calls; of calls of which none is known there are none.
#[derive(Clone, Copy, Debug, Default, Serialize)]
struct Tokens {
    input_tokens: u64,
    output_tokens: u64,
    cached_input_tokens: u64,
    total_tokens: u64,
    #[serde(skip)]
    reasoning_tokens: u64,
}

impl Tokens {
    fn add(&mut self, call: Fields<'_>) {
        let known = |name: &str| call.number(name).unwrap_or_default();
        let (input, output) = (known("input_tokens"), known("output_tokens"));
        for (sum, number) in [
            (&mut self.input_tokens, input),
            (&mut self.output_tokens, output),
            (&mut self.cached_input_tokens, known("cache_read_input_tokens")),
            (&mut self.total_tokens, input.saturating_add(output)),
            (&mut self.reasoning_tokens, known("reasoning_tokens")),
        ] {
            *sum = sum.saturating_add(number);
        }
    }
}

#[derive(Debug, Default)]
struct Trial {
    calls: u64,
    tokens: Tokens,
    calls_by_model: BTreeMap<String, u64>,
}

/// Sums of the calls so far.
#[derive(Debug, Default)]
pub(super) struct Summaries {
    /// By session.
    trials: BTreeMap<Option<String>, Trial>,
    all: Tokens,
    by_model: BTreeMap<String, Tokens>,
    by_source: BTreeMap<String, Tokens>,
}

impl Summaries {
    pub(super) fn take(&mut self, call: Fields<'_>) {
        let model = call.model().unwrap_or("unknown");
        // Who works on it: an agent where one is known, else the program.
        let source = call.text("agent.name").or_else(|| call.text("process.name")).unwrap_or("unknown");
        let trial = self.trials.entry(call.text("session.name").map(str::to_owned)).or_default();
        if !call.is_continued() {
            trial.calls += 1;
            *trial.calls_by_model.entry(model.to_owned()).or_default() += 1;
        }
        trial.tokens.add(call);
        self.all.add(call);
        self.by_model.entry(model.to_owned()).or_default().add(call);
        self.by_source.entry(source.to_owned()).or_default().add(call);
    }

    pub(super) fn finish(self, out: &mut dyn FnMut(&Value)) {
        let Self { trials, all, by_model, by_source } = self;
        for (session, Trial { calls, tokens, calls_by_model }) in trials {
            out(&json!({
                "type": "trial_summary",
                "trial": session,
                "total_calls": calls,
                "prompt_tokens": tokens.input_tokens,
                "completion_tokens": tokens.output_tokens,
                "reasoning_tokens": tokens.reasoning_tokens,
                "total_tokens": tokens.total_tokens,
                "calls_by_model": calls_by_model,
            }));
        }
        out(&json!({
            "type": "task_summary",
            "total_input_tokens": all.input_tokens,
            "total_output_tokens": all.output_tokens,
            "total_cached_input_tokens": all.cached_input_tokens,
            "total_tokens": all.total_tokens,
            "by_model": by_model,
            "by_source": by_source,
        }));
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Format, tests::lines};
    use super::*;
    use crate::record::tests::{bare, full};

    #[test]
    fn trials_and_the_task_that_they_are_of() {
        let mut continued = full();
        continued.call.continued = true;
        let of_claude = json!({
            "input_tokens": 200, "output_tokens": 40, "cached_input_tokens": 120, "total_tokens": 240,
        });
        let none = json!({
            "input_tokens": 0, "output_tokens": 0, "cached_input_tokens": 0, "total_tokens": 0,
        });
        let expected = [
            json!({
                "type": "trial_summary", "trial": null, "total_calls": 1, "prompt_tokens": 0,
                "completion_tokens": 0, "reasoning_tokens": 0, "total_tokens": 0,
                "calls_by_model": {"unknown": 1},
            }),
            json!({
                "type": "trial_summary", "trial": "nightly/suite-3", "total_calls": 1, "prompt_tokens": 200,
                "completion_tokens": 40, "reasoning_tokens": 10, "total_tokens": 240,
                "calls_by_model": {"gpt-4o": 1},
            }),
            json!({
                "type": "task_summary", "total_input_tokens": 200, "total_output_tokens": 40,
                "total_cached_input_tokens": 120, "total_tokens": 240,
                "by_model": {"gpt-4o": of_claude.clone(), "unknown": none.clone()},
                "by_source": {"claude": of_claude, "unknown": none},
            }),
        ];
        assert_eq!(lines(Format::Hangman, &[full(), continued, bare()]), expected);
    }
}
