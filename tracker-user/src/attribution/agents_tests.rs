use std::{fs, os::unix::fs::symlink};

use super::*;

/// A made-up `/proc`.
struct Host(tempfile::TempDir);

impl Host {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// A process that started at that second.
    fn run(&self, pid: u32, parent: u32, second: u64, exe: &str, arguments: &[&str]) {
        let dir = self.0.path().join(pid.to_string());
        fs::create_dir_all(&dir).unwrap();
        let start = second * rustix::param::clock_ticks_per_second();
        let zeroes = "0 ".repeat(17);
        fs::write(dir.join("stat"), format!("{pid} (x) y) S {parent} {zeroes}{start} 0")).unwrap();
        let name = exe.rsplit('/').next().unwrap();
        fs::write(dir.join("comm"), format!("{name}\n")).unwrap();
        fs::write(dir.join("cmdline"), arguments.iter().map(|it| format!("{it}\0")).collect::<String>())
            .unwrap();
        let _ = fs::remove_file(dir.join("exe"));
        symlink(exe, dir.join("exe")).unwrap();
    }

    fn end(&self, pid: u32) {
        fs::remove_dir_all(self.0.path().join(pid.to_string())).unwrap();
    }

    fn agents(&self) -> Agents {
        Agents::new(AgentRoots::default(), self.0.path().to_owned())
    }
}

fn at(second: u64) -> Timestamp {
    Timestamp(second * 1_000_000_000)
}

fn works_for(agents: &Agents, pid: u32, second: u64) -> Option<(String, u32)> {
    agents.of(pid, at(second)).0.map(|Agent { name, pid }| (name, pid))
}

fn claude(pid: u32) -> Option<(String, u32)> {
    Some(("claude".to_owned(), pid))
}

#[test]
fn a_root_is_known_by_its_program_or_its_script() {
    let roots = AgentRoots::default();
    let is = |exe: &str, arguments: &[&str]| {
        let host = Host::new();
        host.run(7, 1, 5, exe, arguments);
        roots.is(&procfs::program(host.0.path(), 7).unwrap()).map(|name| name.to_string())
    };
    let found = |name: &str| Some(name.to_owned());
    assert_eq!(is("/usr/local/bin/claude", &["claude"]), found("claude"));
    assert_eq!(is("/opt/claude/versions/2.1.330", &["claude", "-p", "x"]), found("claude"));
    assert_eq!(is("/usr/bin/node", &["node", "--no-warnings", "/usr/bin/codex", "e"]), found("codex"));
    let cli = "/usr/lib/node_modules/@anthropic-ai/claude-code/cli.js";
    assert_eq!(is("/usr/bin/node", &["node", cli]), found("claude"));
    assert_eq!(is("/usr/bin/python3.11", &["python3", "-m", "aider"]), found("aider"));
    assert_eq!(is("/usr/bin/java", &["java", "-jar", "/usr/share/java/jenkins.war"]), found("jenkins"));
    assert_eq!(is("/opt/actions/bin/Runner.Worker", &["Runner.Worker", "x"]), found("github-actions"));
    for (exe, arguments) in [
        ("/usr/bin/vim", &["vim", "claude"][..]),
        ("/usr/bin/curl", &["curl", "https://h/claude"]),
        ("/usr/bin/python3", &["python3", "train.py", "claude"]),
        ("/usr/bin/python3", &["python3"]),
        ("/usr/bin/bash", &["bash", "-c", "claude -p hello"]),
    ] {
        assert_eq!(is(exe, arguments), None, "{arguments:?}");
    }
}

#[test]
fn the_defaults_are_whole() {
    let AgentRoots(roots) = AgentRoots::default();
    assert_eq!(roots.len(), DEFAULTS.len());
    for (name, texts) in DEFAULTS {
        assert_eq!(roots[*name].len(), texts.len(), "{name}");
    }
    assert!(DEFAULTS.is_sorted());
}

#[test]
fn an_operator_adds_and_takes_away() {
    let read = |text: &str| toml::from_str::<AgentRoots>(text);
    let roots = read("claude = []\nours = [\"our-*\"]\ncodex = [\"my-codex\"]").unwrap();
    let called = |text| roots.called(text).map(|name| name.to_string());
    assert_eq!(called("claude"), None);
    assert_eq!(called("/opt/our-agent").as_deref(), Some("ours"));
    assert_eq!((called("codex"), called("my-codex").as_deref()), (None, Some("codex")));
    assert_eq!(called("aider").as_deref(), Some("aider"));
    assert_eq!(read("").unwrap(), AgentRoots::default());
    assert!(read(&format!("{} = []", "x".repeat(65))).is_err());
    assert!(read("x = \"y\"").is_err());
}

