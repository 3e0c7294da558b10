//! Which program a process runs.

use super::*;

#[test]
fn the_programs_of_processes_that_are_gone_are_known() {
    if !has_side_band() {
        return;
    }
    let programs = Programs::default();
    let running = start(Config { programs: programs.clone(), ..Config::default() });
    // Of one that stays there is an answer of `/proc` to compare with.
    let mut child = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.as_mut().unwrap().write_all(b"loaded\n").unwrap();
    wait_until_loaded(&mut child);
    let exe = fs::read_link(format!("/proc/{}/exe", child.id())).unwrap();
    end(child);
    let mut ran = Vec::new();
    for _ in 0..50 {
        let mut child = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        // `spawn` returns when the old program is gone, which is before the new one has its name.
        child.stdin.as_mut().unwrap().write_all(b"loaded\n").unwrap();
        wait_until_loaded(&mut child);
        ran.push((child.id(), sideband::now()));
        end(child);
    }
    for (pid, at) in ran {
        eventually("its program", || programs.exe(pid, "cat", at).is_some());
        assert!(!Path::new(&format!("/proc/{pid}")).exists());
        assert_eq!(programs.exe(pid, "cat", at).as_deref().map(Path::new), Some(exe.as_path()));
        assert_eq!(programs.exe(pid, "cat", sideband::now()), None, "it has ended");
    }
    running.handle.stop();
}

#[test]
fn a_script_and_the_program_it_becomes_are_told_apart() {
    if !has_side_band() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("cat");
    fs::write(&script, "#!/bin/sh\nread line\necho\nexec /bin/cat\n").unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    let programs = Programs::default();
    let running = start(Config { programs: programs.clone(), ..Config::default() });
    let mut child = Command::new(&script).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let exe = |pid| fs::read_link(format!("/proc/{pid}/exe")).unwrap();
    let (shell, first) = (exe(child.id()), sideband::now());
    child.stdin.as_mut().unwrap().write_all(b"line\n").unwrap();
    eventually("the exec", || exe(child.id()) != shell);
    let (cat, second) = (exe(child.id()), sideband::now());
    // Its end wakes the reader, so that the time before is known to be over.
    let pid = child.id();
    end(child);
    eventually("its program", || programs.exe(pid, "cat", second).is_some());
    assert_eq!(programs.exe(pid, "cat", second).as_deref().map(Path::new), Some(cat.as_path()));
    assert_eq!(programs.exe(pid, "cat", first), None, "that was the shell, under the same name");
    running.handle.stop();
}
