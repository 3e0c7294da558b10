//! Whose calls they are: users and logins, systemd's units, agents and what they start; and whose are ignored.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use llm_tracker_tests::{
    call::{Agent, CallLine, Login},
    cgroup::Cgroup,
    child::Child,
    client::{self, LIMIT},
    compare::all_exact,
    daemon::{Daemon, SOON},
    scenario::Scenario,
    standin::StandIn,
};

const CHAT: &str = "/v1/chat/completions";
/// A secret among the arguments of an agent.
const SECRET: &str = "sk-agent-secret-51c7";

/// A call of curl's that any user can make: the authority's certificate is for the one who made it.
fn curl(standin: &StandIn, model: &str) -> Command {
    let mut curl = client::curl(standin, CHAT, &client::chat(model));
    curl.arg("--insecure");
    curl
}

fn run(command: Command) -> Result<u32> {
    Ok(Child::spawn(command, LIMIT)?.wait()?.success()?.pid)
}

/// A script called `name`, for `sh` unless it says otherwise.
fn script(folder: &Path, name: &str, text: &str) -> Result<PathBuf> {
    let path = folder.join(name);
    fs::write(&path, text)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
    Ok(path)
}

#[test]
fn two_users() -> Result<()> {
    let standin = StandIn::start()?;
    let mut daemon = Daemon::start_with("[metrics]\nlabels = [\"user\", \"uid\"]\n", "info")?;
    for (uid, user) in [(1, "daemon"), (65534, "nobody")] {
        let model = Scenario::new(3, 4).tag(user).model();
        let mut command = curl(&standin, &model);
        command.uid(uid).gid(uid);
        let call = daemon.wait_for_one(run(command)?)?;
        all_exact(std::slice::from_ref(&call), &standin)?;
        assert_eq!((call.process.uid, call.process.user.as_deref()), (Some(uid), Some(user)));
        let labels = [("gen_ai_request_model", model.as_str()), ("user", user), ("uid", &uid.to_string())];
        assert_eq!(daemon.metrics()?.sum("llm_calls_total", &labels), 1.0);
    }
    daemon.stop()?;
    Ok(())
}

/// A service that begins as root, uses TLS, and goes on as somebody else.
#[test]
fn a_user_that_changes_after_the_first_sight() -> Result<()> {
    let standin = StandIn::start()?;
    let mut daemon = Daemon::start()?;
    let model = Scenario::new(3, 4).tag("n").model();
    let code = "import http.client, json, os, ssl, sys, time\n\
        context = ssl._create_unverified_context()\n\
        def call(tag):\n\
        \x20   connection = http.client.HTTPSConnection('localhost', int(sys.argv[1]), context=context)\n\
        \x20   body = json.dumps({'model': sys.argv[2] + tag, 'messages': []})\n\
        \x20   connection.request('POST', '/v1/chat/completions', body, {'content-type': 'application/json'})\n\
        \x20   connection.getresponse().read()\n\
        call('root')\n\
        os.setuid(1)\n\
        call('daemon')\n";
    let mut python = client::command(&standin, "/usr/bin/python3");
    python.args(["-c", code, &standin.address().port().to_string(), &model]);
    let calls = daemon.wait_for_pid(run(python)?, 2)?;
    for user in ["root", "daemon"] {
        let model = format!("{model}{user}");
        let call = calls.iter().find(|call| call.model.as_ref() == Some(&model)).context("no call")?;
        assert_eq!(call.process.user.as_deref(), Some(user), "{call:#?}");
    }
    daemon.stop()?;
    Ok(())
}

