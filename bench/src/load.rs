//! The process that is watched: TLS through the system's libssl, both ends in one process.
//!
//! A benchmark starts itself again with [`ARGUMENT`] and talks to the child over its standard
//! streams, a line a command. One child lives through the whole run, so that its code and data lie
//! at the same addresses in every variant.

use std::{
    env,
    io::{BufRead as _, BufReader, Write as _},
    path::PathBuf,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};

use crate::{
    libssl::{End, Libssl, Pair},
    sample, traffic,
};

/// The argument that turns a benchmark into its load.
pub const ARGUMENT: &str = "__load";

/// Whose traffic a connection carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A stream of OpenAI's chat completions that goes on for as long as the measurement.
    Llm,
    /// HTTP of a host that serves no model.
    Other,
}

/// What to do on one connection.
#[derive(Clone, Copy, Debug)]
pub struct Pairs {
    /// What it carries.
    pub kind: Kind,
    /// Bytes of each `SSL_write`, and of the `SSL_read` that takes them.
    pub size: usize,
    /// Bursts that are timed, each for itself.
    pub bursts: usize,
    /// Write and read pairs of a burst.
    pub pairs: usize,
    /// Rest after each burst, not timed: the reader of the ring buffer empties it.
    pub rest: Duration,
}

/// Given to user space to judge a new connection before the clock runs.
const JUDGEMENT: Duration = Duration::from_millis(400);
const JUDGEMENT_STEPS: u32 = 20;

/// A child that makes TLS calls on command.
pub struct Load {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
    /// The libssl that it uses.
    pub library: PathBuf,
}

impl Load {
    /// Starts this executable again as the load.
    ///
    /// # Errors
    /// Where it cannot be started or finds no libssl.
    pub fn start() -> Result<Self> {
        let mut child = Command::new(env::current_exe()?)
            .arg(ARGUMENT)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("start the load")?;
        let stdin = child.stdin.take();
        let stdout = BufReader::new(child.stdout.take().context("the load has no output")?);
        let mut load = Self { child, stdin, stdout, library: PathBuf::new() };
        load.library = load.answer()?.into();
        Ok(load)
    }

    /// Nanoseconds of one `SSL_write` and the `SSL_read` of the same bytes: the median of the bursts.
    ///
    /// # Errors
    /// Where the load failed; its own message is on standard error.
    pub fn pairs(&mut self, work: Pairs) -> Result<f64> {
        let kind = match work.kind {
            Kind::Llm => "llm",
            Kind::Other => "other",
        };
        let rest = work.rest.as_micros();
        let command = format!("pairs {kind} {} {} {} {rest}", work.size, work.bursts, work.pairs);
        Ok(self.command(&command)?.parse()?)
    }

    /// Opens `pairs` connections, both ends here, each with an LLM's stream in flight.
    ///
    /// # Errors
    /// As [`pairs`](Self::pairs).
    pub fn hold(&mut self, pairs: usize) -> Result<()> {
        self.command(&format!("hold {pairs}")).map(drop)
    }

    /// Sends each open stream some more events.
    ///
    /// # Errors
    /// As [`pairs`](Self::pairs).
    pub fn more(&mut self) -> Result<()> {
        self.command("more").map(drop)
    }

