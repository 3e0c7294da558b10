//! A model's prices, and what a call costs by them.

use serde::Deserialize;

use super::Usd;
use crate::provider::{Call, Usage};

/// What a price is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The prompt.
    Input,
    /// Read from the provider's cache.
    CacheRead,
    /// Written to it, for five minutes where there is a choice.
    CacheWrite,
    /// Written to it for an hour.
    #[serde(rename = "cache_write_1h")]
    CacheWrite1h,
    /// Audio of the prompt.
    AudioInput,
    /// Audio of the prompt, read from the cache.
    AudioCacheRead,
    /// Images of the prompt.
    ImageInput,
    /// The answer.
    Output,
    /// Reasoning.
    Reasoning,
    /// Audio of the answer.
    AudioOutput,
    /// Images of the answer.
    ImageOutput,
}

impl Kind {
    /// All of them, in the order in which they are shown.
    pub const ALL: [Self; 11] = [
        Self::Input,
        Self::CacheRead,
        Self::CacheWrite,
        Self::CacheWrite1h,
        Self::AudioInput,
        Self::AudioCacheRead,
        Self::ImageInput,
        Self::Output,
        Self::Reasoning,
        Self::AudioOutput,
        Self::ImageOutput,
    ];

    /// As it stands in the list and is shown.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Input => "input",
            Self::CacheRead => "cache_read",
            Self::CacheWrite => "cache_write",
            Self::CacheWrite1h => "cache_write_1h",
            Self::AudioInput => "audio_input",
            Self::AudioCacheRead => "audio_cache_read",
            Self::ImageInput => "image_input",
            Self::Output => "output",
            Self::Reasoning => "reasoning",
            Self::AudioOutput => "audio_output",
            Self::ImageOutput => "image_output",
        }
    }

    /// What it costs where it has no price of its own: what this costs.
    const fn part_of(self) -> Option<Self> {
        match self {
            Self::Input | Self::Output => None,
            Self::CacheWrite1h => Some(Self::CacheWrite),
            Self::AudioCacheRead => Some(Self::CacheRead),
            Self::CacheRead | Self::CacheWrite | Self::AudioInput | Self::ImageInput => Some(Self::Input),
            Self::Reasoning | Self::AudioOutput | Self::ImageOutput => Some(Self::Output),
        }
    }
}

/// A token's prices by kind; absent where a kind has none of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Rates([Option<Usd>; Kind::ALL.len()]);

impl Rates {
    pub(super) const fn set(&mut self, kind: Kind, price: Usd) {
        self.0[kind as usize] = Some(price);
    }

    pub(super) const fn get(&self, kind: Kind) -> Option<Usd> {
        self.0[kind as usize]
    }

    const fn unset(&mut self, kind: Kind) {
        self.0[kind as usize] = None;
    }

    pub(super) fn are_none(&self) -> bool {
        self.0.iter().all(Option::is_none)
    }
}

/// Prices of one service tier.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Tariff {
    pub(super) base: Rates,
    /// Of calls whose prompt has more tokens than this, ascending. They hold for all tokens of the call.
    pub(super) above: Vec<(u64, Rates)>,
}

/// Prices of a model.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Model {
    pub(super) standard: Tariff,
    /// By our names of tiers.
    pub(super) tiers: Vec<(String, Tariff)>,
    /// The page that says so.
    pub(super) source: String,
}

/// Service tiers in the words of answers, and ours; empty: what is paid where nothing is said. What is
/// paid for capacity that was reserved before stands in no list.
const TIERS: [(&str, &str); 11] = [
    ("default", ""),
    ("standard", ""),
    ("auto", ""),
    ("on_demand", ""),
    ("batch", "batch"),
    ("flex", "flex"),
    ("on_demand_flex", "flex"),
    ("priority", "priority"),
    ("on_demand_priority", "priority"),
    ("service_tier_flex", "flex"),
    ("service_tier_priority", "priority"),
];

impl Model {
    /// Takes out of its usual prices what costs as much as what it is part of. Lists have a few of them, and not in
    /// their tiers: Gemini's thoughts are the answer's price, in a batch the batch's.
    pub(super) fn without_copies(mut self) -> Self {
        let base = self.standard.base;
        let is_copy = |kind: &Kind| kind.part_of().is_some_and(|whole| base.get(*kind) == base.get(whole));
        for kind in Kind::ALL.into_iter().filter(is_copy) {
            self.standard.base.unset(kind);
        }
        self
    }

    /// The prices of a tier, made where there are none; empty: what is paid where nothing is said.
    pub(super) fn tier_mut(&mut self, tier: &str) -> &mut Tariff {
        if tier.is_empty() {
            return &mut self.standard;
        }
        let known = self.tiers.iter().position(|(name, _)| name == tier);
        let index = known.unwrap_or_else(|| {
            self.tiers.push((tier.to_owned(), Tariff::default()));
            self.tiers.len() - 1
        });
        self.tiers.get_mut(index).map_or(&mut self.standard, |(_, tariff)| tariff)
    }

