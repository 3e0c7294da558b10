//! Files that take long to judge, and processes that do not live as long.

use super::*;

/// A process that maps a library which is `Some` bytes long, or as long as it is; its mapping; and a table
/// that knows nothing.
fn mapped(
    folder: &Path,
    size: Option<u64>,
) -> Option<(Child, maps::Mapping, Receiver<Told>, Table<Recorder>)> {
    let library = unknown_libssl(folder)?;
    if let Some(size) = size {
        fs::OpenOptions::new().append(true).open(&library).unwrap().set_len(size).unwrap();
    }
    let mut child = user(&library)?;
    wait_until_loaded(&mut child);
    let mappings = maps::mappings(child.id()).unwrap();
    let mapping = mappings.into_iter().find(|mapping| library.as_os_str() == &*mapping.path).unwrap();
    let (sender, told) = mpsc::channel();
    let config = Config { linger: Duration::ZERO, standing_folders: Vec::new(), ..Config::default() };
    Some((child, mapping, told, Table::new(Recorder { told: sender, refuse: &[] }, &config)))
}

const LARGE: Option<u64> = Some(9 << 20);

fn judge(table: &mut Table<Recorder>) {
    let large = table.next_large().unwrap();
    let located = locate(&large.file);
    table.settle(large, located);
}

fn is_attached(told: &Receiver<Told>) -> bool {
    told.try_iter().any(|told| matches!(told, Told::Attached { .. }))
}

/// A large file waits to be judged, and nothing waits for it. Once judged it is known, also after its
/// hooks are gone.
#[test]
fn a_large_library_is_judged_aside() {
    let folder = tempfile::tempdir().unwrap();
    let Some((child, mapping, told, mut table)) = mapped(folder.path(), LARGE) else { return };
    table.mapped(child.id(), &mapping);
    assert_eq!((told.try_iter().collect(), table.report()), (vec![Told::Expected], Vec::new()));
    judge(&mut table);
    assert!(is_attached(&told));
    assert_eq!(table.take_events(), [ProcessEvent::Seen { pid: child.id() }]);

    table.ended(child.id());
    table.tick(Instant::now());
    assert_eq!(table.report(), []);
    told.try_iter().for_each(drop);
    table.mapped(child.id(), &mapping);
    assert!(is_attached(&told));
    assert!(table.next_large().is_none());
    assert_eq!(table.counters.judged, 1);
    end(child);
}

#[test]
fn all_that_map_a_library_while_it_is_judged_are_its_users() {
    let folder = tempfile::tempdir().unwrap();
    let Some((first, mapping, told, mut table)) = mapped(folder.path(), LARGE) else { return };
    let second = user(Path::new(&mapping.path)).unwrap();
    let mut third = user(Path::new(&mapping.path)).unwrap();
    wait_until_loaded(&mut third);
    let of = |pid| {
        let mut all = maps::mappings(pid).unwrap().into_iter();
        all.find(|other| other.path == mapping.path).unwrap()
    };
    table.mapped(first.id(), &mapping);
    table.mapped(second.id(), &mapping); // It has ended before anything is judged.
    end(second);
    let large = table.next_large().unwrap();
    table.mapped(third.id(), &of(third.id()));
    assert!(table.next_large().is_none(), "it is being judged");
    let located = locate(&large.file);
    table.settle(large, located);
    assert!(is_attached(&told));
    assert_eq!(table.report()[0].users, 2);
    assert_eq!((table.counters.judged, table.counters.attached), (1, 1));
    [first, third].into_iter().for_each(end);
}

/// The first start of a program is over before its file is judged, but the second is seen from its first
/// call.
#[test]
fn what_is_judged_outlives_the_process_that_mapped_it() {
    let folder = tempfile::tempdir().unwrap();
    let Some((child, mapping, told, mut table)) = mapped(folder.path(), LARGE) else { return };
    let pid = child.id();
    table.mapped(pid, &mapping);
    end(child);
    judge(&mut table);
    assert!(is_attached(&told));
    assert_eq!(table.report()[0].users, 0);

    let mut child = user(Path::new(&mapping.path)).unwrap();
    wait_until_loaded(&mut child);
    table.mapped(child.id(), &mapping);
    assert!(table.next_large().is_none());
    assert_eq!(table.report()[0].users, 1);
    end(child);
}

/// The kernel is told to be ready when a file is mapped that is to be judged, and not by one that is known:
/// also where it has the inode number of one that was.
#[test]
fn a_probe_is_expected_of_what_is_not_known_yet() {
    let folder = tempfile::tempdir().unwrap();
    let Some((child, mapping, told, mut table)) = mapped(folder.path(), None) else { return };
    let is_expected = || told.try_iter().any(|told| told == Told::Expected);
    table.mapped(child.id(), &mapping);
    assert!(is_expected());
    table.mapped(child.id(), &mapping);
    assert!(!is_expected(), "it is hooked");
    fs::OpenOptions::new().append(true).open(&mapping.path).unwrap().write_all(b"another").unwrap();
    table.mapped(child.id(), &mapping);
    assert!(is_expected());
    end(child);
}

/// A process may be gone when its mapping is heard of; its file is not.
#[test]
fn a_file_is_judged_of_a_process_that_has_ended() {
    for size in [None, LARGE] {
        let folder = tempfile::tempdir().unwrap();
        let Some((child, mapping, told, mut table)) = mapped(folder.path(), size) else { return };
        let pid = child.id();
        end(child);
        table.mapped(pid, &mapping);
        if size.is_some() {
            judge(&mut table);
        }
        assert!(is_attached(&told), "{size:?}");
        assert_eq!(table.counters.unreachable, 0);
    }
}
