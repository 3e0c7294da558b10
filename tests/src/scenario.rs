//! What a client wants the stand-in to answer, written into the model's name.
//!
//! Every SDK lets its user choose the model's name freely and sends it unchanged, so the name is
//! where a test puts the numbers it wants back: `standin-in123-out45-cached40-reason7-delay20`.

use std::{fmt, process, str::FromStr, time::Duration};

use anyhow::{Context as _, Result, bail};

/// One answer, in the normalised numbers of the call record: `cached` and `created` are part of
/// `input`, `reasoning` is part of `output`. Each dialect turns them into its own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scenario {
    /// All prompt tokens.
    pub input: u64,
    /// All generated tokens.
    pub output: u64,
    /// Prompt tokens read from the cache.
    pub cached: Option<u64>,
    /// Prompt tokens written to the cache (Anthropic only).
    pub created: Option<u64>,
    /// Generated tokens spent on reasoning.
    pub reasoning: Option<u64>,
    /// What the provider says that it costs, millionths of a US dollar (OpenAI's chat completions only, as
    /// OpenRouter has them).
    pub cost: Option<u64>,
    /// HTTP status; 200 where absent.
    pub status: Option<u16>,
    /// Pieces of content in a streamed answer; 3 where absent.
    pub chunks: Option<u32>,
    /// Bytes of content in all; a few words where absent.
    pub size: Option<usize>,
    /// Milliseconds before the answer's first byte.
    pub wait: Option<u64>,
    /// Milliseconds between the events of a stream.
    pub delay: Option<u64>,
    /// The connection is cut after that many events of a stream, or in the middle of a JSON body.
    pub cut: Option<u32>,
    /// The body is sent in pieces of that many bytes, wherever its events end.
    pub piece: Option<usize>,
    /// A stream is gzipped too, where the client accepts it; JSON always is.
    pub gzip: bool,
    /// The model calls the tool `get_weather` instead of talking.
    pub tool: bool,
    /// The model calls the shell that a request offers, and talks once it has been called. In the dialects that
    /// agents speak: OpenAI's, Anthropic's and Gemini's.
    pub shell: bool,
    /// Anything that makes the name unique.
    pub tag: Option<String>,
}

/// What the models of one test run have in common that are tagged with [`Scenario::ours`].
#[must_use]
pub fn mark() -> String {
    format!("run{}-", process::id())
}

impl Scenario {
    /// A plain answer of these many tokens.
    #[must_use]
    pub fn new(input: u64, output: u64) -> Self {
        Self { input, output, ..Self::default() }
    }

    /// The name to ask for.
    #[must_use]
    pub fn model(&self) -> String {
        self.to_string()
    }

    /// Sets [`tag`](Self::tag).
    #[must_use]
    pub fn tag(mut self, tag: impl fmt::Display) -> Self {
        self.tag = Some(tag.to_string());
        self
    }

    /// The same for a test that counts: the tag begins with its [`mark`], since other programs on the host may be
    /// calling stand-ins of their own.
    #[must_use]
    pub fn ours(self, tag: impl fmt::Display) -> Self {
        self.tag(format!("{}{tag}", mark()))
    }

    /// Sets [`cached`](Self::cached).
    #[must_use]
    pub const fn cached(mut self, tokens: u64) -> Self {
        self.cached = Some(tokens);
        self
    }

    /// Sets [`created`](Self::created).
    #[must_use]
    pub const fn created(mut self, tokens: u64) -> Self {
        self.created = Some(tokens);
        self
    }

    /// Sets [`reasoning`](Self::reasoning).
    #[must_use]
    pub const fn reasoning(mut self, tokens: u64) -> Self {
        self.reasoning = Some(tokens);
        self
    }

    pub(crate) fn wait_time(&self) -> Duration {
        Duration::from_millis(self.wait.unwrap_or(0))
    }

    pub(crate) fn delay_time(&self) -> Duration {
        Duration::from_millis(self.delay.unwrap_or(0))
    }

