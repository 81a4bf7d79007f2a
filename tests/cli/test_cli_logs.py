import gzip
import io
import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
import structlog
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from support.journald import running_journald

from gateway.cli.logs import logs
from gateway.cli.main import cli
from gateway.config.model import LoggingConfig
from gateway.ops.event_sources import (
    MAX_LINE_BYTES,
    EventSourceFault,
    JournalQuery,
    bounded_lines,
    file_lines,
    journal_lines,
)
from gateway.ops.events import TEXT, Filters, parse_line, parse_moment, read_events
from gateway.ops.exitcodes import ExitCode
from gateway.ops.logging import configure_logging

PAGE = Path(__file__).resolve().parents[2] / "docs" / "operations" / "events.md"
NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)


def line(second, event="mqtt.up", level="info", **facts):
    stamp = datetime.fromtimestamp(NOON.timestamp() + second, UTC).isoformat().replace("+00:00", "Z")
    return json.dumps({**facts, "event": event, "level": level, "timestamp": stamp})


@pytest.fixture
def log_file(tmp_path):
    path = tmp_path / "gateway.log"
    path.write_text(
        "\n".join(
            [
                line(0, "gateway.started", log_size=0),
                line(1, "message.rejected", device="dev-1", reason="bad-signature", transport="mqtt"),
                "Traceback (most recent call last):",
                line(2, "message.rejected", device="dev-2", reason="too-old"),
                line(3, "mqtt.down", "warning", broker="b", detail="away"),
                line(4, "journal.blocked", "error", detail="disk full"),
                '{"event": "torn',
            ]
        )
    )
    return path


@pytest.mark.parametrize(
    ("options", "events"),
    [
        ([], ["gateway.started", "message.rejected", "message.rejected", "mqtt.down", "journal.blocked"]),
        (["--device", "dev-1"], ["message.rejected"]),
        (["--reason", "too-old"], ["message.rejected"]),
        (["--device", "dev-1", "--reason", "too-old"], []),
        (["--event", "m*"], ["message.rejected", "message.rejected", "mqtt.down"]),
        (["--level", "warning"], ["mqtt.down", "journal.blocked"]),
        (["--since", "2026-01-31T12:00:03Z"], ["mqtt.down", "journal.blocked"]),
        (["--until", "2026-01-31T12:00:00+00:00"], ["gateway.started"]),
        (["--lines", "2"], ["mqtt.down", "journal.blocked"]),
        (["--since", "1m"], []),
    ],
)
def test_a_file_is_filtered_and_bad_lines_are_counted(securenet, log_file, options, events):
    done = securenet("logs", "--file", log_file, "--json", *options)
    assert done.exit_code == ExitCode.OK
    assert [event["event"] for event in done.json["events"]] == events
    assert done.json["bad_lines"] == 2


def test_people_get_time_level_event_and_facts_on_one_line(securenet, log_file):
    done = securenet("logs", "--file", log_file, "--event", "message.rejected", "--lines", 2)
    assert done.stdout.splitlines() == [
        "2026-01-31 12:00:01.000Z info    message.rejected device=dev-1 reason=bad-signature transport=mqtt",
        "2026-01-31 12:00:02.000Z info    message.rejected device=dev-2 reason=too-old",
    ]
    assert "2 lines are no events" in done.stderr


def test_what_a_file_says_cannot_move_the_terminal(securenet, tmp_path):
    path = tmp_path / "log"
    path.write_text(
        line(0, "x.y\x1b[2J", "error", device="\x1b]0;owned\x07", exception="Traceback\n  \x1b[31mx\n") + "\n"
    )
    done = securenet("logs", "--file", path)
    assert "\x1b" not in done.stdout
    assert "\x07" not in done.stdout
    assert done.stdout.splitlines()[1:] == ["    Traceback", "      \\x1b[31mx"]


def test_rotated_files_come_first_the_oldest_first(securenet, log_file):
    folder = log_file.parent
    (folder / "gateway.log.1").write_text(line(-10, "a.one") + "\n")
    (folder / "gateway.log.2.gz").write_bytes(gzip.compress((line(-20, "a.two") + "\n").encode()))
    (folder / "gateway.log.10.gz").write_bytes(gzip.compress((line(-30, "a.ten") + "\n").encode())[:-6])
    (folder / "gateway.log-20260101").write_text(line(-40, "a.dated") + "\n")
    (folder / "gateway.log.bak").write_text(line(-50, "a.stranger") + "\n")
    done = securenet("logs", "--file", log_file, "--json", "--event", "a.*")
    assert [event["event"] for event in done.json["events"]] == ["a.dated", "a.ten", "a.two", "a.one"]
    assert done.json["bad_lines"] == 3  # the truncated archive is one
    one = securenet("logs", "--file", folder / "gateway.log.2.gz", "--json")
    assert [event["event"] for event in one.json["events"]] == ["a.two"]


