//! The metrics page, in the two formats that Prometheus reads.
//!
//! The `prometheus` crate writes its text format and has no OpenMetrics (nor native histograms); that is
//! written here, over the same families. It adds units and exemplars. It leaves out `_created`, which
//! Prometheus would store as one more series each, for nothing: a counter that begins anew shows that by
//! its value.

use std::{fmt::Write as _, time::Duration};

use prometheus::{
    TextEncoder,
    proto::{LabelPair, Metric, MetricFamily, MetricType},
};

use super::{exemplar::Exemplar, family::Collected};

/// A format of the metrics page.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// Prometheus' text format 0.0.4.
    #[default]
    Text,
    /// OpenMetrics 1.0.0, with exemplars.
    OpenMetrics,
}

impl Format {
    /// The one that a client prefers by its `Accept` (RFC 9110, section 12.5.1); text, where it says
    /// nothing about either.
    #[must_use]
    pub fn accepted(accept: &str) -> Self {
        let (mut text, mut open) = (0.0, 0.0);
        for range in accept.split(',') {
            let mut parameters = range.split(';').map(str::trim);
            let media = parameters.next().unwrap_or_default();
            let (mut weight, mut version) = (1.0, "");
            for (name, value) in parameters.filter_map(|parameter| parameter.split_once('=')) {
                match name.trim().to_ascii_lowercase().as_str() {
                    "q" => weight = value.trim().parse::<f32>().unwrap_or(0.0),
                    "version" => version = value.trim().trim_matches('"'),
                    _ => {}
                }
            }
            if media.eq_ignore_ascii_case("application/openmetrics-text") {
                // 0.0.1 was the draft of 1.0.0.
                if matches!(version, "" | "1.0.0" | "0.0.1") {
                    open = f32::max(open, weight);
                }
            } else if ["text/plain", "text/*", "*/*"].iter().any(|it| media.eq_ignore_ascii_case(it)) {
                text = f32::max(text, weight);
            }
        }
        if open > 0.0 && open >= text { Self::OpenMetrics } else { Self::Text }
    }

    /// What the page's `Content-Type` says.
    #[must_use]
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// A page in the making.
pub(super) struct Page {
    format: Format,
    text: String,
}

impl Page {
    pub(super) const fn new(format: Format) -> Self {
        Self { format, text: String::new() }
    }

    /// Adds a metric about calls.
    pub(super) fn calls(&mut self, collected: &Collected) {
        let Collected { metric: _, family, details, whole: _ } = collected;
        match self.format {
            Format::Text => self.families(std::slice::from_ref(family)),
            Format::OpenMetrics => {
                open_metrics(&mut self.text, family, |index| {
                    details.get(index).map_or(&[], |detail| &detail.exemplars)
                });
            }
        }
    }

    /// Adds metrics that have no exemplars.
    pub(super) fn families(&mut self, families: &[MetricFamily]) {
        match self.format {
            Format::Text => {
                if let Err(error) = TextEncoder::new().encode_utf8(families, &mut self.text) {
                    // It rejects only families without a name or without samples, and there is none.
                    tracing::error!(%error, "the metrics page is not whole");
                }
            }
            Format::OpenMetrics => {
                for family in families {
                    open_metrics(&mut self.text, family, |_| &[]);
                }
            }
        }
    }

    pub(super) fn finish(mut self) -> String {
        if self.format == Format::OpenMetrics {
            self.text.push_str("# EOF\n");
        }
        self.text
    }
}

/// Appends a family. `exemplars` has those of the buckets of a series, by its index.
fn open_metrics<'a>(
    page: &mut String,
    family: &MetricFamily,
    exemplars: impl Fn(usize) -> &'a [Option<Exemplar>],
) {
    let (kind, name) = match family.get_field_type() {
        // The name of a counter is that of its samples without `_total`.
        MetricType::COUNTER => ("counter", family.name().strip_suffix("_total").unwrap_or(family.name())),
        MetricType::HISTOGRAM => ("histogram", family.name()),
        // Nothing here has another type.
        MetricType::GAUGE | MetricType::SUMMARY | MetricType::UNTYPED => ("gauge", family.name()),
    };
    // `fmt::Write` for `String` does not fail.
    let _ = writeln!(page, "# TYPE {name} {kind}");
    if let Some(unit) = ["seconds", "bytes"].into_iter().find(|unit| has_unit(name, unit)) {
        let _ = writeln!(page, "# UNIT {name} {unit}");
    }
    page.push_str("# HELP ");
    page.push_str(name);
    page.push(' ');
    push_escaped(page, family.help());
    page.push('\n');
    let mut labels = String::new();
    for (index, metric) in family.get_metric().iter().enumerate() {
        labels.clear();
        for pair in metric.get_label() {
            push_label(&mut labels, pair);
        }
        match family.get_field_type() {
            MetricType::HISTOGRAM => histogram(page, name, &labels, metric, exemplars(index)),
            MetricType::COUNTER => sample(page, name, "_total", &labels, metric.get_counter().get_value()),
            _ => sample(page, name, "", &labels, metric.get_gauge().get_value()),
        }
    }
}

