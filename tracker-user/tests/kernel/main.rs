//! The kernel side, loaded into the running kernel, against a real libssl.
//!
//! Each test runs `tls.c` on a copy of the system's libssl, so that no other process on the machine
//! is seen, and checks every byte and every counter. Needs root, a C compiler and libssl's headers.
//! The object comes from `LLM_TRACKER_BPF_OBJECT`, or from where `cargo xtask build` leaves it.

#![allow(clippy::expect_used, clippy::panic, reason = "a test says what failed by panicking")]

mod guess;
mod harness;

use std::{collections::HashSet, time::Duration};

use guess::{right as a_right_guess_is_verified, wrong as a_wrong_guess_is_refuted};
use harness::{Capture, Probes, Run, pattern, skip_without_bpf};
use llm_tracker::capture::{CaptureEvent, ConnectionId, Direction, KernelConfig, Scope, Verdict};

/// Runs each test once for each way to attach probes.
macro_rules! by_each_attachment {
    ($($test:ident,)+) => { $(
        mod $test {
            use llm_tracker::capture::Attachment;

            #[test]
            fn session() {
                crate::harness::by(Attachment::Session, super::$test);
            }

            #[test]
            fn multi() {
                crate::harness::by(Attachment::Multi, super::$test);
            }

            #[test]
            fn perf() {
                crate::harness::by(Attachment::Perf, super::$test);
            }
        }
    )+ };
}

by_each_attachment! {
    plain_functions_by_their_public_names,
    ex_functions_by_their_public_names,
    all_functions_by_the_internal_ones,
    a_call_inside_a_call_counts_once,
    a_write_inside_a_read_counts_too,
    every_size_of_record,
    a_write_that_is_retried_is_seen_once,
    forked_processes_share_a_pointer_and_no_connection,
    a_pointer_that_is_used_again_is_another_connection,
    threads_do_not_mix,
    what_a_full_ring_loses_is_counted_to_the_byte,
    what_is_past_the_cap_is_counted_to_the_byte,
    an_ignored_connection_is_not_heard_of_again,
    what_is_ignored_by_user_or_cgroup_is_never_heard_of,
    a_call_that_never_returns_ends_its_connection,
    the_kernel_side_says_what_went_wrong_when_asked,
    a_call_on_another_connection_inside_a_call_ends_that_one,
    threads_that_are_too_many_are_counted_and_end_their_connections,
    a_quiet_ring_wakes_nobody,
    a_right_guess_is_verified,
    a_wrong_guess_is_refuted,
}

/// Runs a scenario to its end and checks that each end of each connection was seen in full.
fn expect_everything(probes: Probes, config: &KernelConfig, arguments: &[&str]) -> Option<(Capture, Run)> {
    let mut capture = skip_without_bpf(Capture::start(probes, config))?;
    let run = capture.run(arguments);
    run.check_complete();
    let counters = capture.counters();
    assert_eq!(counters.lost_bytes(), 0, "{counters:?}");
    assert_eq!(counters.bytes, run.ends.iter().map(|end| end.written + end.read).sum::<u64>());
    assert_eq!(
        (counters.abandoned, counters.implausible, counters.count_unreadable, counters.notices_lost),
        (0, 0, 0, 0)
    );
    assert_eq!(capture.malformed(), 0);
    Some((capture, run))
}

fn plain_functions_by_their_public_names() {
    let _ = expect_everything(Probes::Public, &KernelConfig::default(), &["exchange", "200000", "plain"]);
}

fn ex_functions_by_their_public_names() {
    let _ = expect_everything(Probes::Public, &KernelConfig::default(), &["exchange", "200000", "ex"]);
}

fn all_functions_by_the_internal_ones() {
    for functions in ["plain", "ex"] {
        let seen =
            expect_everything(Probes::Internal, &KernelConfig::default(), &["exchange", "250001", functions]);
        if let Some((capture, run)) = seen {
            assert_eq!(capture.counters().nested, 0);
            let opened = run.events.iter().find_map(|event| match event {
                CaptureEvent::Opened(opened) => Some(opened),
                _ => None,
            });
            let opened = opened.expect("an opened record");
            assert_eq!((opened.comm.as_str(), opened.uid), ("tls", 0));
            // Opened, data, closed, exit: in this order.
            assert!(matches!(run.events.last(), Some(CaptureEvent::Exit { .. })));
        }
    }
}

fn a_call_inside_a_call_counts_once() {
    for functions in ["plain", "ex"] {
        if let Some((capture, _)) =
            expect_everything(Probes::Both, &KernelConfig::default(), &["exchange", "50000", functions])
        {
            assert!(capture.counters().nested > 0);
        }
    }
}

fn a_write_inside_a_read_counts_too() {
    for probes in [Probes::Public, Probes::Internal, Probes::Both] {
        for functions in ["plain", "ex"] {
            let _ = expect_everything(probes, &KernelConfig::default(), &["handshake", "5000", functions]);
        }
    }
}

