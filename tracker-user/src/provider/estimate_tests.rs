//! Calls whose tokens no provider reported.

use super::{
    formats_tests::{Made, made},
    *,
};
use crate::{
    provider::{Estimates, Usage, UsageSource},
    stream::End,
};

const ONE: &str = r#"{"model":"m","messages":[{"role":"user","content":"Say hello."}]}"#;

fn chat(request: &str) -> Made<'_> {
    Made { request, ..made("api.openai.com", "/v1/chat/completions") }
}

/// A stream of the texts, to its end.
fn stream(texts: &[&str]) -> String {
    let event = |text: &&str| {
        format!("data: {{\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"{text}\"}}}}]}}\n\n")
    };
    let mut all: String = texts.iter().map(event).collect();
    all.push_str(
        "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n",
    );
    all
}

fn counts(usage: &Usage) -> (Option<u64>, Option<u64>, UsageSource) {
    (usage.input_tokens, usage.output_tokens, usage.source)
}

#[test]
fn what_nobody_counted_is_counted() {
    // "Hello", "!", " How", " are", " you", "?"; "Say", " hello", ".", and 7 around a message.
    let call = chat(ONE).call(stream(&["Hel", "lo! H", "ow are\\u0020y", "ou?"]).as_bytes());
    assert_eq!(counts(&call.usage), (Some(10), Some(6), UsageSource::Estimated));
    // What is not streamed is counted the same way.
    let whole =
        r#"{"choices":[{"index":0,"message":{"content":"Hello! How are you?"},"finish_reason":"stop"}]}"#;
    assert_eq!(chat(ONE).call(whole.as_bytes()).usage, call.usage);
    let never = Made { catalog: Arc::new(Catalog::new().with_estimates(Estimates::Never)), ..chat(ONE) };
    let _shared = Arc::clone(&never.catalog);
    assert_eq!(never.call(whole.as_bytes()).usage, Usage::default());
}

/// What is seen of a call on its way.
#[test]
fn what_has_come_is_counted_as_it_comes() {
    let texts = ["Hel", "lo! H", "ow are\\u0020y", "ou?"];
    let events = stream(&texts);
    let mut seen = Vec::new();
    let call = chat(ONE).watched(events.split_inclusive("\n\n").map(str::as_bytes), &mut |progress| {
        assert_eq!((progress.provider, progress.operation, progress.model), ("openai", "chat", Some("m")));
        assert!(progress.streaming && progress.first_token.is_some());
        assert_eq!(progress.usage_source, UsageSource::Estimated);
        seen.push(progress.output_tokens.unwrap());
    });
    assert_eq!(seen, [1, 3, 5, 6, 6, 6]);
    assert_eq!(call.unwrap().usage.output_tokens, Some(6));
    // A provider that tells as it goes is believed.
    let told = |tokens: u64| {
        format!(
            "data: {{\"candidates\":[{{\"content\":{{\"parts\":[{{\"text\":\"one two three\"}}]}}}}],\"usageMetadata\":{{\"promptTokenCount\":9,\"candidatesTokenCount\":{tokens}}}}}\n\n"
        )
    };
    let gemini = Made {
        request: r#"{"contents":[{"parts":[{"text":"Say hello."}]}]}"#,
        ..made("generativelanguage.googleapis.com", "/v1beta/models/gemini-2.5-pro:streamGenerateContent")
    };
    let mut seen = Vec::new();
    let events = [told(30), told(50)];
    gemini.watched(events.iter().map(String::as_bytes), &mut |progress| {
        seen.push((progress.model.map(str::to_owned), progress.output_tokens, progress.usage_source));
    });
    let model = Some("gemini-2.5-pro".to_owned());
    assert_eq!(
        seen,
        [(model.clone(), Some(30), UsageSource::Reported), (model, Some(50), UsageSource::Reported)]
    );
}

#[test]
fn what_was_reported_stays() {
    let answer = r#"{"choices":[{"index":0,"message":{"content":"Hello!"},"finish_reason":"stop"}],
        "usage":{"prompt_tokens":70,"completion_tokens":80}}"#;
    let call = chat(ONE).call(answer.as_bytes());
    assert_eq!(counts(&call.usage), (Some(70), Some(80), UsageSource::Reported));
    // Of a message that was cut the prompt is known, and the answer is what came of it.
    let start = "data: {\"type\":\"message_start\",\"message\":{\"id\":\"i\",\"model\":\"m\",\"usage\":{\"input_tokens\":3,\"cache_read_input_tokens\":4,\"output_tokens\":1}}}\n\n";
    let text = "data: {\"type\":\"content_block_delta\",\"delta\":{\"type\":\"text_delta\",\"text\":\"Hello there\"}}\n\n";
    let messages = Made { request: ONE, end: End::Closed, ..made("api.anthropic.com", "/v1/messages") };
    let call = messages.call(format!("{start}{text}").as_bytes());
    assert_eq!(call.error.as_deref(), Some("interrupted"));
    assert_eq!(counts(&call.usage), (Some(7), Some(2), UsageSource::Estimated));
    assert_eq!(call.usage.cache_read_input_tokens, Some(4));
    // Nothing came of this one.
    let call = messages.call(start.as_bytes());
    assert_eq!(counts(&call.usage), (Some(7), None, UsageSource::Reported));
}

