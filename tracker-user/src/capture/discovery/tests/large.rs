//! Files that take long to judge.

use super::*;

/// A large file waits to be judged, and nothing waits for it. Once judged it is known, also after its
/// hooks are gone.
#[test]
fn a_large_library_is_judged_aside() {
    let folder = tempfile::tempdir().unwrap();
    let Some(library) = unknown_libssl(folder.path()) else { return };
    fs::OpenOptions::new().append(true).open(&library).unwrap().set_len(9 << 20).unwrap();
    let Some(mut child) = user(&library) else { return };
    wait_until_loaded(&mut child);
    let mappings = maps::mappings(child.id()).unwrap();
    let mapping = mappings.into_iter().find(|mapping| library.as_os_str() == &*mapping.path).unwrap();
    let (sender, told) = mpsc::channel();
    let config = Config { linger: Duration::ZERO, standing_folders: Vec::new(), ..Config::default() };
    let mut table = Table::new(Recorder { told: sender, refuse: &[] }, &config);

    table.mapped(child.id(), mapping.clone());
    assert_eq!((told.try_iter().count(), table.report()), (0, Vec::new()));
    let large = table.next_large().unwrap();
    let located = locate(&large.file);
    table.settle(large, located);
    assert!(told.try_iter().count() > 0);
    assert_eq!(table.take_events(), [ProcessEvent::Seen { pid: child.id() }]);

    table.ended(child.id());
    table.tick(Instant::now());
    assert_eq!(table.report(), []);
    told.try_iter().for_each(drop);
    table.mapped(child.id(), mapping);
    assert!(told.try_iter().any(|told| matches!(told, Told::Attached { .. })));
    assert!(table.next_large().is_none());
    assert_eq!(table.counters.judged, 1);
    end(child);
}
