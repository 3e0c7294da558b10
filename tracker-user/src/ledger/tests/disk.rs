//! Disks that are full, read-only or not there.

use std::{cell::Cell, path::PathBuf, process::Command, thread, time::Instant};

use super::*;

/// Runs `test` on a thread in a mount namespace of its own, in a folder that is a file system of 2 MB.
fn on_a_small_disk(options: &str, test: impl FnOnce(PathBuf) + Send + 'static) {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().to_owned();
    let options = format!("size=2m{options}");
    let thread = thread::spawn(move || {
        // SAFETY: it takes no pointers, and changes only what this thread and its children see.
        if unsafe { libc::unshare(libc::CLONE_NEWNS) } != 0 {
            return eprintln!("SKIPPED: no mount namespaces for this user");
        }
        mount(&["--make-rprivate", "/"]);
        mount(&["-t", "tmpfs", "-o", &options, "ledger", place.to_str().unwrap()]);
        test(place);
    });
    thread.join().unwrap();
}

fn mount(arguments: &[&str]) {
    assert!(Command::new("mount").args(arguments).status().unwrap().success(), "{arguments:?}");
}

fn wait_until(what: &str, so: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !so() {
        assert!(Instant::now() < deadline, "{what}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// Records until a call is lost for this reason.
fn tell(sink: &LedgerSink, reason: &str, given: &Cell<u64>) {
    wait_until("it is told", || {
        sink.record(&full());
        given.set(given.get() + 1);
        lost(sink, reason) > 0
    });
}

/// Ends the sink; all that it was given is stored or counted as lost, and what is stored is there.
fn settle(sink: &LedgerSink, given: u64, file: &Path) {
    sink.shutdown(Duration::from_secs(10));
    let lost: u64 = ["queue_full", "disk_full", "read_only", "corrupt", "shutdown"]
        .map(|reason| lost(sink, reason))
        .iter()
        .sum();
    assert_eq!(stored_by(sink) + lost, given);
    let total = Ledger::open(file).unwrap().report(ALL, &[], &[]).unwrap().total;
    assert_eq!(total.calls, stored_by(sink));
}

#[test]
fn a_full_disk_costs_what_finds_no_room_in_the_queue_and_nothing_else() {
    on_a_small_disk("", |folder| {
        let file = folder.join("ledger.db");
        let sink = sink(&file, 64);
        let mut given = 0;
        let mut record = || {
            sink.record(&full());
            given += 1;
        };
        record();
        wait_until("the first is stored", || stored_by(&sink) == 1);
        // Somebody else's file takes what is left.
        let other = folder.join("other");
        let full = fs::write(&other, vec![1; 4 << 20]).unwrap_err();
        assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);
        let begun = Instant::now();
        while lost(&sink, "disk_full") == 0 {
            record();
            thread::sleep(Duration::from_millis(1));
            assert!(begun.elapsed() < Duration::from_secs(30), "it does not tell that the disk is full");
        }
        let waiting = stored_by(&sink);
        // Readers and whoever records go on.
        assert_eq!(Ledger::open(&file).unwrap().report(ALL, &[], &[]).unwrap().total.calls, waiting);
        let begun = Instant::now();
        (0..1000).for_each(|_| record());
        assert!(begun.elapsed() < Duration::from_secs(30), "capture waited for the disk, which stays full");
        fs::remove_file(&other).unwrap();
        wait_until("it goes on", || stored_by(&sink) > waiting + 64);
        settle(&sink, given, &file);
    });
}

#[test]
fn a_read_only_disk_is_told_and_tried_again() {
    on_a_small_disk(",ro", |folder| {
        let file = folder.join("ledger.db");
        let sink = sink(&file, 4);
        let given = Cell::new(0);
        tell(&sink, "read_only", &given);
        mount(&["-o", "remount,rw", folder.to_str().unwrap()]);
        wait_until("it is stored", || stored_by(&sink) > 0);
        settle(&sink, given.get(), &file);
    });
}

#[test]
fn a_folder_that_is_not_there_may_come() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("later").join("ledger.db");
    let sink = sink(&file, 4);
    let given = Cell::new(0);
    tell(&sink, "read_only", &given);
    fs::create_dir(file.parent().unwrap()).unwrap();
    wait_until("it is stored", || stored_by(&sink) > 0);
    settle(&sink, given.get(), &file);
}

#[test]
fn a_page_that_is_damaged_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ledger.db");
    Store::open(&file).unwrap().append(&[full()]).unwrap();
    // The schema is on the first page, the rows are behind it.
    let mut bytes = fs::read(&file).unwrap();
    bytes[2 * 4096..].fill(0x5a);
    fs::write(&file, bytes).unwrap();
    let sink = sink(&file, 4);
    let given = Cell::new(0);
    tell(&sink, "corrupt", &given);
    let error = Ledger::open(&file).and_then(|ledger| ledger.report(ALL, &[], &[])).unwrap_err();
    assert!(error.to_string().contains("malformed"), "{error}");
    fs::rename(&file, folder.path().join("damaged")).unwrap();
    wait_until("a new one is made", || stored_by(&sink) > 0);
    settle(&sink, given.get(), &file);
}
