use std::path::Path;

use super::*;

fn settings(text: &str, environment: &[(&str, &str)], flags: &[Flag]) -> Result<Settings, ConfigError> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    let environment = environment.iter().map(|&(name, value)| (name.to_owned(), value.to_owned()));
    Settings::load(Some(file.path()), environment, flags)
}

fn load(text: &str) -> Result<Config, ConfigError> {
    settings(text, &[], &[]).map(|settings| settings.config)
}

#[test]
fn an_empty_file_is_the_default() {
    assert_eq!(load("").unwrap(), Config::default());
}

#[test]
fn the_example_shows_the_defaults() {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("deploy").join("llm-tracker.toml");
    assert_eq!(load(&std::fs::read_to_string(example).unwrap()).unwrap(), Config::default());
}

#[test]
fn a_value_replaces_its_default_only() {
    let config = load("[capture]\nring_bytes = 65536\n").unwrap();
    assert_eq!(config.capture.ring_bytes, 65_536);
    assert_eq!(config.capture.call_cap_bytes, CaptureConfig::default().call_cap_bytes);
}

#[test]
fn a_mistake_names_the_place() {
    let error = load("[capture]\nring_byte = 65536\n").unwrap_err().to_string();
    assert!(error.contains("line 2") && error.contains("ring_byte"), "{error}");
    let error = load("[capture]\nring_bytes = 12\n").unwrap_err().to_string();
    assert!(error.contains("capture.ring_bytes = 12"), "{error}");
    for (line, text, word) in [
        (3, "[[gateway]]\nname = \"corp\"\nhosts = [\"*\"]\n", "every host"),
        (2, "[[gateway]]\nname = \"a b\"\nhosts = [\"h\"]\n", "letters"),
        (4, "[[gateway]]\nname = \"a\"\nhosts = [\"h\"]\npaths = [\"/a b\"]\n", "segments"),
        (5, "[[gateway]]\nname = \"a\"\nhosts = [\"h\"]\npaths = [\"/a\"]\ndialect = \"x\"\n", "openai.chat"),
        (3, "[capture]\n\n[[gateway]]\nname = \"a\"\nhosts = []\n", "at least one"),
        (1, "[[gateway]]\nname = \"a\"\nhosts = [\"h\"]\npaths = [\"/a\"]\n", "belong together"),
        (1, "[[gateway]]\nhosts = [\"h\"]\n", "name"),
        (3, "[[gateway]]\nname = \"a\"\nhost = [\"h\"]\n", "host"),
        (2, "[metrics]\nlabels = [\"proces\"]\n", "`process`"),
        (4, "[metrics]\nlabels = [\n  \"process\",\n  {from = \"user\", name = \"status\"},\n]\n", "another"),
        (4, "[metrics]\nlabels = [\n  \"process\",\n  {from = \"user\", max = 1},\n]\n", "max_values"),
    ] {
        let error = load(text).unwrap_err().to_string();
        assert!(error.contains(&format!("line {line}")) && error.contains(word), "{error}");
    }
    let error = Settings::load(Some(Path::new("/nonexistent/llm.toml")), [], &[]).unwrap_err().to_string();
    assert!(error.contains("/nonexistent/llm.toml"), "{error}");
}

const LISTEN: &str = "LLM_TRACKER_METRICS_LISTEN";

fn flag(name: &'static str, key: &'static str, value: &str) -> Flag {
    Flag { name, key, value: toml::Value::String(value.to_owned()) }
}

#[test]
fn flags_go_over_the_environment_over_the_file() {
    let text = "[metrics]\nmax_series = 5\nlisten = \"127.0.0.1:1\"\n";
    let flags = [flag("--metrics-listen", "metrics.listen", "127.0.0.1:3")];
    let listen = |environment: &[(&str, &str)], flags: &[Flag]| {
        let settings = settings(text, environment, flags).unwrap();
        assert_eq!(settings.config.metrics.max_series, 5, "what nobody overrides stays");
        let source = settings.source("metrics.listen").to_string();
        let source = source.rsplit_once('/').map_or(source.clone(), |(_, line)| line.to_owned());
        (
            settings.config.metrics.listen.port(),
            source.rsplit_once(':').map_or(source.clone(), |(_, line)| line.to_owned()),
        )
    };
    assert_eq!(listen(&[], &[]), (1, "3".to_owned()));
    assert_eq!(listen(&[(LISTEN, "127.0.0.1:2")], &[]), (2, LISTEN.to_owned()));
    assert_eq!(listen(&[(LISTEN, "127.0.0.1:2")], &flags), (3, "--metrics-listen".to_owned()));
    assert_eq!(listen(&[(LISTEN, "")], &[]), (1, "3".to_owned()), "an empty variable is none");
}