    fn set(&mut self, part: &str) -> Result<()> {
        let digits = part.find(|c: char| c.is_ascii_digit()).unwrap_or(part.len());
        let (key, value) = part.split_at(digits);
        match key {
            "in" => self.input = value.parse()?,
            "out" => self.output = value.parse()?,
            "cached" => self.cached = Some(value.parse()?),
            "created" => self.created = Some(value.parse()?),
            "reason" => self.reasoning = Some(value.parse()?),
            "cost" => self.cost = Some(value.parse()?),
            "status" => self.status = Some(value.parse()?),
            "chunks" => self.chunks = Some(value.parse()?),
            "size" => self.size = Some(value.parse()?),
            "wait" => self.wait = Some(value.parse()?),
            "delay" => self.delay = Some(value.parse()?),
            "cut" => self.cut = Some(value.parse()?),
            "piece" => self.piece = Some(value.parse()?),
            "gzip" if value.is_empty() => self.gzip = true,
            "tool" if value.is_empty() => self.tool = true,
            "shell" if value.is_empty() => self.shell = true,
            _ => bail!("the stand-in knows no `{part}`"),
        }
        Ok(())
    }
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            input,
            output,
            cached,
            created,
            reasoning,
            cost,
            status,
            chunks,
            size,
            wait,
            delay,
            cut,
            piece,
            gzip,
            tool,
            shell,
            tag,
        } = self;
        write!(f, "standin-in{input}-out{output}")?;
        let numbers = [
            ("cached", *cached),
            ("created", *created),
            ("reason", *reasoning),
            ("cost", *cost),
            ("status", status.map(u64::from)),
            ("chunks", chunks.map(u64::from)),
            ("size", size.map(|n| n as u64)),
            ("wait", *wait),
            ("delay", *delay),
            ("cut", cut.map(u64::from)),
            ("piece", piece.map(|n| n as u64)),
        ];
        for (key, value) in numbers {
            if let Some(value) = value {
                write!(f, "-{key}{value}")?;
            }
        }
        for (key, wanted) in [("gzip", gzip), ("tool", tool), ("shell", shell)] {
            if *wanted {
                write!(f, "-{key}")?;
            }
        }
        tag.iter().try_for_each(|tag| write!(f, "-tag{tag}"))
    }
}

impl FromStr for Scenario {
    type Err = anyhow::Error;

    fn from_str(model: &str) -> Result<Self> {
        let parts =
            model.strip_prefix("standin-").context("the model's name has to begin with `standin-`")?;
        let mut scenario = Self::default();
        let mut rest = Some(parts);
        while let Some(parts) = rest {
            if let Some(tag) = parts.strip_prefix("tag") {
                scenario.tag = Some(tag.to_owned());
                break;
            }
            let (part, after) =
                parts.split_once('-').map_or((parts, None), |(part, after)| (part, Some(after)));
            scenario.set(part).with_context(|| format!("in the model's name `{model}`"))?;
            rest = after;
        }
        Ok(scenario)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_survives_the_way_there_and_back() {
        let scenario = Scenario {
            chunks: Some(5),
            size: Some(8 << 20),
            wait: Some(10),
            delay: Some(20),
            cut: Some(3),
            piece: Some(7),
            status: Some(529),
            cost: Some(1250),
            gzip: true,
            tool: true,
            shell: true,
            ..Scenario::new(123, 45).cached(40).created(1).reasoning(7).tag("a-b-7")
        };
        assert_eq!(scenario.model().parse::<Scenario>().unwrap(), scenario);
        assert_eq!("standin-in1-out2".parse::<Scenario>().unwrap(), Scenario::new(1, 2));
    }

    #[test]
    fn a_misspelt_wish_is_refused() {
        assert!("standin-in1-uot2".parse::<Scenario>().is_err());
        assert!("gpt-4o".parse::<Scenario>().is_err());
    }
}
