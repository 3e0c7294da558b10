//! Files that lie in other mount namespaces than ours.

use super::*;

/// Runs a shell script as the first process of a mount namespace of its own. It has to say `loaded`, and
/// to end with its input.
fn in_namespace(script: &str, arguments: &[&Path]) -> Option<Child> {
    let mut child = Command::new("unshare")
        .args(["--mount", "sh", "-e", "-c", script, "sh"])
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    if line != "loaded\n" {
        eprintln!("SKIPPED: no mount namespaces for this user, or no such mounts");
        child.wait().unwrap();
        return None;
    }
    Some(child)
}

const LOAD: &str = r#"exec python3 -c 'import ctypes,sys
ctypes.CDLL(sys.argv[1]); print("loaded", flush=True); sys.stdin.read()' "#;

#[test]
fn hooks_go_with_the_last_process_of_a_mount_namespace() {
    let folder = tempfile::tempdir().unwrap();
    let Some(library) = unknown_libssl(folder.path()) else { return };
    let hidden = folder.path().join("hidden");
    fs::create_dir(&hidden).unwrap();
    let running = start(Config::default());
    let script = format!(r#"mount -t tmpfs none "$2"; cp "$1" "$2/l.so"; {LOAD} "$2/l.so""#);
    let Some(child) = in_namespace(&script, &[&library, &hidden]) else { return };
    let path = hidden.join("l.so");
    assert!(!path.exists(), "it can be seen from here");
    eventually("hooked", || object(&running.handle.snapshot(), &path).is_some_and(|o| o.users == 1));
    end(child);
    let began = Instant::now();
    eventually("unhooked", || object(&running.handle.snapshot(), &path).is_none());
    assert!(began.elapsed() < Config::default().linger);
}

#[test]
fn containers_of_one_image_share_the_hooks() {
    let folder = tempfile::tempdir().unwrap();
    let disk = folder.path().join("disk");
    fs::create_dir(&disk).unwrap();
    let Some(library) = unknown_libssl(&disk) else { return };
    fs::rename(&library, disk.join("l.so")).unwrap();
    let running = start(Config::default());
    let script = format!(
        r#"mkdir "$2"; mount -t overlay -o "lowerdir=$1:/var/empty-or-not$3" o "$2"; {LOAD} "$2/l.so""#
    );
    let second_layer = folder.path().join("layer");
    fs::create_dir(&second_layer).unwrap();
    let script = script.replace("/var/empty-or-not$3", "$3");
    let roots = [folder.path().join("first"), folder.path().join("second")];
    let Some(first) = in_namespace(&script, &[&disk, &roots[0], &second_layer]) else { return };
    let Some(second) = in_namespace(&script, &[&disk, &roots[1], &second_layer]) else { return end(first) };
    let of_ours = || {
        let snapshot = running.handle.snapshot();
        snapshot
            .objects
            .into_iter()
            .find(|object| roots.iter().any(|root| object.path.starts_with(root.to_str().unwrap())))
    };
    eventually("both are users of one object", || of_ours().is_some_and(|object| object.users == 2));
    let attached = running.handle.snapshot().counters.attached;
    // The first takes its mount with it: the hooks move to the second.
    end(first);
    eventually("hooked anew", || running.handle.snapshot().counters.attached > attached);
    eventually("one user", || {
        of_ours().is_some_and(|object| object.users == 1 && matches!(object.state, State::Hooked { .. }))
    });
    end(second);
    eventually("unhooked", || of_ours().is_none());
}