#[test]
fn units_and_slices_as_systemd_names_them() -> Result<()> {
    let standin = StandIn::start()?;
    let config = "[metrics]\nlabels = [\"unit\", \"slice\", \"login_session\", \"login_uid\"]\n";
    let mut daemon = Daemon::start_with(config, "info")?;
    let own = format!("e2e-{}", std::process::id());
    let manager = "/user.slice/user-1.slice/user@1.service/app.slice";
    for (path, unit, slice, login) in [
        (format!("/system.slice/{own}.service"), format!("{own}.service"), "system.slice", None),
        (format!("/{own}.slice/_cpu.service"), "cpu.service".to_owned(), "", None),
        (
            format!("{manager}/app-{own}\\x2dx.scope"),
            format!("app-{own}\\x2dx.scope"),
            "user-1.slice",
            Some(None),
        ),
        (
            "/user.slice/user-1.slice/session-77.scope".to_owned(),
            "session-77.scope".to_owned(),
            "user-1.slice",
            Some(Some("77")),
        ),
    ] {
        let cgroup = Cgroup::new(&path)?;
        let model = Scenario::new(3, 4).tag("unit").model();
        let mut command = curl(&standin, &model);
        cgroup.holds(&mut command)?;
        let call = daemon.wait_for_one(run(command)?)?;
        let slice = if slice.is_empty() { format!("{own}.slice") } else { slice.to_owned() };
        assert_eq!(call.cgroup.as_ref(), Some(&path));
        assert_eq!((call.unit.as_ref(), call.slice.as_ref()), (Some(&unit), Some(&slice)));
        let login = login.map(|session| Login {
            uid: Some(1),
            user: Some("daemon".to_owned()),
            session: session.map(str::to_owned),
        });
        // Where whoever runs this has logged in, that is the kernel's word.
        if !logged_in() {
            assert_eq!(call.login, login);
        }
        let labels = [("unit", unit.as_str()), ("slice", &slice)];
        assert_eq!(daemon.metrics()?.sum("llm_calls_total", &labels), 1.0);
    }
    daemon.stop()?;
    Ok(())
}

fn logged_in() -> bool {
    fs::read_to_string("/proc/self/loginuid").is_ok_and(|uid| uid.trim() != u32::MAX.to_string())
}

#[test]
fn all_that_an_agent_starts_adds_up_to_it() -> Result<()> {
    let standin = StandIn::start()?;
    let mut daemon = Daemon::start_with("[metrics]\nlabels = [\"agent\"]\n", "debug")?;
    let folder = tempfile::tempdir()?;
    // Helpers; one that is started by a script; and one whose parents are gone when it calls, twice over.
    let text = "#!/bin/sh\nshift 2\n\
        for number in 1 2 3 4 5 6 7 8; do \"$@\" & done\nwait\n\
        sh -c '\"$@\"; :' sh \"$@\"\n\
        ( ( sleep 1; exec \"$@\" ) & )\n";
    let claude = script(folder.path(), "claude", text)?;
    let model = Scenario::new(3, 4).tag("agent").model();
    let request = curl(&standin, &model);
    let mut command = client::command(&standin, claude);
    command.args(["--api-key", SECRET]).arg(request.get_program()).args(request.get_args());
    let pid = run(command)?;
    let calls = daemon.wait_for(10, |call| call.model.as_ref() == Some(&model))?;
    all_exact(&calls, &standin)?;
    let agent = Agent { name: "claude".to_owned(), pid };
    for call in &calls {
        assert_eq!(call.agent.as_ref(), Some(&agent), "{call:#?}");
        assert_ne!(call.process.pid, pid);
    }

    // One that its interpreter's arguments tell, which was there before anybody looked at it.
    let text = "import subprocess, sys\nsubprocess.run(sys.argv[1:], check=True)\n";
    let codex = script(folder.path(), "codex", text)?;
    let model = Scenario::new(5, 6).tag("codex").model();
    let request = curl(&standin, &model);
    let mut command = client::command(&standin, "/usr/bin/python3");
    command.arg(codex).arg(request.get_program()).args(request.get_args());
    let pid = run(command)?;
    let call = daemon.wait_for(1, |call| call.model.as_ref() == Some(&model))?.pop().context("no call")?;
    assert_eq!(call.agent, Some(Agent { name: "codex".to_owned(), pid }));

    // And one that works for nobody, in the test's own tree.
    let model = Scenario::new(7, 8).tag("nobody").model();
    let call = daemon.wait_for_one(run(curl(&standin, &model))?)?;
    let metrics = daemon.metrics()?;
    assert_eq!(metrics.sum("llm_calls_total", &[("agent", "claude")]), 10.0 + own(&call, "claude"));
    assert_eq!(metrics.sum("llm_tokens_total", &[("agent", "codex"), ("type", "output")]), 6.0);
    let log = daemon.log()?;
    let events = fs::read_to_string(daemon.events_file())?;
    for text in [log, events, metrics.text] {
        ensure!(!text.contains(SECRET), "an argument of an agent is in {text}");
    }
    daemon.stop()?;
    Ok(())
}