def test_standard_input_is_a_source_too():
    done = CliRunner().invoke(cli, ["logs", "--file", "-", "--json"], input=line(0, "a.b") + "\njunk\n")
    assert json.loads(done.stdout)["events"][0]["event"] == "a.b"
    assert json.loads(done.stdout)["bad_lines"] == 1


@pytest.mark.parametrize(
    ("options", "code"),
    [
        (["--file", "none"], ExitCode.NO_INPUT),
        (["--since", "yesterday-ish"], ExitCode.USAGE),
        (["--level", "loud"], ExitCode.USAGE),
        (["--lines", "0"], ExitCode.USAGE),
    ],
)
def test_what_cannot_be_read_is_told_by_its_code(securenet, options, code):
    assert securenet("logs", *options).exit_code == code


def test_a_machine_without_journalctl_says_what_to_do(securenet, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    done = securenet("logs")
    assert done.exit_code == ExitCode.NO_INPUT
    assert "--file" in done.stderr


def test_a_journalctl_that_hangs_is_ended(monkeypatch, tmp_path):
    program = tmp_path / "journalctl"
    program.write_text(f"#!/bin/sh\necho '{line(0)}'\nexec sleep 60\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    began = time.monotonic()
    read = []

    def all_of_it():
        with journal_lines(JournalQuery(), within_s=0.5) as lines:
            read.extend(lines)

    with pytest.raises(EventSourceFault, match="did not end within"):
        all_of_it()
    assert len(read) == 1
    with journal_lines(JournalQuery()) as lines:
        assert read_events(lines, limit=1, newest_first=True).events
    assert time.monotonic() - began < 10


def test_a_journalctl_that_refuses_is_quoted(securenet, monkeypatch, tmp_path):
    program = tmp_path / "journalctl"
    program.write_text("#!/bin/sh\necho 'No such \033[31mnamespace' >&2\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    done = securenet("logs")
    assert done.exit_code == ExitCode.NO_INPUT
    assert "journalctl: No such" in done.stderr
    assert "\x1b" not in done.stderr


def test_a_line_of_any_length_is_read_in_bounded_memory():
    file = io.BytesIO(b"x" * (3 * MAX_LINE_BYTES) + b"\n" + line(0).encode() + b"\n" + b"y" * (MAX_LINE_BYTES + 1))
    assert [len(each) for each in bounded_lines(file)] == [0, len(line(0)) + 1, 0]


@given(
    st.binary(max_size=300)
    | st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=30),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    [
                        "event",
                        "level",
                        "timestamp",
                        "MESSAGE",
                        "PRIORITY",
                        "__REALTIME_TIMESTAMP",
                        "SECURENET_EVENT",
                        "__CURSOR",
                    ]
                ),
                inner,
                max_size=6,
            )
        ),
        max_leaves=12,
    ).map(lambda value: json.dumps(value).encode())
)
def test_no_line_is_fatal(data):
    event = parse_line(data)
    if event is not None:
        json.dumps(event.as_dict())
        Filters(device="x", event="*", since_ms=0).wants(event)


@given(st.lists(st.integers(0, 50), max_size=60), st.integers(1, 10))
def test_both_directions_find_the_same_newest_events(seconds, limit):
    lines = [line(second, f"n.e{'ab'[second % 2]}").encode() for second in sorted(seconds)]
    wanted = Filters(event="n.ea")
    forward = read_events(lines, wanted, limit)
    backward = read_events(reversed(lines), wanted, limit, newest_first=True)
    assert forward.events == backward.events
    assert len(forward.events) <= limit


def test_moments_are_ago_or_iso():
    now_ms = int(NOON.timestamp() * 1000)
    assert parse_moment("10m", NOON) == now_ms - 600_000
    assert parse_moment("2h", NOON) == now_ms - 7_200_000
    assert parse_moment("2026-01-31T12:00:00Z", NOON) == now_ms
    assert parse_moment("2026-01-31 12:00", NOON) == int(datetime(2026, 1, 31, 12).timestamp() * 1000)  # noqa: DTZ001 -- local time is meant
    assert parse_moment("soon", NOON) is parse_moment("9" * 30 + "w", NOON) is parse_moment("", NOON) is None


def test_no_name_becomes_an_option_of_journalctl():
    command = JournalQuery(unit="--flush", namespace="-x", after_cursor="; rm", since_ms=1500, follow=True).command()
    assert command[0] == "journalctl"
    assert {"--unit=--flush", "--namespace=-x", "--after-cursor=; rm", "--since=@1", "--no-tail"} <= set(command)
    assert not any(each in {"--flush", "-x"} for each in command)


def test_a_file_is_followed_through_its_rotation(log_file):
    with following("--file", str(log_file), "--event", "f.*") as said:
        with log_file.open("a") as file:
            file.write("\n" + line(10, "f.one") + "\n" + line(11, "g.other") + "\n")
        assert "f.one" in said()
        log_file.rename(log_file.with_suffix(".1"))
        log_file.write_text(line(12, "f.two") + "\n")
        assert "f.two" in said()


