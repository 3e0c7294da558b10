use std::{fs, io::Read as _, os::unix::fs::PermissionsExt as _, path::Path, time::Instant};

use super::*;
use crate::record::tests::{bare, full};

const PATIENCE: Duration = Duration::from_secs(10);

fn open(path: &Path, queue: usize) -> JsonlSink {
    JsonlSink::open(JsonlConfig { target: Target::File(path.to_owned()), queue }).unwrap()
}

/// Waits for what another thread is about to do.
fn eventually(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < deadline, "never: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

fn values(path: &Path) -> Vec<serde_json::Value> {
    fs::read_to_string(path).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn lines_are_there_without_being_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("events.jsonl");
    let sink = open(&path, 16);
    sink.record(&full());
    eventually("a line", || fs::read_to_string(&path).unwrap().ends_with('\n'));
    assert_eq!(values(&path)[0]["model"], "gpt-4o");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o007, 0);
}

#[test]
fn a_shutdown_writes_what_is_queued() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("events.jsonl");
    let sink = open(&path, 5000);
    for status in 0..5000 {
        let mut record = bare();
        record.call.status = Some(status);
        sink.record(&record);
    }
    sink.shutdown(PATIENCE);
    assert_eq!(sink.stats(), JsonlStats { written: 5000, ..JsonlStats::default() });
    let order: Vec<_> = values(&path).iter().map(|line| line["status"].as_u64().unwrap()).collect();
    assert!(order.iter().copied().eq(0..5000));
    sink.record(&bare());
    assert_eq!(sink.stats().shutdown, 1, "too late, and counted");
}

#[test]
fn appended_and_never_glued_to_a_torn_line() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("events.jsonl");
    fs::write(&path, "{\"type\":\"llm_us").unwrap();
    let sink = open(&path, 16);
    sink.record(&full());
    sink.shutdown(PATIENCE);
    let text = fs::read_to_string(&path).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!((lines.len(), lines[0]), (2, "{\"type\":\"llm_us"));
    assert!(serde_json::from_str::<serde_json::Value>(lines[1]).is_ok());
}

#[test]
fn a_full_disk_costs_lines_and_nothing_else() {
    let sink = open(Path::new("/dev/full"), 16);
    for _ in 0..10 {
        sink.record(&full());
    }
    sink.shutdown(PATIENCE);
    assert_eq!(sink.stats(), JsonlStats { disk_full: 10, ..JsonlStats::default() });
    let lost: f64 = sink.samples().iter().filter(|s| s.name.ends_with("lost_total")).map(|s| s.value).sum();
    assert_eq!(lost as u64, 10);
}

#[test]
fn a_write_that_fails_half_way_tears_no_other_line() {
    // A pipe that is full takes a part of a line, then none.
    let (mut reader, pipe) = io::pipe().unwrap();
    rustix::fs::fcntl_setfl(&pipe, rustix::fs::OFlags::NONBLOCK).unwrap();
    let mut output = writer::Output::new(fs::File::from(std::os::fd::OwnedFd::from(pipe)));
    let line = [vec![b'x'; 9_999], vec![b'\n']].concat();
    let batch = line.repeat(20);
    let (written, error) = output.write(&batch).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    assert_eq!(written, 6, "65,536 bytes hold six lines and a part of the seventh");
    let mut part = vec![0; 65_536];
    reader.read_exact(&mut part).unwrap();
    output.write(b"whole\n").unwrap();
    drop(output);
    let mut rest = String::new();
    reader.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "\nwhole\n");
}

#[test]
fn a_reader_that_does_not_read_holds_up_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("fifo");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &path,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
        0,
    )
    .unwrap();
    let sink = open(&path, 8);
    // The pipe has room for some.
    sink.record(&full());
    eventually("a line", || sink.stats().written == 1);
    let begun = Instant::now();
    for _ in 1..2000 {
        sink.record(&full());
    }
    sink.shutdown(Duration::from_millis(50));
    assert!(begun.elapsed() < PATIENCE);
    let stats = sink.stats();
    assert!(stats.queue_full > 0 && stats.written > 0, "{stats:?}");
    assert_eq!(stats.written + stats.lost(), 2000, "every line is accounted for: {stats:?}");
}

#[test]
fn rotation_moves_to_the_new_file() {
    let dir = tempfile::tempdir().unwrap();
    let (path, rotated) = (dir.path().join("events.jsonl"), dir.path().join("events.jsonl.1"));
    let sink = open(&path, 16);
    sink.record(&full());
    eventually("the first line", || sink.stats().written == 1);
    fs::rename(&path, &rotated).unwrap();
    sink.reopen();
    sink.record(&bare());
    eventually("the second line", || path.exists() && sink.stats().written == 2);
    assert_eq!((values(&rotated).len(), values(&path).len()), (1, 1));
}

#[test]
fn what_cannot_be_opened_is_a_sentence_with_advice() {
    let dir = tempfile::tempdir().unwrap();
    let message = |path: &Path| {
        JsonlSink::open(JsonlConfig::new(Target::File(path.to_owned()))).unwrap_err().to_string()
    };
    assert!(message(&dir.path().join("no/such/dir.jsonl")).contains("create the directory first"));
    assert!(message(dir.path()).contains("name a file in that directory"));
}
