"""Alert rules, recording rules and dashboard: accepted by promtool, fire when they should, know only real metrics."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from ops_world import World

from gateway.ops.metrics import MetricsPage
from gateway.ops.metrics_catalogue import FAMILIES, Kind

CONFIG = Path(__file__).resolve().parents[2] / "config"
ALERTS = CONFIG / "prometheus/securenet-alerts.yml"
RECORDING = CONFIG / "prometheus/securenet-recording.yml"
DASHBOARD = CONFIG / "grafana/securenet.json"
WHERE = {"instance": "gw-1:8470", "job": "securenet"}
MINUTES = 180
DAY_S = 86400

HEALTHY = [
    ("up", {}, "1x180"),
    ("securenet_ready", {}, "1x180"),
    ("securenet_uptime_seconds", {}, "100000+60x180"),
    ("securenet_commit_faults_total", {}, "2x180"),
    ("securenet_link_up", {"transport": "mqtt"}, "1x180"),
    ("securenet_task_restarts_total", {"task": "mqtt"}, "1x180"),
    ("securenet_queue_messages", {}, "3x180"),
    ("securenet_queue_capacity_messages", {}, "4096x180"),
    ("securenet_answer_duration_seconds_bucket", {"le": "0.05"}, "0+600x180"),
    ("securenet_answer_duration_seconds_bucket", {"le": "5"}, "0+600x180"),
    ("securenet_answer_duration_seconds_bucket", {"le": "+Inf"}, "0+600x180"),
    ("securenet_commit_duration_seconds_bucket", {"le": "0.02"}, "0+600x180"),
    ("securenet_commit_duration_seconds_bucket", {"le": "5"}, "0+600x180"),
    ("securenet_commit_duration_seconds_bucket", {"le": "+Inf"}, "0+600x180"),
    ("securenet_messages_received_total", {"transport": "mqtt"}, "0+600x180"),
    ("securenet_messages_rejected_total", {"reason": "bad-signature"}, "0+1x180"),
    ("securenet_messages_rejected_total", {"reason": "sequence-reused"}, "0x180"),
    ("securenet_messages_rejected_total", {"reason": "duplicate"}, "0x180"),
    ("securenet_disk_used_bytes", {}, "1000x180"),
    ("securenet_disk_budget_bytes", {}, "4000x180"),
    ("securenet_registry_age_seconds", {}, "30x180"),
    ("securenet_registry_max_age_seconds", {}, "14400x180"),
    ("securenet_chain_up", {}, "1x180"),
    ("securenet_chain_head_age_seconds", {"endpoint": "a"}, "9000x180"),
    ("securenet_chain_head_age_seconds", {"endpoint": "b"}, "12x180"),
    ("securenet_log_entries", {}, "1000+600x180"),
    ("securenet_anchor_final_entries", {}, "0+600x180"),
    ("securenet_anchor_final_timestamp_seconds", {}, "0+60x180"),
    ("securenet_anchor_held", {"reason": "out-of-funds"}, "0x180"),
    ("securenet_anchor_balance_wei", {}, "1000000000000000000x180"),
    ("securenet_model_granted", {"model": "pump"}, "1x180"),
    ("securenet_model_version", {"model": "pump"}, "3x180"),
    ("securenet_model_refused", {"model": "pump"}, "0x180"),
    ("securenet_model_expiry_timestamp_seconds", {"model": "pump"}, f"{30 * DAY_S}x180"),
    ("securenet_certificate_expiry_timestamp_seconds", {"name": "mqtt.cert_file"}, f"{90 * DAY_S}x180"),
    ("securenet_clock_trusted", {}, "1x180"),
    ("securenet_clock_steps_total", {}, "0x180"),
    ("securenet_log_events_total", {"fate": "lost"}, "4x180"),
    ("securenet_log_events_total", {"fate": "folded"}, "0+5x180"),
]
"""What a gateway shows on a good day; promtool's clock begins at 0."""

