//! What the stages have counted, by the names that operators see.

use super::{pipeline, unknown::UnknownHosts};
use crate::{
    attribution,
    capture::{
        KernelCounters,
        discovery::{self, State},
    },
    export::Sample,
    stream,
};

/// The pipeline's state as of its last tick.
#[derive(Clone, Debug, Default)]
pub(crate) struct Status {
    /// What the pipeline has counted.
    pub(crate) pipeline: pipeline::Counters,
    /// Calls to hosts that are no known provider's.
    pub(crate) unknown_hosts: UnknownHosts,
    /// What attribution has counted.
    pub(crate) attribution: attribution::Counters,
    /// Open connections without a verdict.
    pub(crate) undecided: usize,
    /// Open connections that carry LLM traffic.
    pub(crate) captured: usize,
    /// Plaintext bytes that came through the ring buffer.
    pub(crate) delivered_bytes: u64,
    /// Ring buffer records that were not understood.
    pub(crate) malformed_records: u64,
}

/// Everything as samples. Kernel counters are absent where the kernel did not give them.
#[must_use]
pub(crate) fn samples(
    status: &Status,
    kernel: Option<KernelCounters>,
    discovery: &discovery::Snapshot,
) -> Vec<Sample> {
    let mut samples = Vec::with_capacity(64);
    if let Some(kernel) = kernel {
        kernel_samples(&kernel, &mut samples);
    }
    pipeline_samples(status, &mut samples);
    samples.extend(status.unknown_hosts.samples());
    stream_samples(&status.pipeline.stream, &mut samples);
    attribution_samples(status.attribution, &mut samples);
    discovery_samples(discovery, &mut samples);
    samples
}

const FILTERED: &str = "TLS connections ignored because a filter says so: by the kernel side, from the first \
    byte on, and by the daemon, once it knew.";

fn kernel_samples(kernel: &KernelCounters, samples: &mut Vec<Sample>) {
    let &KernelCounters {
        calls,
        bytes,
        wake_ups,
        ring_full,
        ring_full_bytes,
        past_cap,
        past_cap_bytes,
        unreadable,
        unreadable_bytes,
        count_unreadable,
        implausible,
        calls_full,
        abandoned,
        nested_elsewhere,
        nested,
        connections_full,
        connections_full_bytes,
        unpaired,
        unpaired_bytes,
        notices_lost,
        filtered,
    } = kernel;
    samples.extend([
        Sample::counter(
            "llm_tracker_kernel_transfers_total",
            "TLS reads and writes seen on connections that are not ignored.",
            calls,
        ),
        Sample::counter("llm_tracker_kernel_bytes_total", "Plaintext bytes that those transferred.", bytes),
        Sample::counter(
            "llm_tracker_kernel_wakeups_total",
            "Times the kernel side woke the daemon.",
            wake_ups,
        ),
        Sample::counter(
            "llm_tracker_kernel_nested_total",
            "TLS calls made within a TLS call of the same connection, counted once. No loss.",
            nested,
        ),
    ]);
    let lost = |reason, events, bytes| {
        [
            Sample::counter(
                "llm_tracker_lost_transfers_total",
                "TLS reads and writes of which bytes were lost between kernel and daemon, by reason.",
                events,
            )
            .label("reason", reason),
            Sample::counter(
                "llm_tracker_lost_bytes_total",
                "Plaintext bytes lost between kernel and daemon, by reason.",
                bytes,
            )
            .label("reason", reason),
        ]
    };
    samples.extend(lost("ring_full", ring_full, ring_full_bytes));
    samples.extend(lost("past_cap", past_cap, past_cap_bytes));
    samples.extend(lost("unreadable", unreadable, unreadable_bytes));
    samples.extend(lost("connections_full", connections_full, connections_full_bytes));
    samples.extend(lost("unpaired", unpaired, unpaired_bytes));
    let unknown = |reason, value| {
        Sample::counter(
            "llm_tracker_lost_calls_total",
            "TLS reads and writes lost with an unknown number of bytes, by reason.",
            value,
        )
        .label("reason", reason)
    };
    samples.extend([
        unknown("count_unreadable", count_unreadable),
        unknown("implausible", implausible),
        unknown("in_flight_full", calls_full),
        unknown("abandoned", abandoned),
        unknown("nested_elsewhere", nested_elsewhere),
        Sample::counter(
            "llm_tracker_lost_notices_total",
            "Notices of opened and closed connections and of processes lost because the ring was full.",
            notices_lost,
        ),
        Sample::counter("llm_tracker_connections_filtered_total", FILTERED, filtered).label("by", "kernel"),
    ]);
}

