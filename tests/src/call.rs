//! The daemon's JSON line for a call, as it is promised.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::{
    scenario::{Scenario, mark},
    standin::{Endpoint, Served, Vendor},
};

/// One line. A field that is not promised, or of another type, is an error.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "the fields are those of the event log, described in the README")]
pub struct CallLine {
    pub r#type: String,
    pub timestamp: String,
    pub provider: String,
    pub operation: String,
    pub model: Option<String>,
    pub response_model: Option<String>,
    pub response_id: Option<String>,
    pub server_address: Option<String>,
    pub server_port: Option<u16>,
    pub path: String,
    pub role: String,
    pub streaming: bool,
    pub status: Option<u16>,
    pub error: Option<String>,
    #[serde(default)]
    pub finish_reasons: Vec<String>,
    pub input_tokens: Option<u64>,
    pub cache_read_input_tokens: Option<u64>,
    pub cache_creation_input_tokens: Option<u64>,
    pub cache_creation_1h_input_tokens: Option<u64>,
    pub audio_input_tokens: Option<u64>,
    pub image_input_tokens: Option<u64>,
    pub output_tokens: Option<u64>,
    pub reasoning_tokens: Option<u64>,
    pub audio_output_tokens: Option<u64>,
    pub image_output_tokens: Option<u64>,
    pub total_tokens: Option<u64>,
    pub usage_source: String,
    #[serde(default)]
    pub tool_calls: Vec<String>,
    #[serde(default)]
    pub server_tool_calls: Vec<String>,
    pub service_tier: Option<String>,
    #[serde(default)]
    pub continued: bool,
    pub retry: Option<u32>,
    pub time_to_first_token_seconds: Option<f64>,
    pub time_per_output_token_seconds: Option<f64>,
    pub output_tokens_per_second: Option<f64>,
    pub duration_seconds: f64,
    pub cost_usd: Option<f64>,
    pub list_cost_usd: Option<f64>,
    pub cost_source: Option<String>,
    pub process: Process,
    pub cgroup: Option<String>,
    pub container: Option<Container>,
    pub unit: Option<String>,
    pub slice: Option<String>,
    pub login: Option<Login>,
    pub agent: Option<Agent>,
    pub session: Option<Session>,
}

/// `session`
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "the fields are those of the event log, described in the README")]
pub struct Session {
    pub name: Option<String>,
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
}

/// `login`
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "the fields are those of the event log, described in the README")]
pub struct Login {
    pub uid: Option<u32>,
    pub user: Option<String>,
    pub session: Option<String>,
}

/// `agent`
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "the fields are those of the event log, described in the README")]
pub struct Agent {
    pub name: String,
    pub pid: u32,
}

/// `process`
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "the fields are those of the event log, described in the README")]
pub struct Process {
    pub pid: u32,
    pub name: Option<String>,
    pub exe: Option<String>,
    pub uid: Option<u32>,
    pub user: Option<String>,
}

/// `container`
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "the fields are those of the event log, described in the README")]
pub struct Container {
    pub id: String,
    pub name: Option<String>,
    pub image: Option<String>,
    pub image_id: Option<String>,
    pub runtime: Option<String>,
    pub pod: Option<String>,
    pub pod_uid: Option<String>,
    pub namespace: Option<String>,
    pub workload: Option<String>,
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
}

impl CallLine {
    /// Whether it is one of this test run's that are [tagged so](crate::scenario::Scenario::ours).
    #[must_use]
    pub fn is_of_this_run(&self) -> bool {
        self.model.as_ref().is_some_and(|model| model.contains(&mark()))
    }

    /// Whether it has no token number at all.
    #[must_use]
    pub fn has_no_numbers(&self) -> bool {
        let numbers = [
            self.input_tokens,
            self.cache_read_input_tokens,
            self.cache_creation_input_tokens,
            self.output_tokens,
            self.reasoning_tokens,
            self.total_tokens,
        ];
        numbers.iter().all(Option::is_none) && self.cost_usd.is_none()
    }