/// How many calls the test's own agent has made, where an agent runs it.
fn own(call: &CallLine, name: &str) -> f64 {
    f64::from(u8::from(call.agent.as_ref().is_some_and(|agent| agent.name == name)))
}

/// Runs curl in many ways, of which some are to be ignored from the first byte on.
struct Ignored {
    standin: StandIn,
    daemon: Daemon,
}

impl Ignored {
    fn start(filters: &str) -> Result<Self> {
        Ok(Self { standin: StandIn::start()?, daemon: Daemon::start_with(filters, "debug")? })
    }

    /// Connections that a filter took out, in the kernel or in the daemon.
    fn filtered(&self, by: &str) -> Result<f64> {
        Ok(self.daemon.metrics()?.sum("llm_tracker_connections_filtered_total", &[("by", by)]))
    }

    /// Requires that a call is reported.
    fn watched(&mut self, change: impl FnOnce(&mut Command) -> Result<()>) -> Result<CallLine> {
        let model = Scenario::new(3, 4).tag("watched").model();
        let mut command = curl(&self.standin, &model);
        change(&mut command)?;
        self.daemon.wait_for_one(run(command)?)
    }

    /// Requires that calls are not, and that from the second on nothing of them leaves the kernel.
    fn ignored(&mut self, change: impl Fn(&mut Command) -> Result<()>, by_kernel: bool) -> Result<()> {
        let model = Scenario::new(3, 4).tag("ignored-marker").model();
        let (kernel, daemon) = (self.filtered("kernel")?, self.filtered("daemon")?);
        let deadline = Instant::now() + SOON;
        let (mut first, mut calls) = (true, 0.0);
        while calls < 4.0 {
            let mut command = curl(&self.standin, &model);
            change(&mut command)?;
            run(command)?;
            calls += 1.0;
            // How it is ignored is said each second.
            if std::mem::take(&mut first) {
                while self.filtered("kernel")? + self.filtered("daemon")? < kernel + daemon + 1.0 {
                    ensure!(Instant::now() < deadline, "the first was not counted");
                    thread::sleep(Duration::from_millis(50));
                }
            }
        }
        while self.filtered("kernel")? + self.filtered("daemon")? < kernel + daemon + calls {
            ensure!(Instant::now() < deadline, "not all were counted: {}", self.daemon.metrics()?.text);
            thread::sleep(Duration::from_millis(50));
        }
        if by_kernel {
            let kernel = self.filtered("kernel")? - kernel;
            ensure!(kernel >= calls - 1.0, "{kernel} of {calls} connections were ignored by the kernel side");
        }
        let events = fs::read_to_string(self.daemon.events_file())?;
        let metrics = self.daemon.metrics()?.text;
        for text in [events, metrics, self.daemon.log()?] {
            ensure!(!text.contains("ignored-marker"), "it is in {text}");
        }
        Ok(())
    }
}

fn run_by(uid: u32) -> impl Fn(&mut Command) -> Result<()> {
    move |command| {
        command.uid(uid);
        Ok(())
    }
}

#[test]
fn ignored_by_user() -> Result<()> {
    let filters = "[[filter]]\naction = \"watch\"\nuser = \"nobody\"\n\
        [[filter]]\naction = \"ignore\"\nuser = \"daemon\"\n";
    let mut host = Ignored::start(filters)?;
    host.ignored(run_by(1), true)?;
    host.watched(run_by(65534))?;
    host.watched(|_| Ok(()))?;
    host.daemon.stop()?;
    Ok(())
}

/// Whoever was ignored is watched after a reload, and the other way round.
#[test]
fn filters_that_change() -> Result<()> {
    let ignoring = |user: &str| format!("[[filter]]\naction = \"ignore\"\nuser = \"{user}\"\n");
    let mut host = Ignored::start(&ignoring("daemon"))?;
    host.ignored(run_by(1), true)?;
    host.watched(run_by(65534))?;
    host.daemon.reload(&ignoring("nobody"))?;
    host.ignored(run_by(65534), true)?;
    host.watched(run_by(1))?;
    host.daemon.reload("")?;
    for uid in [1, 65534] {
        host.watched(run_by(uid))?;
    }
    host.daemon.stop()?;
    Ok(())
}

