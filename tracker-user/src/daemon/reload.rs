//! SIGHUP: what of the configuration may change while the daemon runs.

use crate::{cli::RunArgs, config::Config, provider::Catalog};

/// Reads the configuration again and takes over its gateways. One with a mistake is not taken: the
/// log says where and why, and what was in force stays so.
///
/// Everything else is read at the start only, `running`; what has changed of it is named.
pub(super) fn reload(args: &RunArgs, running: &Config, catalog: &Catalog) {
    if args.config.is_none() {
        return;
    }
    match Config::resolve(args) {
        Ok(config) => {
            tracing::info!(gateways = config.gateway.len(), "the configuration was read again");
            for section in needs_restart(running, &config) {
                tracing::warn!(
                    "[{section}] has changed: that takes a restart, only the gateways were taken over"
                );
            }
            catalog.set_gateways(config.gateway);
        }
        Err(error) => {
            tracing::error!("the configuration was not taken over, the old one stays in force: {error}");
        }
    }
}

/// The sections that differ and cannot be taken over.
fn needs_restart(running: &Config, read: &Config) -> impl Iterator<Item = &'static str> {
    let Config { capture, discovery, metrics, events, otlp, usage, gateway: _ } = read;
    [
        ("capture", *capture != running.capture),
        ("discovery", *discovery != running.discovery),
        ("metrics", *metrics != running.metrics),
        ("events", *events != running.events),
        ("otlp", *otlp != running.otlp),
        ("usage", *usage != running.usage),
    ]
    .into_iter()
    .filter_map(|(section, differs)| differs.then_some(section))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{provider::Interest, stream::RequestHead};

    #[test]
    fn what_needs_a_restart_is_named() {
        let changed = |text: &str| {
            let read: Config = toml::from_str(text).unwrap();
            needs_restart(&Config::default(), &read).collect::<Vec<_>>()
        };
        assert!(changed("[metrics]\nlabels = [\"process\", \"cgroup\", \"container\"]\n").is_empty());
        assert_eq!(changed("[metrics]\nlabels = [\"user\"]\n"), ["metrics"]);
        let more = "[capture]\nring_bytes = 4096\n[events]\nfile = \"-\"\n[[gateway]]\nname = \"a\"\nhosts = [\"h\"]\n";
        assert_eq!(changed(more), ["capture", "events"]);
    }

    #[test]
    fn a_mistake_leaves_the_old_gateways() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let args = RunArgs { config: Some(file.path().to_owned()), ..RunArgs::default() };
        let catalog = Catalog::new();
        let head = RequestHead {
            method: "POST".into(),
            path: "/ask".into(),
            host: Some("llm.corp.example".into()),
            ..RequestHead::default()
        };
        let interest = |text: &str| {
            std::fs::write(file.path(), text).unwrap();
            reload(&args, &Config::default(), &catalog);
            catalog.interest(&head)
        };
        let good = "[[gateway]]\nname = \"corp\"\nhosts = [\"*.corp.example\"]\npaths = [\"/ask\"]\ndialect = \"openai.chat\"\n";
        assert_eq!(interest(""), Interest::Unrelated);
        assert_eq!(interest(good), Interest::Call);
        assert_eq!(interest("[[gateway]]\nname = 1\n"), Interest::Call);
        assert_eq!(interest(""), Interest::Unrelated);
    }
}
