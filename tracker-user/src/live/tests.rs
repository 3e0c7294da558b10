use super::{
    groups::{MINUTE, MINUTES},
    *,
};
use crate::{
    capture::ConnectionId,
    pricing::{Cost, CostSource, Usd},
    provider::{Progress, UsageSource},
    record::tests::{bare, full},
    stream::ExchangeId,
};
use std::sync::Arc;

/// Some minute, nanoseconds since the Unix epoch.
const T: u64 = 29_000_000 * MINUTE;
const SECOND: u64 = 1_000_000_000;

/// A call that ends at this time.
fn ends(at: u64, change: impl FnOnce(&mut Record)) -> Record {
    let mut record = full();
    record.call.duration_seconds = 0.0;
    record.call.error = None;
    record.cost = Cost::Unpriced;
    record.started_unix_nanos = at.into();
    change(&mut record);
    record
}

fn row<'a>(snapshot: &'a Snapshot, by: By, name: &str) -> &'a Totals {
    &snapshot.by[&by].iter().find(|row| row.name.as_deref() == Some(name)).expect("a row").totals
}

/// A stream with so many tokens.
pub(crate) fn seen(origin: &Arc<Origin>, tokens: u64, first: Option<u64>) -> Seen<'_> {
    Seen {
        connection: ConnectionId { tgid: origin.process.pid, generation: 1, ssl: 1 },
        exchange: ExchangeId(1),
        origin,
        started_unix_nanos: i128::from(T),
        progress: Progress {
            started: Timestamp(SECOND),
            provider: "openai",
            operation: "chat",
            model: Some("gpt-4o"),
            server_address: None,
            role: Role::Client,
            streaming: true,
            status: Some(200),
            first_token: first.map(Timestamp),
            output_tokens: Some(tokens),
            usage_source: UsageSource::Estimated,
        },
    }
}

#[test]
fn sums_by_everything_and_by_the_minute() {
    let live = Live::since(T - 3600 * SECOND);
    live.record(&ends(T - 30 * MINUTE, |_| {}));
    live.record(&ends(T, |record| record.call.error = Some("overloaded".to_owned())));
    live.record(&ends(T + SECOND, |record| {
        record.call.model = Some("claude".to_owned());
        record.call.provider = "openrouter";
        record.cost =
            Cost::Known { amount: Usd::from_pico(250_000_000_000), list: None, source: CostSource::List };
    }));
    live.record(&ends(T, |record| record.call.role = Role::Server));
    let snapshot = live.at(T + 10 * SECOND, &|_| true);
    let Totals { in_flight, recent, hour, .. } = &snapshot.totals;
    assert_eq!((*in_flight, recent.calls, recent.errors, hour.calls), (0, 2, 1, 3));
    assert_eq!((recent.input_tokens, recent.output_tokens), (200, 40));
    assert_eq!((hour.cost(), hour.calls_with_cost), (Some(0.25), 1), "the price is known of one");
    assert_eq!(row(&snapshot, By::Model, "gpt-4o").hour.calls, 2);
    assert_eq!(row(&snapshot, By::Provider, "openrouter").recent.calls, 1);
    assert_eq!(row(&snapshot, By::Container, "web").recent.calls, 2);
    assert_eq!(row(&snapshot, By::Process, "python3").hour.calls, 3);
    assert_eq!(row(&snapshot, By::Agent, "claude").hour.calls, 3);
    assert_eq!(row(&snapshot, By::Session, "nightly/suite-3").hour.calls, 3);
    assert_eq!(row(&snapshot, By::User, "ada").hour.calls, 3);
    assert_eq!(snapshot.window_seconds, 250.0);

    assert_eq!(snapshot.minutes.len(), MINUTES as usize);
    let calls: Vec<u64> = snapshot.minutes.iter().map(|minute| minute.sums.calls).collect();
    assert_eq!((calls[29], calls[59], calls.iter().sum::<u64>()), (1, 2, 3));
    assert_eq!(snapshot.minutes[59].start, "2025-02-19T21:20:00.000Z");

    let ended: Vec<_> = snapshot.ended.iter().map(|ended| ended.ended_seconds_ago).collect();
    assert_eq!(ended, [9.0, 10.0], "newest first, and not what ended long ago");
}

#[test]
fn an_hour_later_all_is_forgotten() {
    let live = Live::since(T);
    live.record(&ends(T, |_| {}));
    let calls = |now| live.at(now, &|_| true).totals.hour.calls;
    assert_eq!([calls(T), calls(T + 59 * MINUTE), calls(T + 60 * MINUTE)], [1, 1, 0]);
    // Nor does what comes late displace what is newer.
    live.record(&ends(T + 60 * MINUTE, |_| {}));
    live.record(&ends(T, |_| {}));
    assert_eq!(calls(T + 60 * MINUTE), 1);
}

