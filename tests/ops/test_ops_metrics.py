"""The metrics: all there from the start, in Prometheus' form, bounded, and counted right over a real gateway."""

import re
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ops_world import World
from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector, CollectorRegistry

from firmware_sim.keys import generate, registry_lines
from gateway.anchor.holds import Hold, HoldReason
from gateway.anchor.lifecycle import State
from gateway.anchor.report import AnchorStatus
from gateway.chain.port import EndpointHealth
from gateway.custody.chain import plain
from gateway.detection.port import UnscoredReason
from gateway.ingest.counters import Counters, Latency
from gateway.message import RejectReason, Verdict
from gateway.ops.metrics import MetricsPage, families, process_now
from gateway.ops.metrics_catalogue import BY_NAME, FAMILIES, Kind, markdown
from gateway.ops.metrics_samples import FATES, Process, samples

DOCS = Path(__file__).resolve().parents[2] / "docs/operations/metrics.md"
NOW_MS = 1_790_000_000_000


def scraped(text):
    """Every sample of a page, by its name with its labels."""
    return {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def full_status(status):
    """What a gateway with a chain, models, certificates, a clock and a log of its own shows, over a real status."""
    anchors = AnchorStatus(
        state="size 9 is final",
        final_size=9,
        final_ms=NOW_MS - 5000,
        sealed_size=9,
        unanchored=3,
        hold=Hold(HoldReason.OUT_OF_FUNDS, "no ether", NOW_MS),
        account="0x00",
        balance_wei=10**18,
        nonce=2,
        transactions=2,
        gas_used_total=90_000,
        counts={State.FINAL: 2},
        next_at_ms=None,
    )
    model = {"newest": 4, "floor": 1, "granted": True, "running": 3, "put_aside": False, "expired": False}
    model |= {"highest": 3, "refused": 4, "reason": "not-granted", "detail": "", "expires_ms": NOW_MS + 1000}
    return status | {
        "chain": {
            "id": 1,
            "state": "up",
            "since_ms": NOW_MS,
            "detail": "",
            "endpoints": [
                plain(EndpointHealth("http://a:1", 7, 2.5, "")),
                plain(EndpointHealth("b", None, None, "x")),
            ],
            "registry": {},
        },
        "registry": status["registry"] | {"as_of_ms": NOW_MS - 60_000},
        "anchors": plain(anchors),
        "models": {
            "scoring": {
                "worker": "up",
                "restarts": 1,
                "unscored": {"window-short": 5},
                "models": [{"model": "pump", "version": 3, "scored": 11, "faults": 0, "put_aside": False}],
            },
            "frozen": False,
            "models": {"pump": model, "fan": model | {"running": None, "newest": None, "expires_ms": None}},
            "sources": [{"label": "store", "fault": ""}],
        },
        "certificates": [{"name": "mqtt.cert_file", "not_after_ms": NOW_MS, "path": "c.pem"}],
        "clock": {"trusted": False, "why": "no source", "offset_ms": -250, "steps": 2, "since_ms": NOW_MS},
        "logging": dict.fromkeys(FATES, 3),
    }


@pytest.fixture
async def world(tmp_path):
    return World(tmp_path)


def page(status, counters=None):
    class Fixed(Collector):
        def collect(self):
            found = samples(status, now_ms=NOW_MS, process=Process(1, 2, 3, 4, 5), python="3.11")
            return families(found, counters or Counters())

    registry = CollectorRegistry(auto_describe=False)
    registry.register(Fixed())
    return generate_latest(registry).decode()


async def test_what_a_real_gateway_did_is_what_its_metrics_say(world):
    async with world.running(), world.serving() as (_server, client):
        await world.send(20)
        await world.send(3, spoil=True)
        async with client.get("/metrics") as answer:
            assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
            found = scraped(await answer.text())
    assert found["securenet_messages_received_total", ("transport", "mqtt")] == 23
    assert found[("securenet_messages_accepted_total",)] == 20
    assert found["securenet_messages_rejected_total", ("reason", "bad-signature")] == 3
    assert found[("securenet_messages_acknowledged_total",)] == 23
    assert found[("securenet_messages_quarantined_total",)] == 3
    assert found["securenet_scores_total", ("verdict", "unscored")] == 20
    assert found["securenet_unscored_total", ("reason", "no-model")] == 20
    assert found["securenet_answer_duration_seconds_bucket", ("le", "+Inf")] == 23
    assert found[("securenet_commit_duration_seconds_count",)] == found[("securenet_groups_committed_total",)] > 0
    assert found[("securenet_commit_duration_seconds_sum",)] > 0
    assert found[("securenet_verify_duration_seconds_count",)] >= 1
    assert found["securenet_link_up", ("transport", "coap")] == 1
    assert found[("securenet_ready",)] == 1
    assert found["securenet_registry_devices", ("status", "active")] == 4
    assert found[("process_resident_memory_bytes",)] > 1 << 20
    assert abs(found[("process_start_time_seconds",)] - time.time()) < 86400


async def test_every_reason_is_there_at_0_before_the_first_message(world):
    found = scraped(page(world.gateway.status()))
    for reason in RejectReason:
        assert found["securenet_messages_rejected_total", ("reason", reason.value)] == 0
    for reason in UnscoredReason:
        assert found["securenet_unscored_total", ("reason", reason.value)] == 0
    for verdict in Verdict:
        assert found["securenet_scores_total", ("verdict", verdict.value)] == 0
    assert found["securenet_messages_received_total", ("transport", "coap")] == 0
    assert found["securenet_answer_duration_seconds_bucket", ("le", "+Inf")] == 0


async def test_what_a_gateway_does_not_have_is_absent(world):
    names = {name for name, *_labels in scraped(page(world.gateway.status()))}
    assert not [name for name in names if "anchor" in name or "chain" in name or "model" in name]


async def test_what_a_gateway_has_is_shown(world):
    found = scraped(page(full_status(world.gateway.status())))
    assert found["securenet_anchors", ("state", "final")] == 2
    assert found["securenet_anchors", ("state", "reorged")] == 0
    assert found["securenet_anchor_held", ("reason", "out-of-funds")] == 1
    assert found["securenet_anchor_held", ("reason", "fee-capped")] == 0
    assert found[("securenet_anchor_gas_used",)] == 90_000
    assert found["securenet_chain_head_age_seconds", ("endpoint", "http://a:1")] == 2.5
    assert ("securenet_chain_head_age_seconds", ("endpoint", "b")) not in found
    assert found["securenet_chain_endpoint_up", ("endpoint", "b")] == 0
    assert found[("securenet_registry_age_seconds",)] == 60
    assert found["securenet_model_version", ("model", "pump")] == 3
    assert ("securenet_model_version", ("model", "fan")) not in found
    assert found["securenet_model_expiry_timestamp_seconds", ("model", "pump")] == NOW_MS / 1000 + 1
    assert found["securenet_model_scored_total", ("model", "pump")] == 11
    assert found["securenet_unscored_total", ("reason", "window-short")] == 5
    assert found["securenet_task_restarts_total", ("task", "scoring")] == 1
    assert found["securenet_certificate_expiry_timestamp_seconds", ("name", "mqtt.cert_file")] == NOW_MS / 1000
    assert found[("securenet_clock_trusted",)] == 0
    assert found[("securenet_clock_offset_seconds",)] == -0.25
    assert found["securenet_log_events_total", ("fate", "folded")] == 3


async def test_two_accounts_at_one_provider_are_told_apart(world):
    status = full_status(world.gateway.status())
    one, other = (plain(EndpointHealth("https://rpc:443", 7, 2.5, fault)) for fault in ("", "it does not answer"))
    status["chain"]["endpoints"] = [one, other]
    status["models"]["sources"] = [{"label": "car a.car", "fault": "x"}, {"label": "car a.car", "fault": ""}]
    text = page(status)
    series = [line.rpartition(" ")[0] for line in text.splitlines() if not line.startswith("#")]
    assert len(series) == len(set(series))
    found = scraped(text)
    assert found["securenet_chain_endpoint_up", ("endpoint", "https://rpc:443")] == 1
    assert found["securenet_chain_endpoint_up", ("endpoint", "https://rpc:443 (2)")] == 0
    assert found["securenet_ipfs_source_up", ("source", "car a.car (2)")] == 1


async def test_every_metric_of_the_catalogue_is_shown_by_some_gateway(world):
    status = full_status(world.gateway.status())
    status["disk_bytes"] = 5
    status["tasks"] = {"coap": {"state": "running", "restarts": 0, "last_fault": ""}}
    shown = page(status)
    for family in FAMILIES:
        assert f"# HELP {family.name}" in shown or f"# HELP {family.name.removesuffix('_total')}" in shown, (
            family.name
        )


async def test_no_device_is_a_label(world):
    async with world.running():
        await world.send(8)
        await world.send(4, spoil=True)
        text = MetricsPage(world.gateway, world.gateway._clock.wall_ms).render().decode()
    assert not [device for device in {sent.device_id for sent in world.author.messages} if device in text]


def test_names_follow_prometheus():
    assert len(BY_NAME) == len(FAMILIES)
    for family in FAMILIES:
        assert re.fullmatch(r"(securenet|process)_[a-z_]+", family.name)
        assert family.name.endswith("_total") == (family.kind is Kind.COUNTER), family.name
        assert family.name.endswith("_info") == (family.kind is Kind.INFO), family.name
        assert not re.search(r"_(ms|minutes|kib|percent)(_|$)", family.name)
        assert family.meaning.endswith(".")


def test_the_page_of_the_docs_has_the_table():
    text = DOCS.read_text()
    begin, end = "<!-- metrics: begin -->\n", "<!-- metrics: end -->"
    assert text.partition(begin)[2].partition(end)[0] == markdown(), f"put this there:\n{markdown()}"


@given(st.lists(st.floats(-5, 1e6), max_size=50))
def test_a_histogram_counts_each_value_in_every_bucket_above_it(values):
    counters = Counters()
    for value in values:
        counters.commit.add(value)
    [histogram] = [one for one in families([], counters) if one.name == "securenet_commit_duration_seconds"]
    for sample in histogram.samples:
        if sample.name.endswith("_bucket"):
            assert sample.value == sum(max(0, value) <= float(sample.labels["le"]) * 1000 for value in values)
        elif sample.name.endswith("_count"):
            assert sample.value == len(values)


@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=50), st.floats(0.01, 1))
def test_a_quantile_is_a_bound_that_enough_values_are_below(values, share):
    latency = Latency()
    for value in values:
        latency.add(value)
    bound = latency.quantile_ms(share)
    assert bound == 60_000 or sum(value <= bound for value in values) >= share * len(values)


def test_the_kernel_tells_of_this_process():
    process = process_now()
    assert process.cpu_s > 0
    assert 10 < process.resident_bytes / 2**20 < 10_000
    assert 3 <= process.open_fds <= process.max_fds
    assert 0 <= time.time() - process.started_s < 3600


async def test_a_scrape_with_100000_devices_takes_less_than_50_ms(world):
    """The registry is the only thing that grows with the fleet; nothing of a scrape goes over it."""
    lines = "\n".join(registry_lines(generate("plant-7", 1, (), 0, b"many")))
    head, _colon, rest = lines.partition('"id"')
    device = re.search(r'"([^"]+)"', rest).group(1)
    with world.files.registry.open("a") as registry:
        registry.writelines(f'{head}"id"{rest.replace(device, f"d-{number}", 1)}\n' for number in range(100_000))
    await world.gateway._custody.reload()
    assert world.gateway.registry.counts.devices > 100_000
    async with world.serving() as (_server, client):
        took_s = []
        for _ in range(5):
            started_s = time.perf_counter()
            async with client.get("/metrics") as answer:
                assert 'status="active"' in await answer.text()
            took_s.append(time.perf_counter() - started_s)
    assert min(took_s) < 0.05