fn every_size_of_record() {
    for size in
        ["1", "255", "256", "257", "1024", "1025", "4096", "4097", "16384", "16385", "32768", "262144"]
    {
        if expect_everything(Probes::Internal, &KernelConfig::default(), &["exchange", size, "ex"]).is_none()
        {
            return;
        }
    }
}

fn a_write_that_is_retried_is_seen_once() {
    for probes in [Probes::Public, Probes::Internal] {
        for functions in ["plain", "ex"] {
            let seen = expect_everything(probes, &KernelConfig::default(), &["retry", "200000", functions]);
            let Some((_, run)) = seen else { return };
            let retries: Vec<u64> = run.numbers("retries");
            assert!(retries.iter().all(|&n| n > 3), "nothing was retried: {retries:?}");
        }
    }
}

fn forked_processes_share_a_pointer_and_no_connection() {
    let seen = expect_everything(Probes::Internal, &KernelConfig::default(), &["fork", "3000", "ex"]);
    let Some((_, run)) = seen else { return };
    let client: HashSet<ConnectionId> =
        run.connections().into_iter().filter(|id| id.ssl == run.ends[0].ssl).collect();
    assert_eq!(client.iter().map(|id| id.tgid).collect::<HashSet<_>>().len(), 2, "{client:?}");
    assert_eq!(client.iter().map(|id| id.generation).collect::<HashSet<_>>().len(), 2, "{client:?}");
}

fn a_pointer_that_is_used_again_is_another_connection() {
    let seen = expect_everything(Probes::Internal, &KernelConfig::default(), &["reuse", "500", "plain"]);
    let Some((mut capture, run)) = seen else { return };
    assert!(
        run.ends.iter().map(|end| end.ssl).collect::<HashSet<_>>().len() < 40,
        "no pointer was used again"
    );
    assert_eq!(run.connections().len(), 40);
    assert_eq!(run.closed().len(), 40);
    assert_eq!(capture.connections.count(), 0, "a freed connection was kept");
    assert_eq!(capture.connections.forget(|_, _| true, |_| true), 0);
}

fn threads_do_not_mix() {
    let config = KernelConfig { ring_bytes: 128 << 20, ..KernelConfig::default() };
    let _ = expect_everything(Probes::Both, &config, &["threads"]);
}

fn what_a_full_ring_loses_is_counted_to_the_byte() {
    let config = KernelConfig { ring_bytes: 64 << 10, ..KernelConfig::default() };
    let Some(mut capture) = skip_without_bpf(Capture::start(Probes::Internal, &config)) else { return };
    let run = capture.run_unread(&["exchange", "250000", "ex"]);
    let counters = capture.counters();
    let gaps = run.check_prefix_and_gaps();
    assert!(counters.ring_full > 0 && gaps > 0, "the ring did not overflow: {counters:?}");
    assert_eq!(gaps, counters.ring_full_bytes);
    assert_eq!(counters.bytes, 1_000_000);
    assert_eq!(run.delivered() + counters.lost_bytes(), counters.bytes);
}

fn what_is_past_the_cap_is_counted_to_the_byte() {
    let config = KernelConfig { call_cap_bytes: 30_000, ..KernelConfig::default() };
    let Some(mut capture) = skip_without_bpf(Capture::start(Probes::Internal, &config)) else { return };
    let run = capture.run(&["exchange", "100000", "plain"]);
    let counters = capture.counters();
    // One write call a direction; reads return a record of at most 16 KiB each.
    assert_eq!((counters.past_cap, counters.past_cap_bytes), (2, 2 * 70_000));
    assert_eq!(run.check_prefix_and_gaps(), 2 * 70_000);
    assert_eq!(run.delivered() + counters.lost_bytes(), counters.bytes);
}

fn an_ignored_connection_is_not_heard_of_again() {
    let Some(mut capture) = skip_without_bpf(Capture::start(Probes::Internal, &KernelConfig::default()))
    else {
        return;
    };
    let mut run = capture.spawn(&["steps", "1000", "ex"]);
    capture.wait_until(&mut run, |run| run.delivered() == 2000 && !run.ends.is_empty());
    let connections = run.connections();
    assert_eq!(connections.len(), 2);
    let ignored = *connections.iter().find(|id| id.ssl == run.ends[0].ssl).expect("the client's end");
    let captured = *connections.iter().find(|id| id.ssl != run.ends[0].ssl).expect("the server's end");
    capture.verdicts.set(ignored, Verdict::Ignore).expect("a verdict");
    capture.verdicts.set(captured, Verdict::Capture).expect("a verdict");
    let before = capture.counters().calls;
    run.send_line();
    capture.wait_until(&mut run, |run| run.delivered() == 3000);
    run.send_line();
    capture.wait_until(&mut run, |run| run.delivered() == 4000);
    run.send_line();
    capture.finish(&mut run);
    assert_eq!(run.delivered_on(ignored, Direction::Write), 1000);
    assert_eq!(run.delivered_on(captured, Direction::Read), 3000);
    assert_eq!(run.closed(), vec![captured]);
    assert_eq!(capture.counters().calls - before, 2, "what is ignored is not counted");
}

