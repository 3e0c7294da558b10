//! Names of models: which of them mean the same.

/// The names under which a model may stand in a list of its provider's, the closest first, lower case: the
/// one that it was called by, and those that are known to mean the same. What only looks alike (`gpt-5` and
/// `gpt-5-mini`, `mistral-large-2407` and `mistral-large-2411`, a model and one that was made of it by
/// fine-tuning) has prices of its own, so nothing else is ever taken off a name.
pub(super) fn same(provider: &str, called: &str) -> Vec<String> {
    let mut names = vec![called.trim().to_lowercase()];
    let mut add = |change: fn(&str) -> Option<&str>| {
        // Each on top of those before: a resource's name ends in one with a date.
        let changed: Vec<_> = names.iter().filter_map(|name| change(name).map(str::to_owned)).collect();
        names.extend(changed);
    };
    match provider {
        "aws.bedrock" => {
            add(|name| name.starts_with("arn:").then(|| resource(name)).flatten());
            add(without_context);
        }
        "gcp.gemini" | "gcp.vertex_ai" => add(resource),
        _ => {}
    }
    add(without_tuning);
    add(without_date);
    add(|name| name.strip_suffix("-latest").filter(|name| name.contains(|c: char| c.is_ascii_digit())));
    names
}

/// `models/gemini-3-flash`, `projects/p/locations/l/publishers/google/models/gemini-3-flash`,
/// `arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.amazon.nova-pro-v1:0`. What a customer has
/// named (an `application-inference-profile`, an endpoint) ends in nothing that stands in a list.
fn resource(name: &str) -> Option<&str> {
    let (kind, last) = name.rsplit_once('/')?;
    ["models", "foundation-model", "inference-profile"]
        .iter()
        .any(|known| kind.rsplit(['/', ':']).next() == Some(known))
        .then_some(last)
}

/// Bedrock's models with a longer context: `amazon.nova-pro-v1:0:300k`.
fn without_context(name: &str) -> Option<&str> {
    let (model, context) = name.rsplit_once(':')?;
    let tokens = context.strip_suffix('k')?;
    (!tokens.is_empty() && tokens.bytes().all(|byte| byte.is_ascii_digit())).then_some(model)
}

/// OpenAI's fine-tuned models, by what they were made of: `ft:gpt-4.1-2025-04-14:org:name:id`. Lists have
/// them with their beginning: they cost more than what they were made of.
fn without_tuning(name: &str) -> Option<&str> {
    let rest = name.strip_prefix("ft:")?;
    let (base, _) = rest.split_once(':')?;
    name.get(.."ft:".len() + base.len())
}

/// The day on which a version came out, at the end: `-2025-08-07`, `-20250929`, `@20250929`. Shorter ones
/// tell versions apart whose prices differ.
fn without_date(name: &str) -> Option<&str> {
    let day = |date: &[u8]| match date {
        [b'2', b'0', year @ .., m1, m0, d1, d0] if year.len() == 2 => {
            let number = |tens: u8, ones: u8| {
                (tens.is_ascii_digit() && ones.is_ascii_digit()).then(|| (tens - b'0') * 10 + (ones - b'0'))
            };
            year.iter().all(u8::is_ascii_digit)
                && number(*m1, *m0).is_some_and(|month| (1..=12).contains(&month))
                && number(*d1, *d0).is_some_and(|day| (1..=31).contains(&day))
        }
        _ => false,
    };
    let end = |length: usize| name.len().checked_sub(length).and_then(|at| name.split_at_checked(at));
    if let Some((model, date)) = end("-2025-08-07".len())
        && let [b'-', y3, y2, y1, y0, b'-', m1, m0, b'-', d1, d0] = *date.as_bytes()
        && day(&[y3, y2, y1, y0, m1, m0, d1, d0])
    {
        return Some(model);
    }
    let (model, date) = end("-20250929".len())?;
    let (b'-' | b'@', date) = date.as_bytes().split_first()? else { return None };
    day(date).then_some(model)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_mean_the_same() {
        for (provider, called, known) in [
            ("openai", "GPT-4o", "gpt-4o"),
            ("openai", "gpt-5-2025-08-07", "gpt-5"),
            ("openai", "ft:gpt-4.1-2025-04-14:org:name:id", "ft:gpt-4.1-2025-04-14"),
            ("openai", "ft:gpt-4.1-2025-04-14:org::id", "ft:gpt-4.1"),
            ("anthropic", "claude-sonnet-4-5-20250929", "claude-sonnet-4-5"),
            ("anthropic", "claude-sonnet-4-5-latest", "claude-sonnet-4-5"),
            ("gcp.vertex_ai", "claude-sonnet-4-5@20250929", "claude-sonnet-4-5"),
            ("gcp.gemini", "models/gemini-2.5-pro", "gemini-2.5-pro"),
            (
                "gcp.vertex_ai",
                "projects/p/locations/l/publishers/anthropic/models/claude-sonnet-4-5@20250929",
                "claude-sonnet-4-5",
            ),
            ("aws.bedrock", "amazon.nova-pro-v1:0:300k", "amazon.nova-pro-v1:0"),
            (
                "aws.bedrock",
                "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.amazon.nova-pro-v1:0",
                "us.amazon.nova-pro-v1:0",
            ),
            (
                "aws.bedrock",
                "arn:aws:bedrock:us-east-1::foundation-model/amazon.nova-pro-v1:0:24k",
                "amazon.nova-pro-v1:0",
            ),
        ] {
            let names = same(provider, called);
            assert!(names.iter().any(|name| name == known), "{called}: {names:?}");
            assert_eq!(names[0], called.to_lowercase());
        }
    }

    #[test]
    fn names_that_do_not() {
        for (provider, called) in [
            ("openai", "gpt-5-mini"),
            ("openai", "gpt-4-0613"),
            ("openai", "gpt-4-turbo-preview"),
            ("openai", "chatgpt-4o-latest-"),
            ("openai", "model-2025-13-01"),
            ("openai", "model-20250132"),
            ("openai", "model-99990101"),
            ("openai", "ft:gpt-4.1"),
            ("openai", "models/gpt-5"),
            ("mistral_ai", "mistral-large-2411"),
            ("mistral_ai", "mistral-large-latest"),
            ("openrouter", "openai/gpt-5:free"),
            ("fireworks_ai", "accounts/fireworks/models/kimi-k3"),
            ("aws.bedrock", "us.amazon.nova-pro-v1:0"),
            ("aws.bedrock", "arn:aws:bedrock:us-east-1:1:application-inference-profile/abc"),
            ("aws.bedrock", "é"),
            ("openai", "ééééé-2025"),
            ("openai", ""),
        ] {
            assert_eq!(same(provider, called), [called], "{called}");
        }
    }
}