#[test]
fn every_key_has_a_variable() {
    for entry in settings("", &[], &[]).unwrap().entries() {
        let text = match &entry.value {
            // An address, where one is wanted, and a path elsewhere.
            None => "http://127.0.0.1:4318".to_owned(),
            Some(toml::Value::String(text)) => text.clone(),
            Some(value) => value.to_string(),
        };
        let name = settings::variable(&entry.key);
        let changed = settings("", &[(&name, &text)], &[]).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(*changed.source(&entry.key), Source::Environment(name));
    }
    let environment = [
        ("LLM_TRACKER_EVENTS_FILE", "-"),
        ("LLM_TRACKER_USAGE_ESTIMATE", "false"),
        ("LLM_TRACKER_METRICS_LABELS", "[\"user\", {from = \"uid\", name = \"team\"}]"),
        ("LLM_TRACKER_GATEWAY", "[{name = \"corp\", hosts = [\"llm.corp.example\"]}]"),
    ];
    let config = settings("", &environment, &[]).unwrap().config;
    assert_eq!(config.events.file.as_deref(), Some(Path::new("-")));
    assert_eq!(config.usage.estimates(), Estimates::Never);
    assert_eq!((config.metrics.labels.len(), config.gateway.len()), (2, 1));
}

#[test]
fn what_does_not_exist_has_a_nearest_name() {
    for (text, words) in [
        ("[capture]\nring_byte = 1\n", "line 2, column 1;did you mean `ring_bytes`?"),
        ("[metric]\n", "did you mean `metrics`?"),
        ("[log]\nlevel = \"warning\"\n", "line 2, column 9;did you mean `warn`?"),
        ("[metrics]\nlabels = [\"proces\"]\n", "did you mean `process`?"),
        ("[[gateway]]\nname = \"a\"\nhost = [\"h\"]\n", "line 3;did you mean `hosts`?"),
    ] {
        let error = load(text).unwrap_err().to_string();
        assert!(words.split(';').all(|word| error.contains(word)), "{error}");
    }
    let error = load("[capture]\nfrobnicate = 1\n").unwrap_err().to_string();
    assert!(!error.contains("did you mean"), "{error}");
    for (variable, value, words) in [
        ("LLM_TRACKER_METRICS_LISTENS", "x", "did you mean `LLM_TRACKER_METRICS_LISTEN`?"),
        (LISTEN, "nowhere", "LLM_TRACKER_METRICS_LISTEN does not fit metrics.listen"),
        ("LLM_TRACKER_CAPTURE_RING_BYTES", "many", "does not fit capture.ring_bytes"),
        ("LLM_TRACKER_CAPTURE_RING_BYTES", "12", "capture.ring_bytes = 12: it must lie"),
        ("LLM_TRACKER_CAPTURE_RING_BYTES", "12", "(LLM_TRACKER_CAPTURE_RING_BYTES)"),
        ("LLM_TRACKER_LOG_LEVEL", "inf", "did you mean `info`?"),
    ] {
        let error = settings("", &[(variable, value)], &[]).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
    settings("", &[("LLM_TRACKER_BIN", "x"), ("LLM_TRACKERS", "x")], &[]).unwrap();
}

#[test]
fn what_is_shown_is_a_configuration() {
    let text =
        "[metrics]\nlabels = [\"user\"]\n\n[[gateway]]\nname = \"corp\"\nhosts = [\"llm.corp.example\"]\n";
    let shown = settings(text, &[("LLM_TRACKER_EVENTS_FILE", "-")], &[]).unwrap();
    let page = shown.to_string();
    assert_eq!(load(&page).unwrap(), shown.config, "{page}");
    assert!(page.contains("capture.ring_bytes = 8388608  # default\n"), "{page}");
    assert!(page.contains("# metrics.web_config is not set\n"), "{page}");
    let json = shown.to_json();
    assert_eq!(json["metrics.labels"]["source"]["line"], 2);
    assert_eq!(json["events.file"]["source"]["environment"], "LLM_TRACKER_EVENTS_FILE");
    assert_eq!(json["metrics.listen"]["environment"], LISTEN);
}

#[test]
fn what_has_changed_is_known_by_key() {
    let changed = |text: &str| {
        let (old, new) = (settings("", &[], &[]).unwrap(), settings(text, &[], &[]).unwrap());
        old.changed(&new).map(str::to_owned).collect::<Vec<_>>()
    };
    assert!(changed("[metrics]\nlabels = [\"process\", \"cgroup\", \"container\"]\n").is_empty());
    let more =
        "[capture]\nring_bytes = 4096\n[events]\nfile = \"-\"\n[[gateway]]\nname = \"a\"\nhosts = [\"h\"]\n";
    assert_eq!(changed(more), ["capture.ring_bytes", "events.file", "gateway"]);
}

#[test]
fn what_is_secret_is_not_shown() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "[otlp]\nheaders = { authorization = \"Bearer hush\" }\n").unwrap();
    let settings = Settings::load(Some(file.path()), [], &[]).unwrap();
    for shown in [settings.to_string(), settings.to_json().to_string()] {
        assert!(shown.contains("authorization") && !shown.contains("hush"), "{shown}");
    }
}

#[test]
fn a_mistake_does_not_repeat_what_may_be_secret() {
    for text in ["[otlp]\nheaders = \"sk-secret\"\n", "[otlp]\nheaders = {a = \"sk-secret\" b}\n"] {
        let error = load(text).unwrap_err().to_string();
        assert!(error.contains("line 2") && !error.contains("sk-secret"), "{error}");
    }
    let error = settings("", &[("LLM_TRACKER_OTLP_HEADERS", "sk-secret")], &[]).unwrap_err().to_string();
    assert!(error.contains("otlp.headers") && !error.contains("sk-secret"), "{error}");
}
