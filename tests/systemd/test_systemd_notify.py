import os
import socket
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from gateway.ops.systemd.notify import MAX_MESSAGE_BYTES, Notify, packed, status, watchdog_s

NAMES = st.text(string.ascii_uppercase + "_", min_size=1, max_size=20)


class Manager:
    """The end of systemd: a datagram socket that is read without waiting."""

    def __init__(self, address):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self.socket.bind(address)

    def heard(self):
        messages = []
        while True:
            try:
                messages.append(self.socket.recv(65536).decode().split("\n"))
            except BlockingIOError:
                return messages


@pytest.fixture
def manager(tmp_path):
    manager = Manager(str(tmp_path / "notify"))
    yield manager
    manager.socket.close()


@pytest.fixture
def notify(tmp_path, manager):
    return Notify.from_environment({"NOTIFY_SOCKET": str(tmp_path / "notify")})


def test_a_life_is_told_in_the_words_of_the_protocol(notify, manager):
    assert notify.starting("opens the journal", 30)
    assert notify.alive(120)
    assert notify.ready("takes messages over coap")
    assert notify.alive()
    assert notify.reloading(5_000_001)
    assert notify.reloaded("takes messages over coap")
    assert notify.stopping(30)
    assert manager.heard() == [
        ["STATUS=opens the journal", "EXTEND_TIMEOUT_USEC=30000000"],
        ["WATCHDOG=1", "EXTEND_TIMEOUT_USEC=120000000"],
        ["READY=1", "STATUS=takes messages over coap"],
        ["WATCHDOG=1"],
        ["RELOADING=1", "MONOTONIC_USEC=5000001"],
        ["READY=1", "STATUS=takes messages over coap"],
        ["STOPPING=1", "STATUS=keeps its promises, and stops", "EXTEND_TIMEOUT_USEC=30000000"],
    ]


def test_a_reload_before_the_gateway_is_ready_does_not_make_it_ready(notify, manager):
    assert not notify.reloading(1)
    assert not notify.reloaded("reloaded")
    assert manager.heard() == []


def test_behind_the_stop_come_signs_of_life_alone(notify, manager):
    assert notify.ready("takes messages over coap")
    assert notify.reloading(1)
    assert notify.stopping(30)
    manager.heard()
    assert not notify.reloaded("takes messages over coap")
    assert not notify.reloading(2)
    assert not notify.status("waits: coap is stopped")
    assert notify.alive(120)
    assert manager.heard() == [["WATCHDOG=1"]]


def test_an_abstract_socket_is_reached():
    name = f"securenet-test-{os.getpid()}"
    manager = Manager(b"\0" + name.encode())
    try:
        assert Notify(f"@{name}").status("is here")
        assert manager.heard() == [["STATUS=is here"]]
    finally:
        manager.socket.close()


@pytest.mark.parametrize("address", ["", "relative/path", "vsock:2:1234", "@", "/" + "x" * 107, "/with\0zero"])
def test_without_a_socket_that_can_be_reached_nothing_is_said(address):
    notify = Notify(address)
    assert not notify.wanted
    assert not notify.ready("takes messages")
    assert not notify.ready_told


def test_a_manager_that_is_gone_is_told_of_once_and_does_not_raise(notify, manager, tmp_path):
    manager.socket.close()
    with capture_logs() as logs:
        assert not notify.ready("takes messages")
        assert not notify.alive()
        assert not notify.ready_told
    assert [entry["event"] for entry in logs] == ["systemd.not_told"]
    (tmp_path / "notify").unlink()
    again = Manager(str(tmp_path / "notify"))
    try:
        assert notify.ready("takes messages")
        assert notify.ready_told
        assert again.heard() == [["READY=1", "STATUS=takes messages"]]
    finally:
        again.socket.close()


def test_a_manager_that_does_not_read_never_makes_the_gateway_wait(notify):
    taken = [notify.alive() for _ in range(4096)]
    assert taken[0]
    assert not taken[-1]


@given(st.text(max_size=2000))
def test_a_status_is_one_short_line_whatever_the_words_hold(words):
    (line,) = packed((status(words),)).decode().split("\n")
    assert line.startswith("STATUS=")
    assert len(line) < MAX_MESSAGE_BYTES
    assert line.isprintable()


@given(st.lists(st.tuples(NAMES, st.text(string.printable.replace("\n", ""), max_size=40)), min_size=1, max_size=8))
def test_what_is_packed_is_read_back(fields):
    written = tuple(f"{name}={value}" for name, value in fields)
    assert tuple(packed(written).decode().split("\n")) == written


@pytest.mark.parametrize("field", ["READY", "=1", "A=1\nREADY=1", "A=\0", "", f"A={'x' * MAX_MESSAGE_BYTES}"])
def test_what_would_be_another_message_is_a_fault_of_the_caller(field):
    with pytest.raises(ValueError, match=r"field|bytes"):
        packed((field,))


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "120000000"}, 120.0),
        ({"WATCHDOG_USEC": "120000000", "WATCHDOG_PID": "77"}, 120.0),
        ({"WATCHDOG_USEC": "120000000", "WATCHDOG_PID": "78"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "-5"}, None),
        ({"WATCHDOG_USEC": "²"}, None),
        ({"WATCHDOG_USEC": "9" * 4000}, None),
    ],
)
def test_the_watchdog_is_for_the_process_that_systemd_means(environ, expected):
    assert watchdog_s(environ, 77) == expected