class following:  # noqa: N801 -- it reads like a function
    """``securenet logs --follow`` as a process; calling it gives its next line."""

    def __init__(self, *options):
        self.command = [sys.executable, "-u", "-m", "gateway", "logs", "--follow", *options]

    def __enter__(self):
        self.process = subprocess.Popen(self.command, stdout=subprocess.PIPE, text=True)
        time.sleep(1.5)
        return self.process.stdout.readline

    def __exit__(self, *_fault):
        self.process.send_signal(signal.SIGINT)
        assert self.process.wait(20) in {ExitCode.OK, ExitCode.INTERRUPTED, 1}
        self.process.stdout.close()


@pytest.fixture(scope="module")
def journald():
    with running_journald() as running:
        yield running


@pytest.fixture
def journal_log(journald):
    """structlog into the real journal."""
    configured = configure_logging(LoggingConfig(format="journald"), io.StringIO(), journal_socket=journald.socket)
    yield structlog.get_logger()
    configured.close()
    structlog.reset_defaults()


def test_a_real_journal_is_read_filtered_and_followed(securenet, journald, journal_log):
    for number in range(5):
        journal_log.info("message.rejected", device=f"dev-{number % 2}", reason="too-old", seq=number)
    journal_log.error("journal.blocked", detail="disk full")
    journald.records(1, "SECURENET_EVENT=journal.blocked")
    here = ("--namespace", journald.namespace)
    done = securenet("logs", *here, "--json", "--device", "dev-0", "--lines", 2)
    assert [event["seq"] for event in done.json["events"]] == ["2", "4"]
    assert done.json["bad_lines"] == 0
    newest = securenet("logs", *here, "--level", "error", "--since", "1h").stdout
    assert newest.rstrip().endswith("error   journal.blocked (disk full)")
    assert securenet("logs", *here, "--until", "1h", "--json").json["events"] == []
    assert securenet("logs", *here, "--unit", "none.service", "--json").json["events"] == []
    with following(*here, "--lines", "1", "--event", "journal.*") as said:
        assert "journal.blocked" in said()
        journal_log.info("journal.recovered")
        assert "journal.recovered" in said()


def test_json_lines_and_plain_text_in_a_real_journal_are_read_too(securenet, journald):
    text = line(0, "from.stream", "error", device="dev-9") + "\nTraceback (most recent call last):\n"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as stream:  # as systemd connects a unit's standard error
        stream.connect(str(journald.folder / "stdout"))
        stream.sendall(b"securenet\n\n6\n0\n0\n0\n0\n" + text.encode())
    journald.records(2, "_TRANSPORT=stdout")
    done = securenet("logs", "--namespace", journald.namespace, "--json", "--until", "2030-01-01", "--lines", 1000)
    events = [event for event in done.json["events"] if event["event"] in {"from.stream", TEXT}]
    assert [(event["event"], event.get("device"), event.get("detail")) for event in events] == [
        ("from.stream", "dev-9", None),
        (TEXT, None, "Traceback (most recent call last):"),
    ]


def test_the_readers_cost_no_heavy_import():
    code = (
        "import sys\nimport gateway.ops.events, gateway.ops.event_sources\n"
        "print([name for name in ('structlog', 'rich', 'asyncio', 'cryptography', 'sqlite3') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"


def test_a_log_that_may_not_be_read_is_told(tmp_path, securenet):
    if os.geteuid() == 0:
        (tmp_path / "log").mkdir()
        assert securenet("logs", "--file", tmp_path / "log").exit_code == ExitCode.NO_INPUT
    else:
        (tmp_path / "log").touch(mode=0)
        assert securenet("logs", "--file", tmp_path / "log").exit_code == ExitCode.NO_INPUT


def test_help_names_the_reasons_and_the_page():
    said = CliRunner().invoke(logs, ["--help"]).stdout
    assert "bad-signature" in said
    assert "docs/operations/events.md" in said


def test_a_missing_file_of_a_source_is_a_sentence(tmp_path):
    with pytest.raises(Exception, match="is not there"):
        list(file_lines(tmp_path / "none"))


def test_every_command_of_the_events_page_runs(securenet, journald, journal_log, log_file):
    journal_log.warning("message.rejected", device="urn:dev:mac:0024befffe804ff1", reason="bad-signature")
    journald.records(1, "SECURENET_REASON=bad-signature")
    commands = re.findall(r"^    ((?:securenet logs|journalctl) .*)$", PAGE.read_text("utf-8"), re.MULTILINE)
    assert len(commands) >= 6
    for command in commands:
        program, *options = shlex.split(command.replace("/var/log/securenet.log", str(log_file)))
        if "--file" not in options:
            options.append(f"--namespace={journald.namespace}")
        if "--follow" in options:
            options.remove("--follow")  # followed in a test above
        if program == "journalctl":
            done = subprocess.run([program, "--no-pager", *options], capture_output=True, check=True, timeout=20)
            assert b"urn:dev:mac:0024befffe804ff1" in done.stdout, command
        else:
            done = securenet(*options)
            assert done.exit_code == ExitCode.OK, (command, done.stderr)
            assert "anchor" in command or "message.rejected" in done.stdout, command