#[test]
fn what_cannot_be_known_is_absent() {
    let answer = stream(&["Hello"]);
    let input = |content: &str| {
        let request = format!(r#"{{"model":"m","messages":[{{"role":"user","content":{content}}}]}}"#);
        let call = chat(&request).call(answer.as_bytes());
        assert_eq!((call.usage.output_tokens, call.usage.source), (Some(1), UsageSource::Estimated));
        call.usage.input_tokens
    };
    assert_eq!(input(r#"[{"type":"text","text":"Say hello."}]"#), Some(10));
    let picture = "data:image\\/png;base64,AAAABBBB";
    assert_eq!(input(&format!(r#"[{{"type":"image_url","image_url":{{"url":"{picture}"}}}}]"#)), None);
    assert_eq!(input(&format!(r#"[{{"type":"text","text":"{picture}"}}]"#)), None);
    assert_eq!(input(r#""data: none""#), Some(10));
    assert!(input(r#""data:image/png;base64""#).is_some());
    // What the provider keeps of the conversation.
    let request = r#"{"model":"m","input":"And then?","previous_response_id":"resp_1"}"#;
    let responses = Made { request, ..made("api.openai.com", "/v1/responses") };
    let call = responses.call(
        br#"{"id":"r","status":"completed","output":[{"type":"message","content":[{"type":"output_text","text":"Hello"}]}]}"#,
    );
    assert_eq!(counts(&call.usage), (None, Some(2), UsageSource::Estimated));
    // A request of which the end was not seen.
    let call = chat(&ONE[..ONE.len() - 4]).call(answer.as_bytes());
    assert_eq!(call.usage.input_tokens, None);
    let sound = r#"{"choices":[{"index":0,"delta":{"audio":{"data":"AAAA","transcript":"Hello"}}}]}"#;
    let call = chat(ONE).call(format!("data: {sound}\n\ndata: [DONE]\n\n").as_bytes());
    assert_eq!(call.usage.output_tokens, None);
}

#[test]
fn failures_and_losses_have_no_estimates() {
    let failed = Made { status: 500, ..chat(ONE) }.call(br#"{"error":{"type":"server_error"}}"#);
    assert_eq!(failed.usage, Usage::default());
    let error = "data: {\"error\":{\"type\":\"overloaded\"}}\n\n";
    assert_eq!(chat(ONE).call(error.as_bytes()).usage, Usage::default());
    let begun = &stream(&["Hello"])[..70];
    for end in [End::Gap, End::Malformed] {
        assert_eq!(Made { end, ..chat(ONE) }.call(begun.as_bytes()).usage, Usage::default());
    }
    let call = Made { end: End::Closed, ..chat(ONE) }.call(begun.as_bytes());
    assert_eq!(counts(&call.usage), (Some(10), Some(1), UsageSource::Estimated));
    assert_eq!(call.error.as_deref(), Some("interrupted"));
}

#[test]
fn tools_and_tokens() {
    let request = r#"{"model":"m","messages":[{"role":"user","content":"Say hello."}],
        "tools":[{"type":"function","function":{"name":"greet","parameters":{"type":"object","properties":{"image":{"type":"string"}}}}}]}"#;
    let answer = "data: {\"choices\":[{\"index\":0,\"delta\":{\"tool_calls\":[{\"index\":0,\"id\":\"c\",\"function\":{\"name\":\"greet\",\"arguments\":\"{}\"}}]},\"finish_reason\":\"tool_calls\"}]}\n\ndata: [DONE]\n\n";
    let call = chat(request).call(answer.as_bytes());
    let (input, output) = (call.usage.input_tokens.unwrap(), call.usage.output_tokens.unwrap());
    assert!((20..60).contains(&input), "a property named `image` is no picture: {input}");
    assert!((8..12).contains(&output), "{output}");
    let request = r#"{"model":"m","input":[[1,22,333],[4444]]}"#;
    let embeddings = Made { request, ..made("api.openai.com", "/v1/embeddings") };
    let call = embeddings.call(br#"{"data":[{"embedding":[0.1]}],"model":"m"}"#);
    assert_eq!(counts(&call.usage), (Some(4), None, UsageSource::Estimated));
}
