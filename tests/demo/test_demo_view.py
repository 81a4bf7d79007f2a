"""What the demo shows, at the width of a terminal: the line while it runs, the last words, what to do next."""

import io
import shlex
from pathlib import Path

from click.testing import CliRunner
from rich.console import Console

from gateway.cli.demo_audit import Findings, Scenario
from gateway.cli.demo_view import View, tell
from gateway.cli.main import cli

COLUMNS = 100
REPORT = {
    "sent": 123456,
    "acknowledged": 123456,
    "accepted": 123400,
    "rejected": {"too-old": 51},
    "cut_off": 5,
    "hostile_accepted": 0,
    "honest_rejected": 0,
    "lost": 0,
    "p50_ms": 19.918,
    "p99_ms": 589.183,
    "log_size": 123456,
    "root": "ab" * 32,
    "proofs_verified": 1,
    "interrupted": False,
    "problems": [],
    "anchors_final": 100,
    "gas_per_message": 110.12,
    "proof_chain_verified": True,
    "revocation_effective": True,
    "revocation_s": 0.689,
    "models_missing": None,
    "models_by": "store",
    "scored": 9999,
    "publish_to_first_score_s": 1.886,
    "digit_correct": True,
    "revoked_grant_refused": True,
    "anomaly_detected": True,
}
STATUS = {
    "received": {"mqtt": 12000, "coap": 3456},
    "accepted": 14000,
    "log_size": 14001,
    "rejected": {f"reason-{number}": 100 for number in range(15)},
    "p50_ms": None,
    "p99_ms": None,
    "anchors": {"final_size": 13999, "counts": {"final": 10}},
}


def told(changes=None, kept=None):
    findings = Findings(scenarios={"flooding": Scenario(3600, {"accepted", "rate-limited"})})
    findings.scenarios["flooding"].seen.update({"accepted": 2389, "rate-limited": 1211})
    stream = io.StringIO()
    tell(Console(file=stream), REPORT | (changes or {}), findings, kept)
    return stream.getvalue()


def shown(*, terminal):
    stream = io.StringIO()
    with View(Console(file=stream, force_terminal=terminal, width=COLUMNS, color_system=None)) as view:
        view.show(STATUS, 3599.9, "Ctrl-C ends it early")
    return stream.getvalue()


def test_no_line_is_wider_than_a_terminal():
    for text in (told(), told(kept=Path("/kept")), shown(terminal=False)):
        assert max(map(len, text.splitlines())) <= COLUMNS, text


def test_the_sums_add_up_to_what_was_sent():
    assert "sent 123456, acknowledged 123456, accepted 123400, refused 51, cut off as too large by CoAP 5" in told()
    assert "cut off" not in told({"cut_off": 0})


def test_the_verdict_is_the_last_thing_before_what_to_do_next():
    *_, verdict, read_on, keep = told().splitlines()
    assert verdict == "All as it must be."
    assert "docs/operations/demo.md" in read_on
    assert "--keep" in keep


def test_what_went_wrong_is_counted_in_the_verdict():
    text = told({"problems": ["two receipts do not hold", "nothing was sent"]})
    assert "WRONG: two receipts do not hold" in text
    assert "NOT as it must be: 2 of the above." in text
    assert "All as it must be" not in text


def test_a_run_that_was_ended_early_says_so():
    assert "It was ended early" in told({"interrupted": True})


def test_nothing_is_called_none_where_nothing_was_answered():
    assert "p50 -, p99 -" in told({"p50_ms": None, "p99_ms": None})
    assert "None" not in shown(terminal=True)
    assert "None" not in shown(terminal=False)


def test_what_was_kept_comes_with_commands_that_exist(tmp_path):
    kept = tmp_path / "my demo"
    commands = [shlex.split(line) for line in told(kept=kept).splitlines() if line.startswith("    ")]
    assert [words[1:3] for words in commands] == [["proof", "verify"], ["log", "show"]]
    assert commands[0][3] == f"{kept}/proof.json"
    for _program, *words in commands:
        answer = CliRunner().invoke(cli, words)
        assert answer.exit_code not in {0, 2}, words  # known, with these options; the folder is not there
