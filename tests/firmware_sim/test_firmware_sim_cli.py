"""The command line: what it writes, what it says, and how it ends."""

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from firmware_sim.carriers import MqttOptions
from firmware_sim.cli import main
from firmware_sim.envelope import open_envelope
from firmware_sim.keys import format_log_key
from firmware_sim.scenarios import SCENARIOS

DOCS = Path(__file__).parents[2] / "docs" / "firmware_sim.md"
LOG_KEY = format_log_key("securenet/villa/gw", bytes(range(32)))


def run(*arguments):
    return CliRunner().invoke(main, [str(each) for each in arguments])


@pytest.fixture
def key_file(tmp_path):
    path = tmp_path / "keys.json"
    result = run(
        "keys", "--devices", 300, "--fleet", "villa", "--out", tmp_path / "registry.jsonl", "--private", path
    )
    assert result.exit_code == 0, result.output
    return path


def test_keys_writes_a_registry_with_a_line_for_the_gateway(tmp_path):
    registry = tmp_path / "registry.jsonl"
    result = run(
        "keys", "--devices", 3, "--fleet", "villa", "--out", registry, "--private", tmp_path / "keys.json",
        "--gateway-id", "gw", "--log-key", LOG_KEY, "--hostile", 1,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    rows = [json.loads(line) for line in registry.read_text().splitlines()]
    assert [row["log"] for row in rows if row["kind"] == "miner"] == ["securenet/villa/gw"]
    assert sum(row["kind"] == "device" for row in rows) == 3 + len(SCENARIOS)


def test_keys_from_a_seed_repeat_and_warn(tmp_path):
    def make(name):
        result = run(
            "keys",
            "--devices",
            3,
            "--fleet",
            "f",
            "--out",
            tmp_path / "r",
            "--private",
            tmp_path / name,
            "--seed",
            "s",
        )
        assert "tests only" in result.output
        return (tmp_path / name).read_text()

    assert make("a") == make("b")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--scenario", "theft"], "unknown scenario 'theft'"),
        (["--fleet", "other"], "not 'other'"),
        (["--mqtt", "host:port"], "no host[:port]"),
        (["--mqtt", "host:65536"], "no host[:port]"),
        (["--mqtt", "host:0"], "no host[:port]"),
        (["--mqtt", "host:" + "9" * 5000], "no host[:port]"),
        (["--mqtt", "mqtts://host"], "--mqtt-ca"),
        (["--coap", "http://host"], "no coap://"),
        (["--mqtt", "localhost", "--mqtt-username", "{device}"], "--mqtt-connections device"),
        ([], "neither an MQTT broker nor a CoAP gateway"),
        (["--coap", "127.0.0.1", "--devices", "301"], "the key file has 300"),
    ],
)
def test_wrong_usage_is_explained(key_file, arguments, says):
    result = run("run", "--keys", key_file, "--log-key", LOG_KEY, *arguments)
    assert result.exit_code == 2
    assert says in result.output


def test_a_password_that_is_no_text_is_named(key_file, tmp_path):
    (tmp_path / "password").write_bytes(b"\xff")
    result = run(
        "run",
        "--keys",
        key_file,
        "--log-key",
        LOG_KEY,
        "--mqtt",
        "host",
        "--mqtt-password-file",
        tmp_path / "password",
    )
    assert result.exit_code == 2
    assert "cannot read the password" in result.output


def test_nothing_but_the_device_is_filled_into_a_name():
    options = MqttOptions("host", username="{site}-{device}", client_id="{device.__class__}")
    made = options.connect_options("home-1")
    assert (made.username, made.client_id) == ("{site}-home-1", "{device.__class__}")


def test_a_run_without_a_log_key_asks_for_it(key_file):
    result = run("run", "--keys", key_file, "--coap", "127.0.0.1")
    assert result.exit_code == 2
    assert "--log-key" in result.output


def test_the_kit_lists_its_cases(key_file):
    result = run("conformance", "--registry-keys", key_file, "--list", "--only", "cose/window")
    assert result.exit_code == 0, result.output
    assert "stale-session" in result.output


def test_scenarios_are_listed():
    result = run("scenarios")
    assert result.exit_code == 0
    assert all(name in result.output for name in SCENARIOS)


def test_the_example_in_the_docs_builds_an_envelope():
    (example,) = re.findall(r"```python\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)
    names = {}
    exec(compile(example, str(DOCS), "exec"), names)
    opened = open_envelope(names["envelope"])
    assert opened.facts.device_id == names["DEVICE_ID"]
    assert opened.facts.seq == 1
    assert names["registration"]["alg"] == "Ed25519"
    assert names["mqtt_topic"].endswith("/up")
    assert not names["is_answered"](
        b"noise", names["digest"], names["ReceiptVerifier"](names["parse_log_key"](LOG_KEY))
    )