fn pipeline_samples(status: &Status, samples: &mut Vec<Sample>) {
    let Status {
        pipeline,
        unknown_hosts: _,
        attribution: _,
        undecided,
        captured,
        delivered_bytes,
        malformed_records,
    } = status;
    let &pipeline::Counters {
        connections,
        captured: ever_captured,
        ignored,
        undecoded_upgraded,
        refused,
        filtered,
        filtered_calls,
        untracked,
        unfinished,
        stream: _,
    } = pipeline;
    let open = |state, value: usize| {
        Sample::gauge("llm_tracker_connections", "Open TLS connections that are followed.", value as f64)
            .label("state", state)
    };
    let total = |verdict, value| {
        Sample::counter("llm_tracker_connections_decided_total", "TLS connections by verdict.", value)
            .label("verdict", verdict)
    };
    let undecoded = |protocol, value| {
        Sample::counter(
            "llm_tracker_connections_undecoded_total",
            "TLS connections whose protocol is not decoded yet.",
            value,
        )
        .label("protocol", protocol)
    };
    samples.extend([
        open("undecided", *undecided),
        open("captured", *captured),
        Sample::counter("llm_tracker_connections_seen_total", "TLS connections seen.", connections),
        total("capture", ever_captured),
        total("ignore", ignored),
        total("refused", refused),
        Sample::counter("llm_tracker_connections_filtered_total", FILTERED, filtered).label("by", "daemon"),
        Sample::counter(
            "llm_tracker_calls_filtered_total",
            "Calls not reported because a filter says so, on connections that are watched.",
            filtered_calls,
        ),
        undecoded("upgraded", undecoded_upgraded),
        Sample::counter(
            "llm_tracker_calls_untracked_total",
            "Calls lost because too many were in flight on their connection.",
            untracked,
        ),
        Sample::counter(
            "llm_tracker_calls_unfinished_total",
            "Calls that were in flight when the daemon stopped.",
            unfinished,
        ),
        Sample::counter(
            "llm_tracker_delivered_bytes_total",
            "Plaintext bytes that came through; with the lost ones, all that the kernel side saw.",
            *delivered_bytes,
        ),
        Sample::counter(
            "llm_tracker_malformed_records_total",
            "Records from the kernel side that were not understood.",
            *malformed_records,
        ),
    ]);
}

fn stream_samples(counters: &stream::Counters, samples: &mut Vec<Sample>) {
    let &stream::Counters {
        requests,
        gaps,
        lost_bytes,
        repeated_bytes,
        malformed,
        undecodable,
        skipped_bytes,
        unmatched_responses,
        early_responses,
        early_given_up,
        hpack_desync,
        abandoned,
        websockets_given_up,
        websockets_unrecognised,
    } = counters;
    samples.extend([
        Sample::counter("llm_tracker_http_requests_total", "HTTP requests seen, LLM calls or not.", requests),
        Sample::counter("llm_tracker_stream_gaps_total", "Gaps in the plaintext of connections.", gaps),
        Sample::counter("llm_tracker_stream_gap_bytes_total", "Bytes missing in those gaps.", lost_bytes),
        Sample::counter(
            "llm_tracker_stream_repeated_bytes_total",
            "Bytes that were delivered twice and dropped.",
            repeated_bytes,
        ),
        Sample::counter(
            "llm_tracker_http_malformed_total",
            "Messages that HTTP/1.1 does not allow.",
            malformed,
        ),
        Sample::counter(
            "llm_tracker_http_undecodable_total",
            "Bodies in an unknown content coding, or broken in a known one.",
            undecodable,
        ),
        Sample::counter(
            "llm_tracker_stream_skipped_bytes_total",
            "Bytes passed over while waiting for a message to begin.",
            skipped_bytes,
        ),
        Sample::counter(
            "llm_tracker_http_unmatched_responses_total",
            "Responses whose request was not seen.",
            unmatched_responses,
        ),
        Sample::counter(
            "llm_tracker_http_early_responses_total",
            "Responses that were delivered before their request, and put in order.",
            early_responses,
        ),
        Sample::counter(
            "llm_tracker_http_early_responses_given_up_total",
            "Responses without a request that waited for one for as long as is allowed.",
            early_given_up,
        ),
        Sample::counter(
            "llm_tracker_hpack_desync_total",
            "Times that header compression state was lost, by one direction of an HTTP/2 connection.",
            hpack_desync,
        ),
        Sample::counter(
            "llm_tracker_connections_abandoned_total",
            "Connections on which responses could no longer be matched with requests for certain.",
            abandoned,
        ),
        Sample::counter(
            "llm_tracker_websockets_given_up_total",
            "WebSockets that could not be read to their end.",
            websockets_given_up,
        ),
        Sample::counter(
            "llm_tracker_websockets_unrecognised_total",
            "WebSockets that were open before they could be seen to begin.",
            websockets_unrecognised,
        ),
    ]);
}

