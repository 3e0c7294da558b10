//! The metrics about calls, as OTLP carries them: what the metrics page shows, under OpenTelemetry's
//! names. So both agree, and what bounds the one bounds the other.

use std::time::SystemTime;

use opentelemetry_proto::tonic::{
    collector::metrics::v1::ExportMetricsServiceRequest,
    common::v1::{AnyValue, KeyValue, any_value},
    metrics::v1::{
        AggregationTemporality, Exemplar as OtlpExemplar, Gauge, Histogram, HistogramDataPoint, Metric,
        NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, exemplar, metric::Data,
        number_data_point::Value,
    },
    resource::v1::Resource,
};
use prometheus::proto::{LabelPair, MetricType};

use super::{attributes, scope};
use crate::export::{
    Kind, PrometheusSink, Sample,
    prometheus::{Collected, Detail, Exemplar},
};

/// Data points of one request, at most: with all their labels at their longest they stay below the 4 MiB
/// that receivers take.
const MAX_POINTS: usize = 1000;

/// Requests with all metrics as they are `now`. `since` is when the daemon's own numbers began.
pub(super) fn requests(
    source: &PrometheusSink,
    resource: &Resource,
    since: SystemTime,
) -> Vec<ExportMetricsServiceRequest> {
    let now = SystemTime::now();
    let mut metrics = Vec::new();
    source.collect(|collected| of_calls(&collected, now, &mut metrics));
    of_the_daemon(source.samples(), since, now, &mut metrics);
    let mut requests = Vec::new();
    let mut batch = Vec::new();
    let mut points = 0;
    for (metric, size) in metrics {
        if points + size > MAX_POINTS && !batch.is_empty() {
            requests.push(request(std::mem::take(&mut batch), resource));
            points = 0;
        }
        points += size;
        batch.push(metric);
    }
    if !batch.is_empty() {
        requests.push(request(batch, resource));
    }
    requests
}

fn request(metrics: Vec<Metric>, resource: &Resource) -> ExportMetricsServiceRequest {
    let scope_metrics = vec![ScopeMetrics { scope: Some(scope()), metrics, ..ScopeMetrics::default() }];
    let resource = Some(resource.clone());
    ExportMetricsServiceRequest {
        resource_metrics: vec![ResourceMetrics { resource, scope_metrics, ..ResourceMetrics::default() }],
    }
}

/// Appends a metric, in pieces of at most [`MAX_POINTS`], each with its size.
fn of_calls(collected: &Collected, now: SystemTime, metrics: &mut Vec<(Metric, usize)>) {
    let Collected { metric, family, details, whole } = collected;
    let series: Vec<_> = family.get_metric().iter().zip(details).collect();
    for piece in series.chunks(MAX_POINTS) {
        let data = if family.get_field_type() == MetricType::HISTOGRAM {
            let data_points = piece.iter().map(|(series, detail)| HistogramDataPoint {
                attributes: of_labels(series.get_label()),
                start_time_unix_nano: unix_nanos(detail.since),
                time_unix_nano: unix_nanos(now),
                ..buckets(series.get_histogram(), detail)
            });
            Data::Histogram(Histogram {
                data_points: data_points.collect(),
                aggregation_temporality: AggregationTemporality::Cumulative.into(),
            })
        } else {
            let data_points = piece.iter().map(|(series, detail)| {
                let value = series.get_counter().get_value();
                NumberDataPoint {
                    attributes: of_labels(series.get_label()),
                    start_time_unix_nano: unix_nanos(detail.since),
                    time_unix_nano: unix_nanos(now),
                    value: Some(if *whole { Value::AsInt(value as i64) } else { Value::AsDouble(value) }),
                    ..NumberDataPoint::default()
                }
            });
            rising(data_points.collect())
        };
        metrics.push((
            Metric {
                name: metric.otel.to_owned(),
                description: metric.help.to_owned(),
                unit: metric.unit.to_owned(),
                data: Some(data),
                ..Metric::default()
            },
            piece.len(),
        ));
    }
}

fn rising(data_points: Vec<NumberDataPoint>) -> Data {
    Data::Sum(Sum {
        data_points,
        aggregation_temporality: AggregationTemporality::Cumulative.into(),
        is_monotonic: true,
    })
}

/// Buckets that are not cumulative, as OTLP has them.
fn buckets(histogram: &prometheus::proto::Histogram, detail: &Detail) -> HistogramDataPoint {
    let total = histogram.get_sample_count();
    let ends = histogram.get_bucket().iter().map(prometheus::proto::Bucket::cumulative_count);
    let mut before = 0;
    let bucket_counts =
        ends.chain([total]).map(|end| end.saturating_sub(std::mem::replace(&mut before, end))).collect();
    HistogramDataPoint {
        count: total,
        sum: Some(histogram.get_sample_sum()),
        bucket_counts,
        explicit_bounds: histogram.get_bucket().iter().map(|bucket| bucket.upper_bound()).collect(),
        exemplars: detail.exemplars.iter().flatten().map(exemplar).collect(),
        ..HistogramDataPoint::default()
    }
}

fn exemplar(of: &Exemplar) -> OtlpExemplar {
    let Exemplar { response_id, value, unix_nanos } = of;
    let id = any_value::Value::StringValue(response_id.to_string());
    OtlpExemplar {
        filtered_attributes: vec![KeyValue {
            key: "gen_ai.response.id".to_owned(),
            value: Some(AnyValue { value: Some(id) }),
            ..KeyValue::default()
        }],
        time_unix_nano: *unix_nanos,
        value: Some(exemplar::Value::AsDouble(*value)),
        ..OtlpExemplar::default()
    }
}

