#!/usr/bin/env python3
"""Draws a dashboard as SVG, without Grafana: its panels, filled by its own queries to a Prometheus.

    draw.py host.json --prometheus http://127.0.0.1:9090 --minutes 60 > host.svg

What Grafana does beyond that (transformations, links, tooltips) is left out. Python's own library is all
that it needs."""

import argparse
import datetime
import json
import math
import re
import time
import urllib.parse
import urllib.request
from html import escape

WIDTH, CELL, GAP = 1200, 30, 8
COLOURS = ["#3274d9", "#e0752d", "#37872d", "#a352cc", "#d9a400", "#1f9e9e", "#c4162a", "#7d64b5", "#5b8c00", "#8a5a44"]
NAMED = {"green": "#37872d", "red": "#c4162a", "orange": "#e0752d", "yellow": "#d9a400", "blue": "#3274d9", "text": "#24292f"}
INK, FAINT, LINE = "#24292f", "#6e7781", "#d8dee4"


class Prometheus:
    def __init__(self, url, end, minutes, rate_interval, variables):
        self.url, self.end, self.seconds = url.rstrip("/"), end, minutes * 60
        self.step = max(1, self.seconds // 120)
        self.variables = {"__range": f"{self.seconds}s", "__rate_interval": rate_interval, "__interval": f"{self.step}s"}
        self.variables |= variables

    def expand(self, text):
        return re.sub(r"\$(?:\{(\w+)(?::\w+)?\}|(\w+))", lambda it: self.variables.get(it[1] or it[2], ".*"), text)

    def ask(self, path, **parameters):
        query = urllib.parse.urlencode(parameters)
        with urllib.request.urlopen(f"{self.url}/api/v1/{path}?{query}", timeout=60) as answer:
            return json.load(answer)["data"]["result"]

    def range(self, expression):
        """Pairs of labels and [(time, value)]."""
        answer = self.ask(
            "query_range", query=self.expand(expression), start=self.end - self.seconds, end=self.end, step=self.step
        )
        return [(it["metric"], [(float(t), float(v)) for t, v in it["values"]]) for it in answer]

    def instant(self, expression):
        """Pairs of labels and value."""
        answer = self.ask("query", query=self.expand(expression), time=self.end)
        return [(it["metric"], float(it["value"][1])) for it in answer]


def number(value, unit):
    """`value` as a person reads it."""
    if math.isnan(value):
        return "-"
    if unit == "percentunit":
        return f"{100 * value:.3g} %"
    if unit == "s":
        return f"{value:.3g} s" if value >= 1 else f"{1000 * value:.3g} ms"
    if unit == "currencyUSD":
        return f"${value:.2f}"
    if unit == "dateTimeFromNow":
        return f"{max(0, time.time() - value / 1000) / 60:.0f} min ago"
    suffix = {"reqps": " /s", "cps": " /s", "Bps": "B/s", "bytes": "B"}.get(unit, "")
    base, scales = (1024, ["", "Ki", "Mi", "Gi"]) if unit in ("bytes", "Bps") else (1000, ["", "K", "M", "G"])
    scale = 0
    while abs(value) >= base and scale < 3:
        value, scale = value / base, scale + 1
    text = f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"
    return f"{text}{' ' if scale and not suffix else ''}{' ' if suffix.startswith('B') else ''}{scales[scale]}{suffix}"


def text(x, y, content, size=12, colour=INK, anchor="start", weight="normal"):
    return f'<text x="{x:.0f}" y="{y:.0f}" font-size="{size}" fill="{colour}" text-anchor="{anchor}" font-weight="{weight}">{escape(content)}</text>'


def cut(content, width):
    """`content`, no wider than so many pixels at 11 pixels a letter's height."""
    room = int(width / 6)
    return content if len(content) <= room else content[: max(1, room - 1)] + "…"


def legend(labels, target):
    form = target.get("legendFormat", "__auto")
    if form == "__auto":
        return " ".join(labels.values())
    return re.sub(r"\{\{\s*(\w+)\s*\}\}", lambda it: labels.get(it[1], ""), form).strip() or "(none)"


def ceiling(value):
    """The next number that makes a good end of an axis."""
    if not value > 0:
        return 1.0
    magnitude = 10 ** math.floor(math.log10(value))
    return next(step * magnitude for step in (1, 2, 2.5, 5, 10) if step * magnitude >= value)


def timeseries(panel, prometheus, x, y, width, height):
    defaults = panel["fieldConfig"]["defaults"]
    unit = defaults.get("unit", "short")
    stacked = defaults.get("custom", {}).get("stacking", {}).get("mode") == "normal"
    series = []
    for target in panel["targets"]:
        for labels, points in prometheus.range(target["expr"]):
            points = [(t, v) for t, v in points if math.isfinite(v)]
            if points:
                series.append((legend(labels, target), points))
    series.sort(key=lambda it: -max(v for _, v in it[1]))
    series = series[: len(COLOURS)]
    left, right, top = x + 62, x + width - 14, y + 34
    rows = max(1, math.ceil(len(series) / 3))
    bottom = y + height - 26 - 16 * rows
    start = prometheus.end - prometheus.seconds
    across = lambda t: left + (t - start) / prometheus.seconds * (right - left)

    below, drawn, tallest = {}, [], 0.0
    for name, points in series:
        shown = [(t, v + below.get(t, 0.0), below.get(t, 0.0)) for t, v in points]
        if stacked:
            below |= {t: high for t, high, _ in shown}
        tallest = max([tallest] + [high for _, high, _ in shown])
        drawn.append((name, shown))
    end = ceiling(tallest)
    up = lambda v: bottom - max(0.0, v) / end * (bottom - top)

    out = []
    for part in range(5):
        level = end * part / 4
        out.append(f'<path d="M{left} {up(level):.1f}H{right}" stroke="{LINE}"/>')
        out.append(text(left - 6, up(level) + 4, number(level, unit), 11, FAINT, "end"))
    for part in range(1, 6):
        at = start + prometheus.seconds * part / 6
        label = datetime.datetime.fromtimestamp(at, datetime.timezone.utc).strftime("%H:%M")
        out.append(text(across(at), bottom + 15, label, 11, FAINT, "middle"))
    # Series drawn later lie below: the first is the largest.
    for index, (_, shown) in reversed(list(enumerate(drawn))):
        colour = COLOURS[index]
        for run in runs(shown, prometheus.step):
            line = [(across(t), up(high)) for t, high, _ in run]
            if stacked and len(run) > 1:
                floor = [(across(t), up(low)) for t, _, low in reversed(run)]
                out.append(f'<path d="{path(line + floor)}z" fill="{colour}" fill-opacity=".25"/>')
            out.append(f'<path d="{path(line)}" fill="none" stroke="{colour}" stroke-width="1.5" stroke-linecap="round"/>')
    for index, (name, _) in enumerate(drawn):
        column = (width - 28) / 3
        lx, ly = x + 14 + column * (index % 3), bottom + 34 + 16 * (index // 3)
        out.append(f'<rect x="{lx:.0f}" y="{ly - 8:.0f}" width="10" height="4" fill="{COLOURS[index]}"/>')
        out.append(text(lx + 15, ly, cut(name, column - 20), 11))
    if not series:
        out.append(nothing(x, y, width, height))
    return out


def nothing(x, y, width, height):
    return text(x + width / 2, y + height / 2, "nothing of it in this time", 12, FAINT, "middle")


def path(points):
    """A line through points, by steps of half a pixel: a picture is read once and kept for years."""
    points = [(round(2 * x), round(2 * y)) for x, y in points]
    (x, y), steps = points[0], []
    for (ax, ay), (bx, by) in zip(points, points[1:]):
        steps.append(f"{(bx - ax) / 2:g} {(by - ay) / 2:g}")
    return f"M{x / 2:g} {y / 2:g}l{' '.join(steps) or '0 0'}"


def runs(points, step):
    """The points without the gaps between them."""
    run = []
    for point in points:
        if run and point[0] - run[-1][0] > 1.5 * step:
            yield run
            run = []
        run.append(point)
    if run:
        yield run


def stat(panel, prometheus, x, y, width, height):
    defaults = panel["fieldConfig"]["defaults"]
    values = [value for target in panel["targets"] for _, value in prometheus.instant(target["expr"])]
    if not values:
        return [text(x + width / 2, y + height / 2 + 18, "-", 30, FAINT, "middle")]
    colour = INK
    for step in defaults.get("thresholds", {}).get("steps", []):
        if step["value"] is None or values[0] >= step["value"]:
            colour = NAMED.get(step["color"], INK)
    shown = number(values[0], defaults.get("unit"))
    return [text(x + width / 2, y + height / 2 + 20, shown, 30, colour, "middle", "600")]


def table(panel, prometheus, x, y, width, height):
    found = [pair for target in panel["targets"] for pair in prometheus.instant(target["expr"])]
    if not found:
        return [nothing(x, y, width, height)]
    found.sort(key=lambda it: -it[1])
    columns = list(dict.fromkeys(name for labels, _ in found for name in labels if name != "__name__"))
    unit = panel["fieldConfig"]["defaults"].get("unit", "short")
    column = (width - 28) / (len(columns) + 1)
    out = []
    for index, name in enumerate(columns + ["value"]):
        right = index == len(columns)
        out.append(text(x + width - 14 if right else x + 14 + column * index, y + 46, name, 11, FAINT, "end" if right else "start"))
    for row, (labels, value) in enumerate(found[: int((height - 60) // 19)]):
        at = y + 66 + 19 * row
        out.append(f'<path d="M{x + 14} {at - 14}H{x + width - 14}" stroke="{LINE}"/>')
        for index, name in enumerate(columns):
            out.append(text(x + 14 + column * index, at, cut(labels.get(name, ""), column - 8), 11))
        out.append(text(x + width - 14, at, number(value, unit), 11, INK, "end"))
    return out


KINDS = {"timeseries": timeseries, "stat": stat, "table": table}


def draw(dashboard, prometheus, rows):
    """The dashboard, or those of its rows that are named."""
    unit, out, offset, shown, row_at = WIDTH / 24, [], 0, not rows, 0
    bottom = 0
    for panel in dashboard["panels"]:
        place = panel["gridPos"]
        if panel["type"] == "row":
            if rows:
                was, shown = shown, panel["title"] in rows
                if shown and not was:
                    # What was left out above it leaves no hole.
                    offset = place["y"] - bottom
            if not shown:
                continue
        if not shown:
            continue
        x, y = place["x"] * unit, 44 + (place["y"] - offset) * (CELL + GAP)
        width, height = place["w"] * unit - GAP, place["h"] * (CELL + GAP) - GAP
        bottom = max(bottom, place["y"] - offset + place["h"])
        if panel["type"] == "row":
            out.append(text(x + 8, y + 22, panel["title"], 15, INK, "start", "600"))
            continue
        out.append(f'<rect x="{x + 4:.0f}" y="{y:.0f}" width="{width:.0f}" height="{height:.0f}" rx="4" fill="#fff" stroke="{LINE}"/>')
        out.append(text(x + 18, y + 22, panel["title"], 13, INK, "start", "600"))
        out += KINDS[panel["type"]](panel, prometheus, x + 4, y, width, height)
    height = 44 + bottom * (CELL + GAP) + 26
    note = "drawn from the dashboard's queries by draw.py, not by Grafana"
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}" '
        'font-family="system-ui, -apple-system, Segoe UI, Helvetica, Arial, sans-serif">'
        f'<rect width="100%" height="100%" fill="#f6f8fa"/>'
    )
    title = [text(12, 28, dashboard["title"], 18, INK, "start", "600"), text(WIDTH - 12, height - 10, note, 11, FAINT, "end")]
    return "\n".join([head, *title, *out, "</svg>"])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dashboard")
    parser.add_argument("--prometheus", default="http://127.0.0.1:9090", metavar="URL")
    parser.add_argument("--minutes", type=int, default=60, help="how far back")
    parser.add_argument("--end", type=float, default=time.time(), metavar="UNIX", help="until when")
    parser.add_argument("--rate-interval", default="5m", help="what $__rate_interval is")
    parser.add_argument("--set", action="append", default=[], metavar="VARIABLE=REGEX", help="else each is .*")
    parser.add_argument("--row", action="append", default=[], metavar="TITLE", help="only these rows")
    arguments = parser.parse_args()
    variables = dict(it.split("=", 1) for it in arguments.set)
    prometheus = Prometheus(arguments.prometheus, arguments.end, arguments.minutes, arguments.rate_interval, variables)
    with open(arguments.dashboard, encoding="utf-8") as file:
        print(draw(json.load(file), prometheus, arguments.row))


if __name__ == "__main__":
    main()
