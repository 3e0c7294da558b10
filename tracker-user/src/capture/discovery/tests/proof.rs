//! What traffic says about a plan, and what comes of it.

use super::*;

#[test]
fn a_plan_is_verified_or_refuted_by_its_traffic() {
    let folder = tempfile::tempdir().unwrap();
    let Some(library) = unknown_libssl(folder.path()) else { return };
    let inode = fs::metadata(&library).unwrap().ino();
    let config = Config { linger: Duration::from_millis(200), ..Config::default() };
    let running = start(config);
    let state = || object(&running.handle.snapshot(), &library).map(|object| object.state.label());
    let Some(mut child) = user(&library) else { return };
    wait_until_loaded(&mut child);
    let hooked = |told: &Told| matches!(told, Told::Attached { inode: of, .. } if *of == inode);
    let Told::Attached { plan, .. } = wait_for(&running.told, hooked) else { unreachable!() };
    eventually("it is hooked", || state() == Some("hooked"));

    running.handle.prove(vec![(plan, Proof::Verified)]);
    eventually("it is verified", || state() == Some("verified"));

    running.handle.prove(vec![(plan, Proof::Refuted)]);
    wait_for(&running.told, |told| *told == Told::Detached { inode });
    eventually("it is refuted", || state() == Some("refuted"));
    assert_eq!(running.handle.snapshot().counters.refuted, 1);

    // Remembered when the file comes back after all is forgotten that was known of it.
    end(child);
    eventually("it is forgotten", || state().is_none());
    while running.told.try_recv().is_ok() {}
    let Some(mut child) = user(&library) else { return };
    wait_until_loaded(&mut child);
    eventually("it is known to be refuted", || state() == Some("refuted"));
    assert!(!running.told.try_iter().any(|told| hooked(&told)), "hooked again");
    end(child);
}
