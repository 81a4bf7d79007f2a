import io
import json
import os
import socket
import subprocess
import sys
import time

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st
from ops_logging_kit import restored_logging
from support.journald import running_journald

from gateway.config.model import LoggingConfig
from gateway.ops.journald import (
    JournaldSocket,
    encode_fields,
    field_name,
    is_journal_stream,
    journal_fields,
    message_id,
    message_of,
)
from gateway.ops.logging import configure_logging

NAMES = st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZ_", min_size=1, max_size=20).filter(lambda name: not name.startswith("_"))


@pytest.fixture(scope="module")
def journald():
    with running_journald() as running:
        yield running


@pytest.fixture
def restored():
    with restored_logging() as configured:
        yield configured


def decode(datagram):
    """The fields of a datagram, by the protocol's page."""
    fields, rest = [], io.BytesIO(datagram)
    while line := rest.readline():
        name, equals, value = line[:-1].partition(b"=")
        if not equals:
            value = rest.read(int.from_bytes(rest.read(8), "little"))
            assert rest.read(1) == b"\n"
        fields.append((name.decode(), value.decode()))
    return fields


@given(st.lists(st.tuples(NAMES, st.text(st.characters(codec="utf-8"), max_size=300)), max_size=10))
def test_what_is_encoded_is_read_back(fields):
    assert decode(encode_fields(fields)) == fields


@given(st.text(max_size=100))
def test_a_field_has_a_name_that_journald_takes(name):
    found = field_name(name)
    assert found.startswith("SECURENET_")
    assert len(found) <= 64
    assert all(character in "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_" for character in found)


@given(st.dictionaries(st.text(max_size=20), st.text(max_size=60) | st.integers() | st.none() | st.booleans()))
def test_no_value_makes_a_field_of_its_own(event):
    assert decode(encode_fields(journal_fields(event))) == [
        (name, value.encode("utf-8", "backslashreplace").decode()) for name, value in journal_fields(event)
    ]


def test_the_message_can_be_read_by_people():
    event = {"size": 3, "event": "message.rejected", "level": "info", "peer": "a b", "reason": "bad-signature"}
    event |= {"device": "dev-1", "detail": "the signature is wrong", "timestamp": "t", "tx": None, "ok": True}
    assert (
        message_of(event)
        == 'message.rejected device=dev-1 reason=bad-signature peer="a b" size=3 ok=true (the signature is wrong)'
    )


def test_the_identity_of_an_event_never_changes():
    assert message_id("mqtt.down") == "dd4e17f4e5745ad09fba4b3f5fa83cf7"
    assert message_id("mqtt.down") != message_id("mqtt.up")


def test_the_journals_stream_is_known_by_device_and_inode(tmp_path):
    with (tmp_path / "stream").open("w") as file:
        status = os.fstat(file.fileno())
        assert is_journal_stream(file.fileno(), f"{status.st_dev}:{status.st_ino}")
        assert not is_journal_stream(file.fileno(), f"{status.st_dev}:{status.st_ino + 1}")
        assert not is_journal_stream(file.fileno(), "")
    assert not is_journal_stream(999_999, "0:0")