#[test]
fn the_end_of_a_call_that_was_reported_before_is_no_further_call() {
    let live = Live::since(T);
    live.record(&ends(T, |record| record.call.continued = true));
    let recent = live.at(T, &|_| true).totals.recent;
    assert_eq!((recent.calls, recent.output_tokens), (0, 20));
}

#[test]
fn everybody_sees_their_own() {
    let live = Live::since(T);
    live.record(&ends(T, |_| {}));
    live.record(&ends(T, |record| record.origin.process.uid = Some(7)));
    live.record(&ends(T, |record| record.origin.process.uid = None));
    let origin = Arc::new(full().origin);
    live.observe(Timestamp(0), |out| out(seen(&origin, 0, None)));
    for (viewer, calls, in_flight) in [(7, 1, 0), (1000, 1, 1), (8, 0, 0)] {
        let snapshot = live.at(T, &|owner| owner.uid == Some(viewer));
        assert_eq!((snapshot.totals.recent.calls, snapshot.ended.len()), (calls, calls as usize));
        assert_eq!((snapshot.totals.in_flight, snapshot.in_flight.len()), (in_flight, in_flight as usize));
        assert!(snapshot.by[&By::Process].len() <= 1);
    }
}

#[test]
fn a_stream_has_the_speed_of_its_last_seconds() {
    let live = Live::since(T);
    let origin = Arc::new(full().origin);
    let rate = |second: u64, tokens, first| {
        let at = second * SECOND;
        live.observe(Timestamp(at), |out| out(seen(&origin, tokens, first)));
        let snapshot = live.at(T + at, &|_| true);
        assert_eq!(snapshot.totals.output_tokens_per_second, snapshot.in_flight[0].output_tokens_per_second);
        assert!(snapshot.in_flight[0].is_estimated());
        snapshot.in_flight[0].output_tokens_per_second
    };
    assert_eq!(rate(2, 0, None), None, "nothing has come");
    let first = Some(3 * SECOND);
    assert_eq!(rate(3, 1, first), None, "nobody knows yet");
    assert_eq!(rate(4, 100, first), Some(100.0));
    assert_eq!(rate(5, 200, first), Some(100.0));
    for second in 6..=10 {
        rate(second, 200, first);
    }
    assert_eq!(rate(11, 200, first), Some(0.0), "it has stopped");
    live.observe(Timestamp(12), |_| {});
    assert!(live.at(T, &|_| true).in_flight.is_empty(), "it has ended");
}

#[test]
fn all_is_bounded_and_nothing_is_lost() {
    let live = Live::since(T);
    for number in 0..5000_u32 {
        live.record(&ends(T + u64::from(number) * SECOND / 100, |record| {
            record.call.model = Some(format!("m{number}"));
            record.origin.process.uid = Some(number % 3000);
        }));
    }
    let snapshot = live.at(T + 50 * SECOND, &|_| true);
    assert_eq!(snapshot.totals.recent.calls, 5000);
    let models = &snapshot.by[&By::Model];
    assert_eq!(models.iter().map(|row| row.totals.recent.calls).sum::<u64>(), 5000);
    assert!(models.len() <= 100 && models.iter().any(|row| row.name.as_deref() == Some("other")));
    assert_eq!(snapshot.ended.len(), MAX_ENDED);
    assert!(live.state().groups.iter().count() <= 1024);
    assert_eq!(
        row(&snapshot, By::Process, "python3").recent.calls,
        live.state()
            .groups
            .iter()
            .filter(|(key, _)| key.name(By::Process).is_some_and(|name| name == "python3"))
            .count() as u64
    );

    let origins: Vec<_> = (0..2000)
        .map(|pid| {
            let mut origin = full().origin;
            origin.process.pid = pid;
            Arc::new(origin)
        })
        .collect();
    live.observe(Timestamp(0), |out| origins.iter().for_each(|origin| out(seen(origin, 1, None))));
    let snapshot = live.at(T, &|_| true);
    assert_eq!(
        (snapshot.in_flight.len() as u64 + snapshot.in_flight_omitted, snapshot.in_flight_omitted),
        (2000, 976)
    );
    assert_eq!(live.at(T, &|_| false).in_flight_omitted, 0);
}

#[test]
fn what_is_not_known_is_absent_and_comes_back_so() {
    let live = Live::since(T);
    live.record(&Record { started_unix_nanos: T.into(), ..bare() });
    let origin = Arc::new(bare().origin);
    live.observe(Timestamp(0), |out| out(seen(&origin, 1, None)));
    let snapshot = live.at(T + SECOND, &|_| true);
    let text = serde_json::to_string(&snapshot).unwrap();
    assert!(text.contains(r#""by":{"process":[{"name":null,"in_flight":1,"recent":{"calls":1,"#), "{text}");
    assert!(!text.contains("\"user\":null"), "{text}");
    let read: Snapshot = serde_json::from_str(&text).unwrap();
    assert_eq!(serde_json::to_string(&read).unwrap(), text);
}