    /// Ends each open stream as the provider would and closes its connection.
    ///
    /// # Errors
    /// As [`pairs`](Self::pairs).
    pub fn release(&mut self) -> Result<()> {
        self.command("release").map(drop)
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    fn command(&mut self, command: &str) -> Result<String> {
        let stdin = self.stdin.as_mut().context("the load is gone")?;
        writeln!(stdin, "{command}").context("the load is gone")?;
        self.answer()
    }

    fn answer(&mut self) -> Result<String> {
        let mut line = String::new();
        ensure!(self.stdout.read_line(&mut line)? > 0, "the load ended early");
        Ok(line.trim_end().to_owned())
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        // The end of its input ends it.
        self.stdin = None;
        let _ = self.child.wait();
    }
}

/// Whether this process was started to be the load.
#[must_use]
pub fn is_load() -> bool {
    env::args().nth(1).is_some_and(|argument| argument == ARGUMENT)
}

/// Does what the lines of standard input say, until its end.
///
/// # Errors
/// At the first command that fails.
pub fn serve() -> Result<()> {
    let library = Libssl::load()?;
    println!("{}", library.path().display());
    let mut held = Vec::new();
    for line in std::io::stdin().lines() {
        let line = line?;
        let words: Vec<&str> = line.split(' ').collect();
        match words.as_slice() {
            ["pairs", kind, size, bursts, pairs, rest] => {
                let work = Pairs {
                    kind: if *kind == "llm" { Kind::Llm } else { Kind::Other },
                    size: size.parse()?,
                    bursts: bursts.parse()?,
                    pairs: pairs.parse()?,
                    rest: Duration::from_micros(rest.parse()?),
                };
                println!("{}", measure(&library, work)?);
            }
            ["hold", pairs] => {
                for _ in 0..pairs.parse::<usize>()? {
                    held.push(Stream::open(&library, Kind::Llm)?);
                    breathe(held.len());
                }
                more(&mut held)?;
                println!("ok");
            }
            ["more"] => {
                more(&mut held)?;
                println!("ok");
            }
            ["release"] => {
                for (index, stream) in held.drain(..).enumerate() {
                    stream.end()?;
                    breathe(index);
                }
                println!("ok");
            }
            _ => bail!("no such command"),
        }
    }
    Ok(())
}

/// A pause now and then: what is measured with many connections is their memory, not a burst.
fn breathe(index: usize) {
    if index.is_multiple_of(16) {
        sleep(Duration::from_millis(5));
    }
}

fn more(streams: &mut [Stream]) -> Result<()> {
    let record = traffic::openai_record(2048)?;
    for (index, stream) in streams.iter_mut().enumerate() {
        stream.pair.send(End::Server, &record, &mut stream.buffer)?;
        breathe(index);
    }
    Ok(())
}

/// A connection whose answer has begun.
struct Stream {
    pair: Pair,
    kind: Kind,
    buffer: Vec<u8>,
}

impl Stream {
    fn open(library: &Libssl, kind: Kind) -> Result<Self> {
        let mut pair = library.pair()?;
        let mut buffer = vec![0; 16 << 10];
        match kind {
            Kind::Llm => {
                pair.send(End::Client, &traffic::openai_request(), &mut buffer)?;
                pair.send(End::Server, traffic::STREAM_HEAD, &mut buffer)?;
            }
            Kind::Other => {
                let request =
                    b"GET /pool/main.tar HTTP/1.1\r\nHost: files.example.org\r\nAccept: */*\r\n\r\n";
                let head = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-tar\r\nContent-Length: 999999999999\r\n\r\n";
                pair.send(End::Client, request, &mut buffer)?;
                pair.send(End::Server, head, &mut buffer)?;
                // The daemon gives up a connection after some of what is no LLM's.
                for _ in 0..16 {
                    pair.send(End::Server, &[b'.'; 16 << 10], &mut buffer)?;
                }
            }
        }
        Ok(Self { pair, kind, buffer })
    }

    /// Ends the answer as a provider would, where it is one.
    fn end(mut self) -> Result<()> {
        if self.kind == Kind::Llm {
            let ending = traffic::chunked(traffic::openai_ending().as_bytes());
            self.pair.send(End::Server, &ending, &mut self.buffer)?;
            self.pair.send(End::Server, traffic::LAST_CHUNK, &mut self.buffer)?;
        }
        Ok(())
    }
}

fn measure(library: &Libssl, work: Pairs) -> Result<f64> {
    let mut stream = Stream::open(library, work.kind)?;
    let record = match work.kind {
        Kind::Llm => traffic::openai_record(work.size)?,
        Kind::Other => vec![b'.'; work.size],
    };
    for _ in 0..JUDGEMENT_STEPS {
        stream.pair.send(End::Server, &record, &mut stream.buffer)?;
        sleep(JUDGEMENT / JUDGEMENT_STEPS);
    }
    let mut bursts = Vec::with_capacity(work.bursts);
    for _ in 0..work.bursts {
        let start = Instant::now();
        for _ in 0..work.pairs {
            stream.pair.write(End::Server, &record)?;
            let read = stream.pair.read(End::Client, &mut stream.buffer)?;
            debug_assert_eq!(read, record.len(), "a record of up to 16 KiB is read at once");
        }
        bursts.push(start.elapsed().as_nanos() as f64 / work.pairs as f64);
        sleep(work.rest);
    }
    stream.end()?;
    sample::median(&bursts).context("nothing was measured")
}