    /// Whether it says of a whole answer exactly what the stand-in said, or else where it differs.
    ///
    /// # Errors
    ///
    /// Names every field that differs.
    pub fn compare(&self, served: &Served) -> Result<(), String> {
        let Served { id, endpoint, path, model, scenario, streaming, reports_usage, tool, .. } = served;
        let mut wrong = Vec::new();
        let mut differ = |field: &str, found: String, expected: String| {
            if found != expected {
                wrong.push(format!("{field} is {found}, not {expected}"));
            }
        };
        macro_rules! field {
            ($field:ident, $expected:expr) => {
                differ(stringify!($field), format!("{:?}", self.$field), format!("{:?}", $expected));
            };
        }
        let failed = scenario.status.filter(|status| *status >= 400);
        field!(r#type, "llm_usage");
        field!(operation, operation(*endpoint));
        field!(model, Some(model));
        field!(path, path);
        field!(status, Some(failed.unwrap_or(200)));
        if failed.is_none() {
            field!(response_id, endpoint.has_id().then_some(id));
            field!(response_model, endpoint.served_model(model));
            field!(streaming, *streaming);
            field!(error, None::<String>);
            field!(tool_calls, Vec::from_iter(tool));
        }
        let source = match (*reports_usage, failed) {
            (true, _) => "reported",
            // What the numbers are is for other tests to say.
            // A search for documents is not counted in tokens.
            (false, None) if *endpoint != Endpoint::Rerank => "estimated",
            (false, _) => "missing",
        };
        field!(usage_source, source);
        if source == "estimated" {
            return if wrong.is_empty() { Ok(()) } else { Err(format!("{}: {}", model, wrong.join("; "))) };
        }
        let Numbers { input, output, cached, created, reasoning } = Numbers::of(served);
        let known = |number: Option<u64>| number.filter(|_| *reports_usage);
        field!(input_tokens, known(Some(input)));
        field!(output_tokens, known(output));
        // The sum is only known where both are.
        field!(total_tokens, known(output.map(|output| input + output)));
        field!(cache_read_input_tokens, known(cached));
        field!(cache_creation_input_tokens, known(created));
        field!(reasoning_tokens, known(reasoning));
        if wrong.is_empty() { Ok(()) } else { Err(format!("{}: {}", model, wrong.join("; "))) }
    }
}

/// What a call record has to say of an answer.
struct Numbers {
    input: u64,
    output: Option<u64>,
    cached: Option<u64>,
    created: Option<u64>,
    reasoning: Option<u64>,
}

impl Numbers {
    fn of(served: &Served) -> Self {
        let Scenario { input, output, cached, created, reasoning, .. } = served.scenario;
        match served.endpoint {
            Endpoint::Embeddings | Endpoint::CohereEmbed | Endpoint::OllamaEmbed | Endpoint::Rerank => {
                Self { input, output: None, cached: None, created: None, reasoning: None }
            }
            // Ollama says nothing of its cache, Converse and Mistral nothing of reasoning.
            Endpoint::OllamaChat => {
                Self { input, output: Some(output), cached: None, created: None, reasoning: None }
            }
            Endpoint::Converse => Self { input, output: Some(output), cached, created, reasoning: None },
            _ if served.vendor == Vendor::Mistral => {
                Self { input, output: Some(output), cached, created: None, reasoning: None }
            }
            // Anthropic always says both, zero included.
            Endpoint::Messages | Endpoint::Invoke => Self {
                input,
                output: Some(output),
                cached: Some(cached.unwrap_or(0)),
                created: Some(created.unwrap_or(0)),
                reasoning,
            },
            _ => Self { input, output: Some(output), cached, created: None, reasoning },
        }
    }
}

/// OTel's `gen_ai.operation.name`.
fn operation(endpoint: Endpoint) -> &'static str {
    match endpoint {
        Endpoint::Chat
        | Endpoint::Responses
        | Endpoint::Messages
        | Endpoint::Converse
        | Endpoint::Invoke
        | Endpoint::CohereChat
        | Endpoint::OllamaChat => "chat",
        Endpoint::Completions => "text_completion",
        Endpoint::Embeddings | Endpoint::CohereEmbed | Endpoint::OllamaEmbed => "embeddings",
        Endpoint::Rerank => "rerank",
        Endpoint::Generate => "generate_content",
    }
}
