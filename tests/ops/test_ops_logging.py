import asyncio
import gc
import io
import json
import logging

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from gateway.config.model import LoggingConfig
from gateway.ops.folding import BURST
from gateway.ops.logging import MAX_VALUE_CHARACTERS, configure_logging, sanitise


@pytest.fixture
def restored():
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


@pytest.fixture
def lines(restored):
    """Configure JSON at level info; the callable gives what was written, parsed."""
    stream = io.StringIO()
    configured = configure_logging(LoggingConfig(format="json"), stream)

    def written():
        return [json.loads(line) for line in stream.getvalue().splitlines()]

    written.flush = configured.flush
    return written


@given(st.text(st.characters(), max_size=400))
def test_sanitised_text_is_printable_and_bounded(text):
    shown = sanitise(text)
    assert shown.isprintable()
    assert len(shown) <= 10 * MAX_VALUE_CHARACTERS + 20
    shown.encode("utf-8")


@given(st.text(st.characters(), max_size=20), st.text(st.characters(), max_size=20))
def test_sanitising_never_makes_two_texts_the_same(one, other):
    assert (sanitise(one) == sanitise(other)) == (one == other)


def test_long_text_is_cut_and_says_by_how_much():
    assert sanitise("a" * 300, 10) == "aaaaaaaaaa… (+290)"


def test_an_event_is_one_line_whatever_a_peer_sent(lines):
    log = structlog.get_logger()
    log.info("coap.refused", peer='a\n{"event": "forged"}', mark="\u202e", raw=b"\x00\xff", ids=["x\n"])
    (event,) = lines()
    assert (event["event"], event["level"]) == ("coap.refused", "info")
    assert event["peer"] == 'a\\n{"event": "forged"}'
    assert (event["mark"], event["raw"], event["ids"]) == ("\\u202e", "00ff", "['x\\\\n']")
    assert event["timestamp"].endswith("Z")


def test_what_is_named_like_a_secret_is_withheld(lines):
    structlog.get_logger().warning("x", mqtt_password="hunter2", log_key_seed=b"\x01", reason="bad-signature")
    (event,) = lines()
    assert (event["mqtt_password"], event["log_key_seed"], event["reason"]) == ("(withheld)",) * 2 + (
        "bad-signature",
    )


def test_numbers_stay_numbers_and_lower_levels_stay_out(lines):
    structlog.get_logger().debug("quiet")
    structlog.get_logger().info("loud", count=3, ratio=0.5, flag=True, nothing=None)
    (event,) = lines()
    assert (event["count"], event["ratio"], event["flag"], event["nothing"]) == (3, 0.5, True, None)


def test_a_traceback_keeps_its_lines_in_one_json_line(lines):
    try:
        int("from a peer: \x1b[31m")
    except ValueError:
        structlog.get_logger().exception("task.failed")
    (event,) = lines()
    assert "ValueError: invalid literal" in event["exception"]
    assert "\x1b" not in event["exception"]
    assert event["exception"].count("\n") > 1


def test_a_storm_is_folded_and_its_count_is_written_at_the_end(lines):
    log = structlog.get_logger()
    for number in range(BURST + 7):
        log.warning("mqtt.down", attempt=number)
    log.error("mqtt.down")
    lines.flush(everything=True)
    events = lines()
    assert [event["event"] for event in events] == ["mqtt.down"] * (BURST + 1) + ["log.folded"]
    assert (events[-1]["kind"], events[-1]["folded"], events[-1]["level"]) == ("mqtt.down", 7, "warning")


def test_libraries_come_on_the_same_lines(lines):
    logging.getLogger("aiocoap").warning("odd option %s", "\x07")
    logging.getLogger("aiocoap").info("chatter")
    (event,) = lines()
    assert (event["event"], event["library"], event["message"]) == ("library", "aiocoap", "odd option \\x07")


def test_the_pretty_form_escapes_too(restored):
    stream = io.StringIO()
    configure_logging(LoggingConfig(format="pretty"), stream)
    structlog.get_logger().info("x.y", peer="\x1b[31m\n")
    assert stream.getvalue().count("\n") == 1
    assert "\\x1b[31m\\n" in stream.getvalue()


async def test_a_fault_of_a_task_that_nobody_waits_for_is_told_with_its_place(lines):
    async def serves_somebody():
        raise KeyError("k" * 200)

    task = asyncio.create_task(serves_somebody())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    del task
    gc.collect()
    (event,) = lines()
    assert (event["library"], event["level"]) == ("asyncio", "error")
    assert "in serves_somebody" in event["exception"]
    assert event["exception"].endswith("KeyError: '" + "k" * 200 + "'")