FIRES = {
    "SecureNetGatewayDown": ([("up", {}, "0x180")], {}),
    "SecureNetNotReady": ([("securenet_ready", {}, "0x180")], {}),
    "SecureNetJournalBlocked": (
        [("securenet_commit_faults_total", {}, "0+1x180"), ("securenet_ready", {}, "0x180")],
        {},
    ),
    "SecureNetLinkDown": ([("securenet_link_up", {"transport": "mqtt"}, "0x180")], {"transport": "mqtt"}),
    "SecureNetTaskRestarting": (
        [("securenet_task_restarts_total", {"task": "mqtt"}, "0+1x180")],
        {"task": "mqtt"},
    ),
    "SecureNetQueueFilling": ([("securenet_queue_messages", {}, "4000x180")], {}),
    "SecureNetAnswersSlow": (
        [
            ("securenet_answer_duration_seconds_bucket", {"le": "0.05"}, "0+500x180"),
            ("securenet_answer_duration_seconds_bucket", {"le": "5"}, "0+600x180"),
        ],
        {},
    ),
    "SecureNetCommitsSlow": ([("securenet_commit_duration_seconds_bucket", {"le": "0.02"}, "0+300x180")], {}),
    "SecureNetManyRejected": (
        [("securenet_messages_rejected_total", {"reason": "too-old"}, "0+100x180")],
        {},
    ),
    "SecureNetBadSignatures": (
        [("securenet_messages_rejected_total", {"reason": "bad-signature"}, "0+30x180")],
        {"reason": "bad-signature"},
    ),
    "SecureNetDeviceCloned": (
        [("securenet_messages_rejected_total", {"reason": "sequence-reused"}, "0x170 1x10")],
        {"reason": "sequence-reused"},
    ),
    "SecureNetDiskNearBudget": ([("securenet_disk_used_bytes", {}, "3900x180")], {}),
    "SecureNetRegistryAging": ([("securenet_registry_age_seconds", {}, "9000x180")], {}),
    "SecureNetChainDown": ([("securenet_chain_up", {}, "0x180")], {}),
    "SecureNetChainHeadStale": ([("securenet_chain_head_age_seconds", {"endpoint": "b"}, "1000x180")], {}),
    "SecureNetAnchorsLate": ([("securenet_anchor_final_timestamp_seconds", {}, "60x180")], {}),
    "SecureNetAnchoringHeld": (
        [("securenet_anchor_held", {"reason": "out-of-funds"}, "1x180")],
        {"reason": "out-of-funds"},
    ),
    "SecureNetAnchorFundsLow": ([("securenet_anchor_balance_wei", {}, "1000000000000000x180")], {}),
    "SecureNetModelNotRunning": ([("securenet_model_version", {"model": "pump"}, "_x180")], {"model": "pump"}),
    "SecureNetModelRefused": ([("securenet_model_refused", {"model": "pump"}, "1x180")], {"model": "pump"}),
    "SecureNetModelExpiring": (
        [("securenet_model_expiry_timestamp_seconds", {"model": "pump"}, f"{6 * DAY_S}x180")],
        {"model": "pump"},
    ),
    "SecureNetCertificateExpiring": (
        [("securenet_certificate_expiry_timestamp_seconds", {"name": "mqtt.cert_file"}, f"{29 * DAY_S}x180")],
        {"name": "mqtt.cert_file"},
    ),
    "SecureNetCertificateExpiringSoon": (
        [("securenet_certificate_expiry_timestamp_seconds", {"name": "mqtt.cert_file"}, f"{6 * DAY_S}x180")],
        {"name": "mqtt.cert_file"},
    ),
    "SecureNetClockNotTrusted": ([("securenet_clock_trusted", {}, "0x180")], {}),
    "SecureNetClockStepped": ([("securenet_clock_steps_total", {}, "0x170 1x10")], {}),
    "SecureNetLogEventsLost": ([("securenet_log_events_total", {"fate": "lost"}, "4x150 9x30")], {"fate": "lost"}),
}
"""What changes for each alert to fire, and the labels that it carries."""


