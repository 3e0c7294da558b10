//! SIGHUP: what of the configuration may change while the daemon runs.

use crate::{cli::RunArgs, config::Config, provider::Catalog};

/// Reads the configuration again and takes over its gateways. One with a mistake is not taken: the
/// log says where and why, and what was in force stays so.
///
/// Everything else is read at the start only.
pub(super) fn reload(args: &RunArgs, catalog: &Catalog) {
    if args.config.is_none() {
        return;
    }
    match Config::resolve(args) {
        Ok(config) => {
            tracing::info!(gateways = config.gateway.len(), "the configuration was read again");
            catalog.set_gateways(config.gateway);
        }
        Err(error) => {
            tracing::error!("the configuration was not taken over, the old one stays in force: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{provider::Interest, stream::RequestHead};

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
            reload(&args, &catalog);
            catalog.interest(&head)
        };
        let good = "[[gateway]]\nname = \"corp\"\nhosts = [\"*.corp.example\"]\npaths = [\"/ask\"]\ndialect = \"openai.chat\"\n";
        assert_eq!(interest(""), Interest::Unrelated);
        assert_eq!(interest(good), Interest::Call);
        assert_eq!(interest("[[gateway]]\nname = 1\n"), Interest::Call);
        assert_eq!(interest(""), Interest::Unrelated);
    }
}
