//! One prompt, from an agent's start to its end, and what the daemon says of it.

use std::{
    fs,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use llm_tracker_tests::{
    call::CallLine,
    child::Child,
    daemon::Daemon,
    scenario::Scenario,
    standin::{Served, StandIn},
};
use tempfile::TempDir;

use crate::fetch::{Release, here};

/// Longest that an agent may take for one prompt.
const LIMIT: Duration = Duration::from_secs(90);

/// How long the daemon may take to report what the agent has done.
const SOON: Duration = Duration::from_secs(5);

/// The authorities of the system, which an agent may have been told to believe.
const SYSTEM_AUTHORITIES: &str = "/etc/ssl/certs/ca-certificates.crt";

/// What a conversation came to.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// LLM calls that the stand-in answered.
    pub(crate) made: usize,
    /// Of them, those that the daemon reported.
    pub(crate) seen: usize,
    /// Of these, those with the right tokens, model, tools and process.
    pub(crate) exact: usize,
    /// The tools that the model called, of which the agent brought the result.
    pub(crate) tools: Vec<String>,
    /// What was not as it should be.
    pub(crate) remarks: Vec<String>,
}

impl Outcome {
    /// Whether the agent made its calls, and each was reported exactly as it was.
    pub(crate) fn is_good(&self) -> bool {
        self.made > 0 && self.made == self.exact && self.remarks.is_empty()
    }
}

/// A release with a home, a stand-in and a model to ask for.
pub(crate) struct Setting<'a> {
    release: &'a Release,
    standin: &'a StandIn,
    home: TempDir,
    model: String,
}

impl<'a> Setting<'a> {
    /// Makes its home, and the files in it.
    ///
    /// # Errors
    ///
    /// Where they cannot be written.
    pub(crate) fn new(release: &'a Release, standin: &'a StandIn) -> Result<Self> {
        let home = tempfile::Builder::new().prefix("llm-tracker-agent-").tempdir()?;
        let model = Scenario { shell: true, ..Scenario::new(321, 45).cached(40) }.model();
        let setting = Self { release, standin, home, model };
        for (name, content) in release.agent.files {
            let path = setting.home().join(name);
            fs::create_dir_all(path.parent().unwrap_or(setting.home()))?;
            fs::write(path, setting.fill(content))?;
        }
        fs::create_dir(setting.work())?;
        let mut bundle = fs::read(SYSTEM_AUTHORITIES).unwrap_or_default();
        bundle.extend(fs::read(standin.identity().authority())?);
        fs::write(setting.bundle(), bundle)?;
        Ok(setting)
    }

    pub(crate) fn home(&self) -> &Path {
        self.home.path()
    }

    /// Whether a line of the daemon's log is about a file of this release.
    pub(crate) fn is_about(&self, line: &str) -> bool {
        [self.home(), &self.release.modules].iter().any(|folder| line.contains(&*folder.to_string_lossy()))
    }

    fn work(&self) -> PathBuf {
        self.home().join("work")
    }

    fn bundle(&self) -> PathBuf {
        self.home().join("authorities.pem")
    }

    /// The program that makes the calls.
    pub(crate) fn program(&self) -> PathBuf {
        self.fill(self.release.agent.program).into()
    }

    /// Puts what is known where the catalogue's texts want it.
    fn fill(&self, text: &str) -> String {
        let modules = self.release.modules.display().to_string();
        let package = format!("{modules}/{}", here(self.release.agent.package.name));
        here(text)
            .replace("{package}", &package)
            .replace("{modules}", &modules)
            .replace("{home}", &self.home().display().to_string())
            .replace("{url}", &self.standin.url())
            .replace("{model}", &self.model)
            .replace("{authority}", &self.standin.identity().authority().display().to_string())
            .replace("{bundle}", &self.bundle().display().to_string())
    }

    fn command(&self) -> Command {
        let agent = self.release.agent;
        let mut command = if agent.system_authorities {
            let mut command = Command::new("/usr/bin/unshare");
            let script = "mount --bind \"$1\" \"$2\"; shift 2; exec \"$@\"";
            command.args(["--mount", "/bin/sh", "-ec", script, "sh"]);
            command.arg(self.bundle()).arg(SYSTEM_AUTHORITIES).arg(self.program());
            command
        } else {
            Command::new(self.program())
        };
        command
            .args(agent.arguments.iter().map(|argument| self.fill(argument)))
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("HOME", self.home())
            .env("TERM", "dumb")
            .envs(agent.environment.iter().map(|(name, value)| (*name, self.fill(value))))
            .current_dir(self.work())
            .process_group(0);
        command
    }

