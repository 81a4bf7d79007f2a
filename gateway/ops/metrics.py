"""The page that Prometheus scrapes: samples in Prometheus' own words, by Prometheus' own library.

The registry is the gateway's own: nothing is global, and nothing is counted for the page. Each scrape reads the
status and the three histograms that ingest keeps anyway.
"""

from __future__ import annotations

import os
import platform
import resource
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.registry import Collector, CollectorRegistry

from gateway.ingest.counters import Counters, Latency
from gateway.ops.metrics_catalogue import BY_NAME, Family, Kind
from gateway.ops.metrics_samples import Process, Sample, Status, samples
from gateway.ops.view import GatewayView

_STAT: Final = Path("/proc/self/stat")


def families(found: Iterable[Sample], counters: Counters) -> Iterator[Metric]:
    """Put samples together by metric, in the order of the catalogue.

    Raises:
        KeyError, ValueError: a sample is not as the catalogue has it; a fault of ours.
    """
    by_name: dict[str, list[Sample]] = {name: [] for name in BY_NAME}
    for sample in found:
        by_name[sample.name].append(sample)
    histograms = {
        "securenet_answer_duration_seconds": counters.latency,
        "securenet_verify_duration_seconds": counters.verify,
        "securenet_commit_duration_seconds": counters.commit,
    }
    for family in BY_NAME.values():
        if family.kind is Kind.HISTOGRAM:
            yield _histogram(family, histograms[family.name])
        elif by_name[family.name]:
            yield _family(family, by_name[family.name])


def _family(family: Family, found: Iterable[Sample]) -> Metric:
    if family.kind is Kind.INFO:
        info = InfoMetricFamily(family.name.removesuffix("_info"), family.meaning)
        for sample in found:
            info.add_metric([], dict(zip(family.labels, sample.labels, strict=True)))
        return info
    make = CounterMetricFamily if family.kind is Kind.COUNTER else GaugeMetricFamily
    metric = make(family.name, family.meaning, labels=family.labels)
    for sample in found:
        if len(sample.labels) != len(family.labels):
            raise ValueError(f"{family.name} has the labels {family.labels}, not {sample.labels}")
        metric.add_metric(sample.labels, float(sample.value))
    return metric


def _histogram(family: Family, measured: Latency) -> Metric:
    buckets, total = [], 0
    for bound, count in zip((*measured.bounds_ms, None), measured.counts, strict=True):
        total += count
        buckets.append(("+Inf" if bound is None else repr(bound / 1000), float(total)))
    metric = HistogramMetricFamily(family.name, family.meaning)
    metric.add_metric([], buckets, measured.total_ms / 1000)
    return metric


def process_now() -> Process:
    """Ask the kernel about this process; what it does not tell is None."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    try:
        fields = _STAT.read_text().rpartition(")")[2].split()
        open_fds = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 -- names alone, no Path for each
        booted_s = _boot_s()
    except OSError:
        return Process(cpu_s=usage.ru_utime + usage.ru_stime)
    return Process(
        cpu_s=usage.ru_utime + usage.ru_stime,
        resident_bytes=int(fields[21]) * resource.getpagesize(),
        open_fds=open_fds,
        max_fds=resource.getrlimit(resource.RLIMIT_NOFILE)[0],
        started_s=None if booted_s is None else booted_s + int(fields[19]) / os.sysconf("SC_CLK_TCK"),
    )


def _boot_s() -> float | None:
    for line in Path("/proc/stat").read_text().splitlines():
        if line.startswith("btime "):
            return float(line.split()[1])
    return None


class GatewayCollector(Collector):
    """Reads a gateway when it is asked, and holds nothing between two questions."""

    def __init__(self, view: GatewayView, wall_ms: Callable[[], int]) -> None:
        self._view = view
        self._wall_ms = wall_ms

    def collect(self) -> Iterator[Metric]:
        """Every metric that there is now."""
        status: Status = self._view.status()
        found = samples(status, now_ms=self._wall_ms(), process=process_now(), python=platform.python_version())
        return families(found, self._view.counters)


class MetricsPage:
    """Renders the metrics as Prometheus' text format 0.0.4, which every scraper reads."""

    content_type: Final = CONTENT_TYPE_PLAIN_0_0_4

    def __init__(self, view: GatewayView, wall_ms: Callable[[], int]) -> None:
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(GatewayCollector(view, wall_ms))

    def render(self) -> bytes:
        """The page, as of now."""
        return generate_latest(self._registry)
