//! `llm-tracker export`: stored calls for other programs.

use std::io::{self, Write};

use clap::Args;

use super::{
    Source, Which,
    shapes::{Format, Shape},
};
use crate::{config::Config, terminal::Progress};

/// Arguments of `export`.
#[derive(Clone, Debug, Args)]
pub struct ExportArgs {
    /// In which shape.
    #[arg(long, value_name = "FORMAT")]
    pub format: Format,
    #[command(flatten)]
    #[expect(missing_docs, reason = "flattened: clap would take the text for the command's own")]
    pub which: Which,
    /// The latest so many calls; more of them take several runs, with --until.
    #[arg(long, short = 'n', value_name = "NUMBER", default_value_t = 100_000)]
    pub most: u32,
}

/// Writes one JSON object a line. Says on standard error if there may be earlier calls.
///
/// # Errors
/// There is nobody to ask, or nobody to write to.
pub fn export(args: &ExportArgs, config: &Config, out: impl Write) -> anyhow::Result<()> {
    let ExportArgs { format, which, most } = args;
    let progress = Progress::start("Looking for calls");
    let calls = Source::open(which.ledger.as_deref(), config)?.calls(&which.question(&[]), *most)?;
    drop(progress);
    if calls.len() as u64 >= u64::from(*most) {
        eprintln!("llm-tracker: the latest {most} calls; --most and --until have others");
    }
    let mut out = io::BufWriter::new(out);
    let mut written = Ok(());
    let mut line = |line: &serde_json::Value| {
        if written.is_ok() {
            written = writeln!(out, "{line}");
        }
    };
    let mut shape = Shape::new(*format);
    for call in &calls {
        shape.take(call, &mut line);
    }
    shape.finish(&mut line);
    match written.and_then(|()| out.flush()) {
        // Whoever wanted to read has gone.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => Ok(written?),
    }
}