fn attribution_samples(counters: attribution::Counters, samples: &mut Vec<Sample>) {
    let attribution::Counters { processes, read, too_late, reused, evicted, sessions_refused, runtimes } =
        counters;
    let attribution::RuntimeCounters { containers, answered, unknown, failed, refused } = runtimes;
    samples.extend([
        Sample::gauge("llm_tracker_processes", "Processes that are remembered.", processes as f64),
        Sample::counter("llm_tracker_processes_read_total", "Processes read from /proc.", read),
        Sample::counter(
            "llm_tracker_processes_too_late_total",
            "Processes that were gone before they could be read: named by what the kernel knew.",
            too_late,
        ),
        Sample::counter("llm_tracker_pids_reused_total", "Process ids found to be another's.", reused),
        Sample::counter(
            "llm_tracker_processes_evicted_total",
            "Processes forgotten for lack of room.",
            evicted,
        ),
        Sample::counter(
            "llm_tracker_sessions_refused_total",
            "Processes and requests whose session or labels cannot be what they say.",
            sessions_refused,
        ),
        Sample::gauge("llm_tracker_containers", "Containers that are remembered.", containers as f64),
    ]);
    for (outcome, count) in
        [("answered", answered), ("unknown", unknown), ("failed", failed), ("refused", refused)]
    {
        samples.push(
            Sample::counter(
                "llm_tracker_container_lookups_total",
                "Questions to container runtimes, by what came of them.",
                count,
            )
            .label("outcome", outcome),
        );
    }
}

fn discovery_samples(snapshot: &discovery::Snapshot, samples: &mut Vec<Sample>) {
    let discovery::Snapshot { objects, counters, polling_because } = snapshot;
    let &discovery::Counters {
        attached,
        detached,
        refuted,
        attach_failures,
        judged,
        unreachable,
        over_limit,
        lost_records,
        sweeps,
    } = counters;
    // One series for each kind, not for each object: paths would be without bound.
    let mut kinds: Vec<((&'static str, &'static str, &'static str), usize, usize)> = Vec::new();
    for object in objects {
        let reason = match &object.state {
            State::Hooked { .. } => "",
            State::NotHooked { reason } => reason.label(),
        };
        let kind = (object.stack, object.state.label(), reason);
        match kinds.iter_mut().find(|(known, ..)| *known == kind) {
            Some((_, count, users)) => (*count, *users) = (*count + 1, *users + object.users),
            None => kinds.push((kind, 1, object.users)),
        }
    }
    let labelled = |sample: Sample, (stack, state, reason)| {
        sample.label("stack", stack).label("state", state).label("reason", reason)
    };
    samples.extend(kinds.iter().map(|&(kind, count, _)| {
        let help = "TLS libraries in use on this host.";
        labelled(Sample::gauge("llm_tracker_tls_objects", help, count as f64), kind)
    }));
    samples.extend(kinds.iter().map(|&(kind, _, users)| {
        let help = "Processes that map them; one that maps several is counted for each.";
        labelled(Sample::gauge("llm_tracker_tls_object_processes", help, users as f64), kind)
    }));
    samples.extend([
        Sample::gauge(
            "llm_tracker_discovery_polling",
            "1 where the kernel does not tell of new mappings, so that new libraries are found late.",
            f64::from(u8::from(polling_because.is_some())),
        ),
        Sample::counter("llm_tracker_tls_objects_attached_total", "TLS libraries hooked.", attached),
        Sample::counter(
            "llm_tracker_tls_objects_detached_total",
            "TLS libraries let go because nobody uses them any more.",
            detached,
        ),
        Sample::counter(
            "llm_tracker_tls_hooks_refuted_total",
            "TLS libraries unhooked because what passed through their hooks was no plaintext.",
            refuted,
        ),
        Sample::counter(
            "llm_tracker_attach_failures_total",
            "Functions that the kernel refused to probe.",
            attach_failures,
        ),
        Sample::counter("llm_tracker_files_judged_total", "Mapped files read to be judged.", judged),
        Sample::counter(
            "llm_tracker_files_unreachable_total",
            "Mapped files that could not be read, mostly of processes that ended meanwhile.",
            unreachable,
        ),
        Sample::counter(
            "llm_tracker_tls_objects_over_limit_total",
            "TLS libraries left out because there were too many.",
            over_limit,
        ),
        Sample::counter(
            "llm_tracker_discovery_lost_records_total",
            "Records about new mappings that the kernel had no room for; each leads to a look at all processes.",
            lost_records,
        ),
        Sample::counter("llm_tracker_discovery_sweeps_total", "Looks at all processes.", sweeps),
    ]);
}