fn what_is_ignored_by_user_or_cgroup_is_never_heard_of() {
    let Some(mut capture) = skip_without_bpf(Capture::start(Probes::Internal, &KernelConfig::default()))
    else {
        return;
    };
    let first = capture.run(&["exchange", "1000", "plain"]);
    first.check_complete();
    let Some(CaptureEvent::Opened(opened)) =
        first.events.iter().find(|event| matches!(event, CaptureEvent::Opened(_)))
    else {
        panic!("nothing was opened");
    };
    for (number, scope) in [Scope::User(opened.uid), Scope::Cgroup(opened.cgroup_id)].into_iter().enumerate()
    {
        let before = capture.counters();
        capture.verdicts.ignore(scope).expect("a place in the table");
        let run = capture.run(&["exchange", "100000", "plain"]);
        let after = capture.counters();
        assert_eq!((run.connections(), run.closed(), run.delivered()), (vec![], vec![], 0), "{scope:?}");
        assert_eq!(after.filtered, 2 * (number as u64 + 1), "both ends: {scope:?}");
        assert_eq!((after.calls, after.bytes), (before.calls, before.bytes), "{scope:?}");
        capture.verdicts.watch(scope).expect("it goes");
        capture.run(&["exchange", "1000", "plain"]).check_complete();
    }
    capture.verdicts.ignore(Scope::User(opened.uid)).expect("a place in the table");
    capture.verdicts.watch_all().expect("all go");
    capture.run(&["exchange", "1000", "plain"]).check_complete();
}

fn a_call_that_never_returns_ends_its_connection() {
    let Some(mut capture) = skip_without_bpf(Capture::start(Probes::Internal, &KernelConfig::default()))
    else {
        return;
    };
    let run = capture.run(&["longjmp", "1000", "plain"]);
    run.check_complete();
    assert_eq!(capture.counters().abandoned, 1);
    let left = run.pointer("left");
    assert!(run.closed().iter().any(|id| id.ssl == left), "the abandoned connection goes on");
}

fn the_kernel_side_says_what_went_wrong_when_asked() {
    let config = KernelConfig { debug: true, ..KernelConfig::default() };
    let Some(mut capture) = skip_without_bpf(Capture::start(Probes::Internal, &config)) else { return };
    capture.run(&["longjmp", "1000", "plain"]);
    let said = capture.messages();
    assert!(said.contains("a call never returned"), "{said:?}");
}

fn a_call_on_another_connection_inside_a_call_ends_that_one() {
    let Some(mut capture) = skip_without_bpf(Capture::start(Probes::Internal, &KernelConfig::default()))
    else {
        return;
    };
    let run = capture.run(&["inside", "1000", "plain"]);
    let counters = capture.counters();
    assert_eq!(counters.nested_elsewhere, 1, "{counters:?}");
    let (outer, within) = (&run.ends[0], &run.ends[2]);
    assert_eq!(run.delivered_by_pointer(outer.ssl, Direction::Write), outer.written);
    assert_eq!(run.delivered_by_pointer(within.ssl, Direction::Write), within.written - 1000);
    let inner = run.closed().into_iter().filter(|id| id.ssl == within.ssl).count();
    assert_eq!(inner, 1, "the connection with the hole was not ended");
}

fn threads_that_are_too_many_are_counted_and_end_their_connections() {
    let config = KernelConfig { max_threads: 4, ring_bytes: 128 << 20, ..KernelConfig::default() };
    let Some(mut capture) = skip_without_bpf(Capture::start(Probes::Internal, &config)) else { return };
    let run = capture.run(&["threads"]);
    let counters = capture.counters();
    assert!(counters.calls_full > 0, "{counters:?}");
    assert_eq!(run.delivered(), counters.bytes);
    // The table is not full of dead threads afterwards.
    let run = capture.run(&["exchange", "1000", "plain"]);
    run.check_complete();
}

fn a_quiet_ring_wakes_nobody() {
    let Some(mut capture) = skip_without_bpf(Capture::start(Probes::Internal, &KernelConfig::default()))
    else {
        return;
    };
    let run = capture.run(&["exchange", "1000", "plain"]);
    run.check_complete();
    let looks = capture.looks_within(Duration::from_secs(2));
    // Half a second each; other programs on this machine that start or end wake it too.
    let starts = capture.counters().wake_ups;
    assert!(looks <= 8 + 5 * starts, "{looks} looks within two seconds of silence, {starts} wake-ups");
}

#[test]
fn the_pattern_is_not_constant() {
    let first: Vec<u8> = (0..1000).map(|i| pattern(1, i)).collect();
    let second: Vec<u8> = (0..1000).map(|i| pattern(2, i)).collect();
    assert_ne!(first, second);
    assert!(first.iter().collect::<HashSet<_>>().len() > 100);
}