    /// Lets the agent complete the prompt, and lays the daemon's word beside the stand-in's.
    ///
    /// # Errors
    ///
    /// Where the agent cannot be started, or the daemon's events cannot be read. That the agent failed is in
    /// the outcome.
    pub(crate) fn converse(&self, daemon: &Daemon) -> Result<Outcome> {
        let before = self.standin.served().len();
        // Whatever else the host calls is not this agent's.
        let here = |call: &CallLine| call.server_port == Some(self.standin.address().port());
        let known = daemon.calls(here)?.len();
        let agent = Child::spawn(self.command(), LIMIT)?;
        let group = agent.pid();
        let ended = agent.wait().and_then(|finished| finished.success().map(drop));
        end_group(group)?;

        let served = self.standin.served();
        let served = served.get(before..).unwrap_or_default();
        let deadline = Instant::now() + SOON;
        let calls = loop {
            let calls = daemon.calls(here)?.split_off(known);
            if calls.len() >= served.len() || Instant::now() >= deadline {
                break calls;
            }
            thread::sleep(Duration::from_millis(50));
        };
        let mut outcome = compare(served, &calls, &self.program())?;
        if self.release.agent.has_shell && outcome.tools.is_empty() {
            outcome.remarks.push("no tool was run".to_owned());
        }
        if let Err(error) = ended {
            outcome.remarks.push(shortened(&format!("{error:#}")));
        }
        Ok(outcome)
    }
}

/// Kills what an agent has left behind.
fn end_group(group: u32) -> Result<()> {
    let group = libc::pid_t::try_from(group)?;
    ensure!(group > 1, "no process group of an agent");
    // SAFETY: a system call without pointers. The group is that of our own child; it is empty, and the call
    // fails, where all its processes have ended.
    unsafe { libc::kill(-group, libc::SIGKILL) };
    Ok(())
}

/// Counts which answers were reported, and which of them exactly.
fn compare(served: &[Served], calls: &[CallLine], program: &Path) -> Result<Outcome> {
    let program = fs::canonicalize(program).with_context(|| format!("no {}", program.display()))?;
    let mut outcome = Outcome { made: served.len(), ..Outcome::default() };
    if served.iter().any(|answer| answer.tool_ran) {
        outcome.tools.extend(served.iter().filter_map(|answer| answer.tool.clone()));
    }
    for answer in served {
        // Gemini's answers carry their number alone, which is an id like any other.
        let mut found = calls.iter().filter(|call| call.response_id.as_ref() == Some(&answer.id));
        let Some(call) = found.next() else { continue };
        outcome.seen += 1;
        // On a WebSocket no call has a status of its own: what is reported is that of the upgrade.
        let status = call.status.map(|status| if status == 101 { 200 } else { status });
        let call = CallLine { status, ..call.clone() };
        let exe = call.process.exe.as_deref().map(Path::new);
        if found.next().is_some() {
            outcome.remarks.push(format!("{} was reported twice", answer.id));
        } else if let Err(wrong) = call.compare(answer) {
            outcome.remarks.push(wrong);
        } else if exe != Some(&program) || call.role != "client" {
            outcome.remarks.push(format!("the {} is {:?}", call.role, call.process));
        } else {
            outcome.exact += 1;
        }
    }
    let known = |call: &&CallLine| !served.iter().any(|answer| call.response_id.as_ref() == Some(&answer.id));
    outcome.remarks.extend(calls.iter().filter(known).map(|call| {
        let CallLine { operation, path, status, error, usage_source, .. } = call;
        format!("also seen: {operation} {path}, status {status:?}, {usage_source}, error {error:?}")
    }));
    Ok(outcome)
}

/// The last words of what an agent said: there the reason stands.
fn shortened(text: &str) -> String {
    const LONGEST: usize = 300;
    let words: Vec<_> = text.split_whitespace().collect();
    let text = words.join(" ");
    let cut = text.char_indices().rev().nth(LONGEST - 1).map_or(0, |(at, _)| at);
    text[cut..].to_owned()
}