    /// What the call costs, by its tokens; nothing where there is no price for one of them, or where the
    /// tokens are not known.
    pub(super) fn amount(&self, call: &Call) -> Option<Usd> {
        let usage = &call.usage;
        let input = usage.input_tokens?;
        let prices = self.prices(call.service_tier.as_deref(), input)?;
        let generates = !["embeddings", "rerank", "moderation"].contains(&call.operation);
        let output = usage.output_tokens.or((!generates).then_some(0))?;
        let mut pico = 0_u128;
        for (kind, tokens) in split(usage, input, output).into_iter().filter(|(_, tokens)| *tokens > 0) {
            pico += u128::from(prices.of(kind)?.pico()) * u128::from(tokens);
        }
        u64::try_from(pico).ok().map(Usd::from_pico)
    }

    /// All prices, each set with its condition.
    pub(super) fn shown(&self) -> Vec<(String, Vec<(Kind, Usd)>)> {
        let standard = ("", &self.standard);
        let tiers = self.tiers.iter().map(|(name, tariff)| (name.as_str(), tariff));
        let mut sets = Vec::new();
        for (tier, tariff) in std::iter::once(standard).chain(tiers) {
            let long = tariff.above.iter().map(|(tokens, rates)| (Some(tokens), rates));
            for (above, rates) in std::iter::once((None, &tariff.base)).chain(long) {
                let length = above.map(|tokens| format!("> {}k", tokens / 1000));
                let condition = [Some(tier.to_owned()).filter(|tier| !tier.is_empty()), length];
                let condition = condition.into_iter().flatten().collect::<Vec<_>>().join(" ");
                let priced = |kind: Kind| Some((kind, rates.get(kind)?));
                sets.push((condition, Kind::ALL.into_iter().filter_map(priced).collect()));
            }
        }
        sets
    }

    /// The prices of a call with a prompt of so many tokens.
    fn prices(&self, tier: Option<&str>, input: u64) -> Option<Prices> {
        let tier = match tier {
            None => "",
            Some(said) => TIERS.iter().find(|(name, _)| name.eq_ignore_ascii_case(said))?.1,
        };
        let longest =
            |tariff: &Tariff| tariff.above.iter().rfind(|(tokens, _)| input > *tokens).map(|it| it.1);
        let long = longest(&self.standard);
        if tier.is_empty() {
            return Some(Prices([long.unwrap_or_default(), self.standard.base, Rates::default()]));
        }
        let (_, tariff) = self.tiers.iter().find(|(name, _)| name == tier)?;
        match (longest(tariff), long) {
            // That long prompts cost more is known, but not how much.
            (None, Some(_)) => None,
            (longer, _) => Some(Prices([longer.unwrap_or_default(), tariff.base, self.standard.base])),
        }
    }
}

/// Where the price of a token is looked for, in this order.
struct Prices([Rates; 3]);

impl Prices {
    fn of(&self, kind: Kind) -> Option<Usd> {
        let own = self.0.iter().find_map(|rates| rates.get(kind));
        own.or_else(|| self.of(kind.part_of()?))
    }
}

/// How many tokens have which price. The subsets of a usage may contradict each other: what is more than
/// there is does not count.
fn split(usage: &Usage, input: u64, output: u64) -> [(Kind, u64); Kind::ALL.len()] {
    let take = |from: &mut u64, tokens: Option<u64>| {
        let taken = tokens.unwrap_or_default().min(*from);
        *from -= taken;
        taken
    };
    let mut fresh = input;
    let mut written = take(&mut fresh, usage.cache_creation_input_tokens);
    let mut read = take(&mut fresh, usage.cache_read_input_tokens);
    let written_1h = take(&mut written, usage.cache_creation_1h_input_tokens);
    // Of what is cached nobody says whether it is text: it is taken to be, as far as that can be.
    let audio = take(&mut fresh, usage.audio_input_tokens);
    let more_audio = usage.audio_input_tokens.map(|tokens| tokens.saturating_sub(audio));
    let audio_read = take(&mut read, more_audio);
    let image = take(&mut fresh, usage.image_input_tokens);
    let mut text = output;
    let reasoning = take(&mut text, usage.reasoning_tokens);
    let audio_output = take(&mut text, usage.audio_output_tokens);
    let image_output = take(&mut text, usage.image_output_tokens);
    [
        (Kind::Input, fresh),
        (Kind::CacheRead, read),
        (Kind::CacheWrite, written),
        (Kind::CacheWrite1h, written_1h),
        (Kind::AudioInput, audio),
        (Kind::AudioCacheRead, audio_read),
        (Kind::ImageInput, image),
        (Kind::Output, text),
        (Kind::Reasoning, reasoning),
        (Kind::AudioOutput, audio_output),
        (Kind::ImageOutput, image_output),
    ]
}
