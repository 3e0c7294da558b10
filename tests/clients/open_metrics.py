"""Reads a page in OpenMetrics from standard input, as strictly as Prometheus' own library for Python."""

import sys

from prometheus_client.openmetrics.parser import text_string_to_metric_families

families = list(text_string_to_metric_families(sys.stdin.read()))
samples = [sample for family in families for sample in family.samples]
exemplars = [sample for sample in samples if sample.exemplar]
units = [family for family in families if family.unit]
print(f"{len(families)} families, {len(samples)} samples, {len(units)} units, {len(exemplars)} exemplars")
