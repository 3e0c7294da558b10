//! What the daemon says about itself on the metrics page.

use std::{fs, sync::LazyLock};

use prometheus::proto::{Counter, Gauge, LabelPair, Metric, MetricFamily, MetricType};

use crate::record::{Kind, Sample};

/// One family a name, by name, the samples of a name together as the format demands.
pub(super) fn families(samples: Vec<Sample>) -> Vec<MetricFamily> {
    let mut families: Vec<MetricFamily> = Vec::new();
    for sample in samples {
        let mut metric = Metric::from_label(
            sample
                .labels
                .into_iter()
                .map(|(name, value)| {
                    let mut pair = LabelPair::default();
                    pair.set_name(name.to_owned());
                    pair.set_value(value.into_owned());
                    pair
                })
                .collect(),
        );
        let kind = match sample.kind {
            Kind::Counter => {
                let mut counter = Counter::default();
                counter.set_value(sample.value);
                metric.set_counter(counter);
                MetricType::COUNTER
            }
            Kind::Gauge => {
                let mut gauge = Gauge::default();
                gauge.set_value(sample.value);
                metric.set_gauge(gauge);
                MetricType::GAUGE
            }
        };
        if let Some(family) = families.iter_mut().find(|family| family.name() == sample.name) {
            // A counter among gauges would be written as nothing; the first one decides.
            if family.get_field_type() == kind {
                family.mut_metric().push(metric);
            }
        } else {
            let mut family = MetricFamily::default();
            family.set_name(sample.name.to_owned());
            family.set_help(sample.help.to_owned());
            family.set_field_type(kind);
            family.set_metric(vec![metric]);
            families.push(family);
        }
    }
    families.sort_by(|a, b| a.name().cmp(b.name()));
    families
}

/// The conventional `process_*` metrics, from `/proc/self`. What cannot be read is left out.
pub(super) fn process() -> Vec<Sample> {
    let mut samples = Vec::new();
    if let Some(stat) = fs::read_to_string("/proc/self/stat").ok().as_deref().and_then(Stat::parse) {
        let per_second = rustix::param::clock_ticks_per_second() as f64;
        let page = rustix::param::page_size() as f64;
        samples.extend([
            Sample {
                kind: Kind::Counter,
                ..Sample::gauge(
                    "process_cpu_seconds_total",
                    "Total user and system CPU time spent in seconds.",
                    stat.cpu_ticks as f64 / per_second,
                )
            },
            Sample::gauge(
                "process_resident_memory_bytes",
                "Resident memory size in bytes.",
                stat.resident_pages as f64 * page,
            ),
            Sample::gauge(
                "process_virtual_memory_bytes",
                "Virtual memory size in bytes.",
                stat.virtual_bytes as f64,
            ),
            Sample::gauge("process_threads", "Number of threads.", stat.threads as f64),
        ]);
        if let Some(boot) = *BOOT_TIME {
            samples.push(Sample::gauge(
                "process_start_time_seconds",
                "Start time of the process since the Unix epoch in seconds.",
                boot as f64 + stat.start_ticks as f64 / per_second,
            ));
        }
    }
    if let Ok(entries) = fs::read_dir("/proc/self/fd") {
        // One of them is the directory being read.
        let open = entries.count().saturating_sub(1);
        samples.push(Sample::gauge("process_open_fds", "Number of open file descriptors.", open as f64));
    }
    if let Some(limit) = rustix::process::getrlimit(rustix::process::Resource::Nofile).current {
        let help = "Maximum number of open file descriptors.";
        samples.push(Sample::gauge("process_max_fds", help, limit as f64));
    }
    samples
}

/// `btime` of `/proc/stat`, seconds since the epoch. Read once: it wanders with the wall clock.
static BOOT_TIME: LazyLock<Option<u64>> = LazyLock::new(|| {
    let stat = fs::read_to_string("/proc/stat").ok()?;
    stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
});

/// Fields of `/proc/PID/stat`; numbers as in proc(5).
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    cpu_ticks: u64,
    threads: u64,
    start_ticks: u64,
    virtual_bytes: u64,
    resident_pages: u64,
}

impl Stat {
    fn parse(text: &str) -> Option<Self> {
        // Field 2, the name, may contain anything; field 3 is the first one after it.
        let (_, after_name) = text.rsplit_once(')')?;
        let fields: Vec<&str> = after_name.split_ascii_whitespace().collect();
        let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
        Some(Self {
            cpu_ticks: field(14)?.checked_add(field(15)?)?,
            threads: field(20)?,
            start_ticks: field(22)?,
            virtual_bytes: field(23)?,
            resident_pages: field(24)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_fields_are_the_documented_ones() {
        let text = "1 (a) b) S 2 3 4 5 -1 6 7 8 9 10 100 11 12 13 20 0 4 0 4711 5000 42 18446744073709551615";
        let expected =
            Stat { cpu_ticks: 111, threads: 4, start_ticks: 4711, virtual_bytes: 5000, resident_pages: 42 };
        assert_eq!(Stat::parse(text), Some(expected));
        assert_eq!(Stat::parse("1 (a) S 2"), None);
    }

    #[test]
    fn this_process_has_plausible_numbers() {
        let samples = process();
        let value = |name| samples.iter().find(|sample| sample.name == name).unwrap().value;
        assert!(value("process_resident_memory_bytes") > 1e6);
        assert!(value("process_virtual_memory_bytes") >= value("process_resident_memory_bytes"));
        assert!(value("process_open_fds") >= 3.0);
        assert!(value("process_max_fds") >= value("process_open_fds"));
        assert!(value("process_threads") >= 1.0);
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64();
        let age = now - value("process_start_time_seconds");
        assert!((-2.0..3600.0).contains(&age), "{age}");
    }

    #[test]
    fn samples_of_a_name_stay_together() {
        let lost = |stage: &'static str| Sample::counter("lost_total", "Lost.", 1).label("stage", stage);
        let families = families(vec![lost("a"), Sample::gauge("open", "Open.", 2.0), lost("b")]);
        assert_eq!(families.len(), 2);
        assert_eq!((families[0].name(), families[0].get_metric().len()), ("lost_total", 2));
    }
}