#[test]
fn ignored_by_cgroup_and_unit() -> Result<()> {
    let own = format!("e2e-{}", std::process::id());
    let filters = format!(
        "[[filter]]\naction = \"ignore\"\nunit = \"{own}-a.service\"\n[[filter]]\naction = \"ignore\"\ncgroup = \"/{own}-b/*\"\n"
    );
    let mut host = Ignored::start(&filters)?;
    for path in [format!("/system.slice/{own}-a.service"), format!("/{own}-b/inner")] {
        let cgroup = Cgroup::new(&path)?;
        host.ignored(|curl| cgroup.holds(curl), true)?;
    }
    let cgroup = Cgroup::new(&format!("/system.slice/{own}-c.service"))?;
    let call = host.watched(|curl| cgroup.holds(curl))?;
    assert_eq!(call.unit, Some(format!("{own}-c.service")));
    host.daemon.stop()?;
    Ok(())
}

/// A process that is ignored for its executable is watched when it executes another, and the other way round.
#[test]
fn ignored_by_executable() -> Result<()> {
    let mut host = Ignored::start("[[filter]]\naction = \"ignore\"\nexe = \"python3*\"\n")?;
    // The interpreter has used TLS before, so that it is known.
    let code = "import ssl, sys, os, time\nssl.create_default_context()\ntime.sleep(0.5)\nos.execv(sys.argv[1], sys.argv[1:])\n";
    let model = Scenario::new(3, 4).tag("executed").model();
    let request = curl(&host.standin, &model);
    let mut python = client::command(&host.standin, "/usr/bin/python3");
    python.args(["-c", code]).arg(request.get_program()).args(request.get_args());
    let call = host.daemon.wait_for_one(run(python)?)?;
    assert_eq!(call.process.exe.as_deref(), Some("/usr/bin/curl"));

    let model = Scenario::new(3, 4).tag("ignored-marker").model();
    let code = "import ssl, sys, time, urllib.request\n\
        context = ssl._create_unverified_context()\ntime.sleep(0.5)\n\
        headers = {'content-type': 'application/json'}\n\
        for _ in range(4): urllib.request.urlopen(urllib.request.Request(sys.argv[1], sys.argv[2].encode(), headers), context=context).read()\n";
    let before = host.filtered("kernel")?;
    let mut python = client::command(&host.standin, "/usr/bin/python3");
    python.args(["-c", code, &format!("{}{CHAT}", host.standin.url()), &client::chat(&model).to_string()]);
    run(python)?;
    let deadline = Instant::now() + SOON;
    while host.filtered("kernel")? < before + 4.0 {
        ensure!(Instant::now() < deadline, "{}", host.daemon.metrics()?.text);
        thread::sleep(Duration::from_millis(50));
    }
    host.watched(|_| Ok(()))?;
    ensure!(!fs::read_to_string(host.daemon.events_file())?.contains("ignored-marker"), "it was reported");
    host.daemon.stop()?;
    Ok(())
}

#[test]
fn ignored_by_host() -> Result<()> {
    let mut host = Ignored::start("[[filter]]\naction = \"ignore\"\nhost = \"*.ignored.example\"\n")?;
    let model = Scenario::new(3, 4).tag("ignored-marker").model();
    for _ in 0..3 {
        let body = client::messages(&model, false);
        let mut curl = client::curl_by_real_name(&host.standin, "llm.ignored.example", "/v1/messages", &body);
        curl.arg("--insecure");
        run(curl)?;
    }
    host.watched(|_| Ok(()))?;
    // What is counted is said each second.
    let deadline = Instant::now() + SOON;
    while host.filtered("daemon")? < 3.0 {
        ensure!(Instant::now() < deadline, "{}", host.daemon.metrics()?.text);
        thread::sleep(Duration::from_millis(50));
    }
    let metrics = host.daemon.metrics()?;
    assert!(!metrics.text.contains("ignored-marker"), "{}", metrics.text);
    ensure!(!fs::read_to_string(host.daemon.events_file())?.contains("ignored-marker"), "it was reported");
    host.daemon.stop()?;
    Ok(())
}