def test_a_full_socket_takes_nothing_and_holds_nobody_up(tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as deaf:
        deaf.bind(str(tmp_path / "socket"))
        out = JournaldSocket(tmp_path / "socket")
        began = time.monotonic()
        taken = 0
        while out.send(b"MESSAGE=x\n"):
            taken += 1
        assert 0 < taken < 10_000
        assert time.monotonic() - began < 5
        deaf.recv(100)
        assert out.send(b"MESSAGE=x\n")
        out.close()


def test_a_journald_that_comes_back_is_found_again(tmp_path):
    path = tmp_path / "socket"
    out = JournaldSocket(path)
    assert not out.send(b"MESSAGE=0\n")
    for number in (b"1", b"2"):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journald:
            journald.bind(str(path))
            assert out.send(b"MESSAGE=" + number)
            assert journald.recv(100) == b"MESSAGE=" + number
        path.unlink()
        assert not out.send(b"MESSAGE=0\n")
    out.close()


def test_a_large_event_travels_in_a_sealed_file(tmp_path):
    datagram = b"MESSAGE=" + b"x" * (4 << 20) + b"\n"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journald:
        journald.bind(str(tmp_path / "socket"))
        out = JournaldSocket(tmp_path / "socket")
        assert out.send(datagram)
        data, descriptors, _flags, _address = socket.recv_fds(journald, 100, 4)
        out.close()
    assert (data, len(descriptors)) == (b"", 1)
    with os.fdopen(descriptors[0], "rb") as memory:
        assert os.pread(memory.fileno(), 8 << 20, 0) == datagram
        with pytest.raises(PermissionError):
            os.truncate(memory.fileno(), 1)


def test_while_journald_is_away_events_go_to_standard_error_and_are_counted(restored, tmp_path):
    stream, path = io.StringIO(), tmp_path / "socket"
    configured = configure_logging(LoggingConfig(format="journald"), stream, journal_socket=path)
    restored.append(configured)
    log = structlog.get_logger()
    log.info("one.away")
    log.error("two.away", device="dev-1")
    said = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [event["event"] for event in said] == ["log.journald_down", "one.away", "two.away"]
    assert said[2]["device"] == "dev-1"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journald:
        journald.bind(str(path))
        log.info("three.there")
        told = [dict(decode(journald.recv(4096))) for _each in range(2)]
    assert [fields["SECURENET_EVENT"] for fields in told] == ["three.there", "log.journald_up"]
    assert told[1]["SECURENET_DIVERTED"] == "2"
    assert len(stream.getvalue().splitlines()) == 3
    assert configured.status()["diverted"] == 2
    assert configured.status()["written"] == 4


def test_a_real_journald_has_every_field(restored, journald):
    restored.append(
        configure_logging(LoggingConfig(format="journald"), io.StringIO(), journal_socket=journald.socket)
    )
    structlog.get_logger().warning("device.real", device="dev-ä", seq=7, raw=b"\x00", text="a\nb", quoted='"=')
    try:
        int("line\nends")
    except ValueError:
        structlog.get_logger().exception("task.real", task="mqtt")
    (found,) = journald.records(1, "SECURENET_EVENT=device.real")
    assert (found["PRIORITY"], found["SYSLOG_IDENTIFIER"]) == ("4", "securenet")
    assert found["SECURENET_DEVICE"] == "dev-ä"
    assert (found["SECURENET_SEQ"], found["SECURENET_RAW"], found["SECURENET_TEXT"]) == ("7", "00", "a\\nb")
    assert found["MESSAGE_ID"] == message_id("device.real")
    assert found["MESSAGE"].startswith("device.real device=dev-ä seq=7")
    assert "SECURENET_TIMESTAMP" not in found
    (failed,) = journald.records(1, "SECURENET_EVENT=task.real")
    assert failed["PRIORITY"] == "3"
    assert "Traceback (most recent call last):\n" in failed["SECURENET_EXCEPTION"]


def test_a_real_journald_takes_an_event_larger_than_a_datagram(journald):
    out = JournaldSocket(journald.socket)
    value = "x" * (512 << 10)
    assert out.send(encode_fields([*journal_fields({"event": "large.real"}), ("SECURENET_DETAIL", value)]))
    out.close()
    (found,) = journald.records(1, "SECURENET_EVENT=large.real")
    assert found["SECURENET_DETAIL"] == value


def test_a_journald_that_hangs_holds_nobody_up(restored, journald):
    stream = io.StringIO()
    config = LoggingConfig(format="journald", bytes_per_hour=1 << 30)
    configured = configure_logging(config, stream, journal_socket=journald.socket, monotonic_s=iter_clock())
    restored.append(configured)
    log = structlog.get_logger()
    journald.freeze()
    try:
        slowest = 0.0
        for number in range(3000):
            began = time.monotonic()
            log.info("hang.real", number=number, detail="x" * 200)
            slowest = max(slowest, time.monotonic() - began)
    finally:
        journald.thaw()
    status = configured.status()
    assert slowest < 1.0
    assert status["diverted"] > 0
    assert status["lost"] == 0
    assert len(stream.getvalue().splitlines()) == status["diverted"] + 1  # and log.journald_down
    assert len(journald.records(3000 - status["diverted"], "SECURENET_EVENT=hang.real")) == 3000 - status["diverted"]


def iter_clock():
    """A clock on which every event is minutes after the last: nothing is folded, nothing over a budget."""
    moments = iter(range(0, 1 << 60, 600))
    return lambda: float(next(moments))


def test_auto_means_journald_where_systemd_connected_standard_error(journald, tmp_path):
    """Standard error is a file here, whose device and inode JOURNAL_STREAM names as systemd would."""
    code = (
        "import sys, pathlib\n"
        "from gateway.config.model import LoggingConfig\n"
        "from gateway.ops.logging import configure_logging\n"
        "import structlog\n"
        "configure_logging(LoggingConfig(), journal_socket=pathlib.Path(sys.argv[1]))\n"
        "structlog.get_logger().info('auto.real')\n"
        "assert 'rich' not in sys.modules\n"
    )
    with (tmp_path / "stderr").open("w") as file:
        status = os.fstat(file.fileno())
        environ = {**os.environ, "JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"}
        subprocess.run(
            [sys.executable, "-c", code, str(journald.socket)], stderr=file, check=True, env=environ, timeout=60
        )
    assert (tmp_path / "stderr").read_text() == ""
    assert len(journald.records(1, "SECURENET_EVENT=auto.real")) == 1