fn of_labels(labels: &[LabelPair]) -> Vec<KeyValue> {
    labels.iter().filter_map(|pair| attributes::of_label(pair.name(), pair.value())).collect()
}

/// Appends what the daemon says about itself. (`process_*` is what a collector on the host says of every
/// process.)
fn of_the_daemon(
    samples: Vec<Sample>,
    since: SystemTime,
    now: SystemTime,
    metrics: &mut Vec<(Metric, usize)>,
) {
    let mut samples: Vec<_> = samples.into_iter().filter(|it| it.name.starts_with(OURS)).collect();
    samples.sort_by_key(|sample| sample.name);
    for named in samples.chunk_by(|a, b| a.name == b.name) {
        let Some(first) = named.first() else { continue };
        let data_points = named.iter().map(|sample| NumberDataPoint {
            attributes: sample
                .labels
                .iter()
                .filter_map(|(name, value)| attributes::of_label(name, value))
                .collect(),
            start_time_unix_nano: unix_nanos(since),
            time_unix_nano: unix_nanos(now),
            value: Some(Value::AsDouble(sample.value)),
            ..NumberDataPoint::default()
        });
        let data_points = data_points.collect();
        let data = match first.kind {
            Kind::Counter => rising(data_points),
            Kind::Gauge => Data::Gauge(Gauge { data_points }),
        };
        metrics.push((
            Metric {
                name: otel_name(first.name),
                description: first.help.to_owned(),
                data: Some(data),
                ..Metric::default()
            },
            named.len(),
        ));
    }
}

/// How the names of the daemon's own numbers begin.
const OURS: &str = "llm_tracker_";

/// `llm_tracker.lost_bytes` for `llm_tracker_lost_bytes_total`: a collector that writes to Prometheus makes
/// the one into the other again.
fn otel_name(name: &str) -> String {
    let name = name.strip_suffix("_total").unwrap_or(name);
    name.replacen(OURS, "llm_tracker.", 1)
}

fn unix_nanos(at: SystemTime) -> u64 {
    let since = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        export::{PrometheusConfig, Sink as _},
        record::tests::full,
    };

    fn all(source: &PrometheusSink) -> Vec<Metric> {
        let requests = requests(source, &Resource::default(), SystemTime::now());
        let scopes = requests.into_iter().flat_map(|it| it.resource_metrics).flat_map(|it| it.scope_metrics);
        scopes.flat_map(|it| it.metrics).collect()
    }

    #[test]
    fn buckets_and_units_are_those_of_the_conventions() {
        let source = PrometheusSink::new(PrometheusConfig::default());
        source.record(&full());
        let metrics = all(&source);
        let metric = |name: &str| metrics.iter().find(|metric| metric.name == name).unwrap();
        let histogram = |name: &str| match &metric(name).data {
            Some(Data::Histogram(histogram)) => histogram,
            other => panic!("{name}: {other:?}"),
        };
        let duration = histogram("gen_ai.client.operation.duration");
        assert_eq!(metric("gen_ai.client.operation.duration").unit, "s");
        assert_eq!(duration.aggregation_temporality(), AggregationTemporality::Cumulative);
        let point = &duration.data_points[0];
        assert_eq!((point.count, point.sum), (1, Some(1.5)));
        assert_eq!(point.explicit_bounds.len() + 1, point.bucket_counts.len());
        assert_eq!((point.bucket_counts.iter().sum::<u64>(), point.bucket_counts[8]), (1, 1));
        assert!(point.start_time_unix_nano <= point.time_unix_nano && point.start_time_unix_nano > 0);
        let keys: Vec<_> = point.attributes.iter().map(|it| it.key.as_str()).collect();
        let model = [
            "gen_ai.provider.name",
            "gen_ai.operation.name",
            "gen_ai.request.model",
            "gen_ai.response.model",
            "error.type",
        ];
        assert_eq!(keys, model);
        assert_eq!(point.exemplars[0].filtered_attributes[0].key, "gen_ai.response.id");
        let usage = histogram("gen_ai.client.token.usage");
        assert_eq!((usage.data_points.len(), usage.data_points[0].explicit_bounds[13]), (2, 67_108_864.0));
        let Some(Data::Sum(tokens)) = &metric("llm_tracker.client.tokens").data else { panic!() };
        assert!(tokens.is_monotonic);
        assert_eq!(tokens.data_points[0].value, Some(Value::AsInt(10)));
    }

    #[test]
    fn no_name_is_given_twice() {
        let source = PrometheusSink::new(PrometheusConfig::default());
        source.record(&full());
        let mut names: Vec<_> = all(&source).into_iter().map(|metric| metric.name).collect();
        assert!(names.iter().any(|name| name == "llm_tracker.build_info"));
        assert!(names.iter().all(|name| !name.contains("_total") && !name.starts_with("process")));
        let count = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), count);
    }

    #[test]
    fn requests_are_bounded() {
        let source =
            PrometheusSink::new(PrometheusConfig { max_series: 40_000, ..PrometheusConfig::default() });
        for call in 0..2500 {
            let mut record = full();
            record.call.model = Some(format!("m{call}"));
            source.record(&record);
        }
        let requests = requests(&source, &Resource::default(), SystemTime::now());
        assert!(requests.len() > 10, "{}", requests.len());
        for request in requests {
            let size = prost::Message::encoded_len(&request);
            assert!(size < 2 << 20, "{size}");
        }
    }
}