def promtool(*arguments, given=None):
    found = shutil.which("promtool")
    if found is None:
        message = "promtool is not installed (apt-get install prometheus)"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    done = subprocess.run([found, *map(str, arguments)], input=given, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def rules():
    """Each alert's severity and annotations, as they are written."""
    found = {}
    for block in ALERTS.read_text().split("      - alert: ")[1:]:
        texts = dict(re.findall(r'^ {10}(summary|description): (".*")$', block, re.MULTILINE))
        texts = {name: json.loads(text) for name, text in texts.items()}
        texts["runbook_url"] = re.search(r"runbook_url: (\S+)", block).group(1)
        found[block.split()[0]] = (re.search(r"severity: (\w+)", block).group(1), texts)
    return found


def series(changed=()):
    """The series of a good day with some of them changed."""
    values = {
        f"{name}{json.dumps(WHERE | labels).replace(': ', '=')}": value
        for name, labels, value in [*HEALTHY, *changed]
    }
    return [{"series": re.sub(r'"(\w+)"=', r"\1=", name), "values": value} for name, value in values.items()]


def expectation(alert, labels):
    severity, texts = rules()[alert]
    all_labels = WHERE | labels
    shown = {
        name: re.sub(r"\{\{ \$labels\.(\w+) \}\}", lambda match: all_labels[match.group(1)], text)
        for name, text in texts.items()
    }
    return {"exp_labels": {**all_labels, "severity": severity}, "exp_annotations": shown}


def test_promtool_takes_the_files():
    promtool("check", "rules", ALERTS, RECORDING)
    promtool("check", "config", CONFIG / "prometheus/prometheus.yml")


def test_every_alert_fires_when_it_should_and_is_quiet_on_a_good_day(tmp_path):
    assert set(FIRES) == set(rules())
    quiet = {
        "interval": "1m",
        "input_series": series(),
        "alert_rule_test": [{"eval_time": f"{MINUTES}m", "alertname": alert, "exp_alerts": []} for alert in FIRES],
    }
    loud = [
        {
            "interval": "1m",
            "input_series": series(changed),
            "alert_rule_test": [
                {"eval_time": f"{MINUTES}m", "alertname": alert, "exp_alerts": [expectation(alert, labels)]}
            ],
        }
        for alert, (changed, labels) in FIRES.items()
    ]
    file = tmp_path / "test.yml"
    file.write_text(json.dumps({"rule_files": [str(ALERTS)], "evaluation_interval": "1m", "tests": [quiet, *loud]}))
    promtool("test", "rules", file)


def test_anchors_are_late_too_when_none_was_ever_final(tmp_path):
    changed = [("securenet_anchor_final_timestamp_seconds", {}, "_x180")]
    test = {
        "interval": "1m",
        "input_series": series(changed),
        "alert_rule_test": [
            {
                "eval_time": f"{MINUTES}m",
                "alertname": "SecureNetAnchorsLate",
                "exp_alerts": [expectation("SecureNetAnchorsLate", {})],
            }
        ],
    }
    file = tmp_path / "test.yml"
    file.write_text(json.dumps({"rule_files": [str(ALERTS)], "evaluation_interval": "1m", "tests": [test]}))
    promtool("test", "rules", file)


NIGHTS = {
    "one commit that succeeded at the second try": [("securenet_commit_faults_total", {}, "0x175 1x5")],
    "a device that is set at each start for want of a battery": [
        ("securenet_uptime_seconds", {}, "60+60x180"),
        ("securenet_clock_steps_total", {}, "0x3 1x177"),
    ],
    "a message after hours of silence, not anchored yet": [
        ("securenet_log_entries", {}, "500x140 501x40"),
        ("securenet_anchor_final_entries", {}, "500x180"),
        ("securenet_anchor_final_timestamp_seconds", {}, "60x180"),
    ],
    "devices that repeat everything after an outage": [
        ("securenet_messages_rejected_total", {"reason": "duplicate"}, "0+590x180"),
    ],
}
"""What wakes nobody: it is over, or it is as it should be."""


@pytest.mark.parametrize("night", NIGHTS)
def test_nobody_is_woken_for_nothing(tmp_path, night):
    minutes = (*range(5, MINUTES, 5), MINUTES)
    quiet = [{"eval_time": f"{at}m", "alertname": alert, "exp_alerts": []} for alert in FIRES for at in minutes]
    test = {"interval": "1m", "input_series": series(NIGHTS[night]), "alert_rule_test": quiet}
    file = tmp_path / "test.yml"
    file.write_text(json.dumps({"rule_files": [str(ALERTS)], "evaluation_interval": "1m", "tests": [test]}))
    promtool("test", "rules", file)


def test_the_recorded_rates_are_the_rates(tmp_path):
    gateway = {"gateway": "gw-1", "fleet": "plant-7", "origin": "o"}
    given = series(
        [
            ("securenet_messages_accepted_total", {}, "0+600x180"),
            ("securenet_gateway_info", gateway, "1x180"),
        ]
    )
    expected = [
        ("fleet:securenet_messages_accepted:rate5m", '{fleet="plant-7"}', 10),
        ("instance:securenet_messages_accepted:rate5m", '{instance="gw-1:8470", job="securenet"}', 10),
        ("instance:securenet_messages_rejected:rate5m", '{instance="gw-1:8470", job="securenet"}', 1 / 60),
    ]
    tests = [
        {"eval_time": "60m", "expr": name, "exp_samples": [{"labels": f"{name}{labels}", "value": value}]}
        for name, labels, value in expected
    ]
    document = {"interval": "1m", "input_series": given, "promql_expr_test": tests}
    file = tmp_path / "test.yml"
    file.write_text(json.dumps({"rule_files": [str(RECORDING)], "evaluation_interval": "1m", "tests": [document]}))
    promtool("test", "rules", file)


def known():
    """Every name that a scrape can have, and those that are recorded from them."""
    names = {"up"}
    for family in FAMILIES:
        suffixes = ("_bucket", "_sum", "_count") if family.kind is Kind.HISTOGRAM else ("",)
        names |= {family.name + suffix for suffix in suffixes}
    return names | set(re.findall(r"record: (\S+)", RECORDING.read_text()))


def test_every_metric_of_rules_and_dashboard_exists():
    asked = "\n".join(re.findall(r"expr: (.*(?:\n {10}\S.*)*)", ALERTS.read_text() + RECORDING.read_text()))
    asked += "\n".join(expressions())
    names = set(re.findall(r"\b(?:[a-z]+:)?(?:securenet|process)_[a-z0-9_]+(?::[a-z0-9_]+)?", asked))
    assert len(names) > 30
    assert names <= known(), names - known()


def test_every_label_that_is_selected_or_grouped_by_exists():
    labels = {label for family in FAMILIES for label in family.labels} | {"instance", "job", "le"}
    text = ALERTS.read_text() + RECORDING.read_text() + "\n".join(expressions())
    for group in re.findall(r"\b(?:by|on|group_left) \(([^)]*)\)", text):
        assert {label.strip() for label in group.split(",")} <= labels, group
    for selected in re.findall(r"\b[a-z_]+\{([^}$]*)\}", text):
        assert set(re.findall(r"(\w+)\s*=", selected)) <= labels, selected


def expressions():
    document = json.loads(DASHBOARD.read_text())
    found = [target["expr"] for panel in document["panels"] for target in panel.get("targets", [])]
    return found + [str(each["query"]["query"]) for each in document["templating"]["list"] if each["type"] == "query"]


def test_the_dashboard_is_one_that_grafana_takes():
    document = json.loads(DASHBOARD.read_text())
    assert document["schemaVersion"] >= 36
    assert document["uid"]
    assert [each["name"] for each in document["templating"]["list"]] == ["datasource", "fleet", "gateway", "instance"]
    ids = [panel["id"] for panel in document["panels"]]
    assert len(ids) == len(set(ids))
    taken = set()
    for panel in document["panels"]:
        assert panel["title"]
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        taken |= cells
        if panel["type"] == "row":
            continue
        assert panel["description"], panel["title"]
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        for target in panel["targets"]:
            assert 'instance=~"$instance"' in target["expr"], target["expr"]


def test_promtool_can_read_every_expression_of_the_dashboard(tmp_path):
    asked = [expr.replace("$__rate_interval", "5m") for expr in expressions() if not expr.startswith("label_values")]
    assert len(asked) > 20
    recorded = [{"record": "dashboard:" + "x" * number, "expr": expr} for number, expr in enumerate(asked, 1)]
    file = tmp_path / "dashboard.yml"
    file.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": recorded}]}))
    promtool("check", "rules", file)


async def test_promtool_has_nothing_against_the_page_of_metrics(tmp_path):
    page = MetricsPage(World(tmp_path).gateway, lambda: 0).render()
    promtool("check", "metrics", given=page.decode())