fn has_unit(name: &str, unit: &str) -> bool {
    name.strip_suffix(unit).is_some_and(|rest| rest.ends_with('_'))
}

fn histogram(page: &mut String, name: &str, labels: &str, metric: &Metric, exemplars: &[Option<Exemplar>]) {
    let histogram = metric.get_histogram();
    let separator = if labels.is_empty() { "" } else { "," };
    let buckets = histogram.get_bucket().iter().map(|it| (it.upper_bound(), it.cumulative_count()));
    for (index, (bound, count)) in buckets.chain([(f64::INFINITY, histogram.get_sample_count())]).enumerate()
    {
        for part in [name, "_bucket{", labels, separator, "le=\""] {
            page.push_str(part);
        }
        if bound.is_infinite() {
            page.push_str("+Inf");
        } else {
            // `1.0`, not `1`: OpenMetrics wants a bound to be written in one way only.
            let _ = write!(page, "{bound:?}");
        }
        let _ = write!(page, "\"}} {count}");
        if let Some(Some(exemplar)) = exemplars.get(index) {
            push_exemplar(page, exemplar);
        }
        page.push('\n');
    }
    sample(page, name, "_count", labels, histogram.get_sample_count() as f64);
    sample(page, name, "_sum", labels, histogram.get_sample_sum());
}

fn sample(page: &mut String, name: &str, suffix: &str, labels: &str, value: f64) {
    page.push_str(name);
    page.push_str(suffix);
    if !labels.is_empty() {
        page.push('{');
        page.push_str(labels);
        page.push('}');
    }
    let _ = writeln!(page, " {value}");
}

fn push_exemplar(page: &mut String, exemplar: &Exemplar) {
    let Exemplar { response_id, value, unix_nanos } = exemplar;
    page.push_str(" # {");
    page.push_str(Exemplar::LABEL);
    page.push_str("=\"");
    push_escaped(page, response_id);
    let at = Duration::from_nanos(*unix_nanos);
    let _ = write!(page, "\"}} {value} {}.{:03}", at.as_secs(), at.subsec_millis());
}

fn push_label(labels: &mut String, pair: &LabelPair) {
    if !labels.is_empty() {
        labels.push(',');
    }
    labels.push_str(pair.name());
    labels.push_str("=\"");
    push_escaped(labels, pair.value());
    labels.push('"');
}

/// Appends a text in which quotes, backslashes and line feeds are escaped.
fn push_escaped(out: &mut String, text: &str) {
    let mut rest = text;
    while let Some(at) = memchr::memchr3(b'"', b'\\', b'\n', rest.as_bytes()) {
        out.push_str(&rest[..at]);
        out.push_str(match rest.as_bytes()[at] {
            b'"' => "\\\"",
            b'\\' => "\\\\",
            _ => "\\n",
        });
        rest = &rest[at + 1..];
    }
    out.push_str(rest);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_gets_what_it_prefers() {
        for (accept, format) in [
            ("", Format::Text),
            ("*/*", Format::Text),
            ("text/html,application/xhtml+xml,*/*;q=0.8", Format::Text),
            ("application/openmetrics-text", Format::OpenMetrics),
            // Prometheus 2.42 and 3.
            (
                "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
                Format::OpenMetrics,
            ),
            (
                "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,text/plain;version=1.0.0;q=0.5,*/*;q=0.2",
                Format::OpenMetrics,
            ),
            ("application/openmetrics-text;version=2.0.0, text/plain; q=0.1", Format::Text),
            ("application/openmetrics-text; q=0", Format::Text),
            ("application/openmetrics-text; q=0.2, text/plain; q=0.9", Format::Text),
            ("Application/OpenMetrics-Text; Version=\"1.0.0\" ; Q=0.9", Format::OpenMetrics),
            (";;;q=,=,,", Format::Text),
        ] {
            assert_eq!(Format::accepted(accept), format, "{accept}");
        }
    }
}