#[test]
fn ancestors_are_found_in_proc() {
    let host = Host::new();
    host.run(1, 0, 0, "/sbin/init", &["init"]);
    host.run(10, 1, 5, "/usr/bin/claude", &["claude"]);
    host.run(11, 10, 6, "/usr/bin/bash", &["bash"]);
    host.run(12, 11, 7, "/usr/bin/curl", &["curl"]);
    host.run(13, 1, 7, "/usr/bin/curl", &["curl"]);
    // Nobody tells of anything: nothing is kept, so that no id is mistaken.
    let agents = host.agents();
    assert_eq!((works_for(&agents, 12, 8), works_for(&agents, 13, 8)), (claude(10), None));
    assert_eq!(works_for(&agents, 12, 6), None, "that was another process");
    host.run(10, 1, 20, "/usr/bin/vim", &["vim"]);
    assert_eq!(works_for(&agents, 12, 8), None, "a parent is not younger than its child");
}

#[test]
fn a_loop_of_parents_ends() {
    let host = Host::new();
    host.run(5, 6, 1, "/bin/a", &["a"]);
    host.run(6, 5, 1, "/bin/b", &["b"]);
    assert_eq!(works_for(&host.agents(), 5, 2), None);
    let agents = host.agents();
    agents.told_up_to(at(3));
    assert_eq!(works_for(&agents, 5, 4), None);
}

#[test]
fn it_holds_when_the_parents_are_gone() {
    let host = Host::new();
    host.run(1, 0, 0, "/sbin/init", &["init"]);
    host.run(10, 1, 5, "/usr/bin/claude", &["claude"]);
    let agents = host.agents();
    agents.told_up_to(at(6));
    // Two forks, of which the first ends at once, and then the agent.
    agents.forked(11, 10, at(7));
    agents.forked(12, 11, at(8));
    agents.ended(11, at(8));
    agents.ended(10, at(9));
    host.end(10);
    host.run(12, 1, 8, "/usr/bin/curl", &["curl"]);
    agents.executed(12, "curl", at(9));
    agents.told_up_to(at(500));
    assert_eq!(works_for(&agents, 12, 500), claude(10));
    // The id of the agent is used again, by somebody else.
    agents.forked(10, 1, at(501));
    agents.forked(13, 10, at(502));
    assert_eq!((works_for(&agents, 10, 503), works_for(&agents, 13, 503)), (None, None));
    assert_eq!(works_for(&agents, 12, 503), claude(10));
    assert_eq!(agents.of(10, at(9)), (None, false), "the one before is forgotten, and never mistaken");
}

#[test]
fn the_nearest_counts_and_one_that_starts_itself_is_one() {
    let host = Host::new();
    host.run(10, 1, 5, "/opt/Runner.Worker", &["Runner.Worker"]);
    let agents = host.agents();
    agents.told_up_to(at(6));
    agents.forked(11, 10, at(7));
    // A script of `env node`: it has its name only until the interpreter is executed.
    agents.executed(11, "claude", at(7));
    agents.executed(11, "node", at(7));
    agents.forked(12, 11, at(8));
    agents.executed(12, "bash", at(8));
    agents.forked(13, 12, at(9));
    agents.executed(13, "claude", at(9));
    agents.forked(14, 10, at(9));
    agents.executed(14, "curl", at(9));
    assert_eq!(works_for(&agents, 13, 10), claude(11));
    assert_eq!(works_for(&agents, 11, 10), claude(11));
    assert_eq!(works_for(&agents, 14, 10), Some(("github-actions".to_owned(), 10)));
}

#[test]
fn an_interpreter_is_judged_by_its_arguments_once_they_are_there() {
    let host = Host::new();
    let agents = host.agents();
    agents.told_up_to(at(6));
    host.run(11, 1, 7, "/usr/bin/node", &[]);
    agents.forked(11, 1, at(7));
    agents.executed(11, "node", at(7));
    assert_eq!(works_for(&agents, 11, 8), None);
    host.run(11, 1, 7, "/usr/bin/node", &["node", "/usr/bin/claude"]);
    agents.forked(12, 11, at(8));
    assert_eq!((works_for(&agents, 11, 9), works_for(&agents, 12, 9)), (claude(11), claude(11)));
}

#[test]
fn what_has_just_begun_is_asked_for_again() {
    let host = Host::new();
    let agents = host.agents();
    host.run(10, 1, 5, "/usr/bin/claude", &["claude"]);
    agents.told_up_to(at(6));
    // A process of which is not told yet, whose parent is gone already.
    host.run(12, 1, 8, "/usr/bin/curl", &["curl"]);
    assert_eq!([agents.of(12, at(9)), agents.of(12, at(9))], [(None, true), (None, true)]);
    agents.forked(11, 10, at(7));
    agents.forked(12, 11, at(8));
    agents.told_up_to(at(10));
    assert_eq!(agents.of(12, at(9)).0.map(|agent| agent.pid), Some(10));
    // One that is gone before it is told of.
    assert_eq!(agents.of(20, at(11)), (None, true));
    agents.told_up_to(at(12));
    assert_eq!(agents.of(20, at(11)), (None, false));
    // What was lost is found again where it is still to be seen.
    agents.lost();
    assert_eq!(works_for(&agents, 10, 13), claude(10));
}
