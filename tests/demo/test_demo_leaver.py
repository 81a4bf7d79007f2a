"""The device that is revoked while it speaks: its story, and the judge who must not believe that it worked."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.cli.demo_chain import anchor_every_s, roll_of
from gateway.cli.demo_leaver import IN_FORCE_S, Heard, Leaver, Phase, Seen, heard_in, judge_revocation, next_phase
from gateway.cli.demo_parts import DemoError

REVOKED_S = 1_732_165_200
REVOKED_MS = REVOKED_S * 1000
BEFORE = [Heard(REVOKED_MS - 500, REVOKED_MS - 480, "accepted", b"a" * 32)]
AFTER = [
    Heard(REVOKED_MS + 900, REVOKED_MS + 920, "device-revoked", b"b" * 32),
    Heard(REVOKED_MS + 1150, REVOKED_MS + 1170, "device-revoked", b"c" * 32),
]
LOGGED = {b"a" * 32: REVOKED_MS - 490}


def judged(heard=(*BEFORE, *AFTER), logged=None, revoked_s=REVOKED_S):
    return judge_revocation(heard, LOGGED if logged is None else logged, revoked_s)


def test_accepted_before_and_refused_from_then_on_is_effective():
    assert judged().facts() == {"revocation_effective": True, "revocation_s": 0.92}
    assert judged().problems == ()


def test_what_was_on_its_way_when_the_block_came_may_still_be_accepted():
    between = Heard(REVOKED_MS + 400, REVOKED_MS + 420, "accepted", b"d" * 32)
    assert judged([*BEFORE, between, *AFTER], LOGGED | {b"d" * 32: REVOKED_MS + 410}).effective


@pytest.mark.parametrize(
    ("heard", "logged", "revoked_s", "words"),
    [
        (BEFORE, LOGGED, REVOKED_S, "was never refused"),
        (AFTER, {}, REVOKED_S, "was never accepted before"),
        ([*BEFORE, *AFTER], LOGGED, None, "no device was revoked"),
        (
            [*BEFORE, *AFTER, Heard(REVOKED_MS + 3000, REVOKED_MS + 3010, "accepted", b"d" * 32)],
            LOGGED | {b"d" * 32: REVOKED_MS + 3005},
            REVOKED_S,
            "1 messages were accepted after the first refusal",
        ),
        (
            [*BEFORE, *AFTER],
            LOGGED | {b"d" * 32: REVOKED_MS + 3005},  # in secret
            REVOKED_S,
            "1 messages were accepted after the first refusal",
        ),
        ([*BEFORE, *AFTER], LOGGED | {b"b" * 32: REVOKED_MS + 910}, REVOKED_S, "was refused, and is in the log"),
        ([*BEFORE, *AFTER], {}, REVOKED_S, "was accepted, and is not in the log"),
        ([*BEFORE, *AFTER], LOGGED, REVOKED_S - IN_FORCE_S, "10 s are allowed"),
        ([*BEFORE, *AFTER], LOGGED, REVOKED_S + 5, "before its revocation was in a block"),
        (
            [*BEFORE, Heard(REVOKED_MS, REVOKED_MS, "bad-signature", b"d" * 32), *AFTER],
            LOGGED,
            REVOKED_S,
            "was refused otherwise: bad-signature",
        ),
    ],
)
def test_a_revocation_that_did_not_take_effect_is_found(heard, logged, revoked_s, words):
    found = judged(heard, logged, revoked_s)
    assert not found.effective
    assert any(words in problem for problem in found.problems), found.problems


def test_a_problem_that_comes_a_hundred_times_is_told_once():
    heard = [*BEFORE, *(Heard(REVOKED_MS, REVOKED_MS, "too-old", bytes(32)) for _ in range(100)), *AFTER]
    assert len(judged(heard).problems) == 1


# --- its story ---

CAUSES = st.builds(Seen, **{name: st.booleans() for name in Seen._fields})
ORDER = list(Phase)


@given(st.lists(CAUSES, max_size=30))
def test_its_story_goes_forward_and_is_over_only_when_the_process_has_ended(seen):
    phase = Phase.SPEAKING
    for each in seen:
        following = next_phase(phase, each)
        assert ORDER.index(following) >= ORDER.index(phase)
        if following is Phase.GONE and phase is not Phase.GONE:
            assert (phase, each.gone) == (Phase.LEAVING, True)
        if following is Phase.REVOKING:
            assert phase is Phase.REVOKING or (each.due and not each.ending)
        phase = following


def test_who_waits_long_enough_comes_to_the_end_of_every_story():
    for phase in Phase:
        at = phase
        for _ in ORDER:
            at = next_phase(at, Seen(due=True, mined=True, waited=True, gone=True))
        assert at is Phase.GONE


class FakeChild:
    """A process that runs until it is asked to end."""

    code = None

    def start(self):
        pass

    def must_run(self):
        assert self.code is None

    def ended(self):
        return self.code

    def ask_to_end(self):
        self.code = 1

    def last_words(self):
        return "It said nothing."


class FakeOffice:
    """An operator whose revocation is in block 17 at the second look."""

    asked = None
    looks = 0

    def revoke(self, device_id):
        self.asked = device_id
        return "the command"

    def answer(self, command):
        self.looks += 1
        return {"transactions": [{"block": 17}]} if self.looks > 1 else None


def line(outcome, at_ms=REVOKED_MS):
    return json.dumps({"sent_ms": at_ms, "acked_ms": at_ms, "outcome": outcome, "digest": "00" * 32})


@pytest.fixture
def leaver(tmp_path):
    made = Leaver(FakeChild(), tmp_path / "record.jsonl", "dev", FakeOffice(), half_s=0)
    made.start()
    return made


def test_it_is_revoked_once_it_was_heard_and_leaves_after_it_was_refused(leaver, tmp_path, monkeypatch):
    record = tmp_path / "record.jsonl"
    assert leaver.look(ending=False) is Phase.SPEAKING  # nothing was heard of it yet
    text = line("accepted")
    record.write_text(text[:20])
    assert leaver.look(ending=False) is Phase.SPEAKING  # half a line
    record.write_text(text + "\n")
    assert leaver.look(ending=False) is Phase.REVOKING
    assert leaver._office.asked == "dev"
    assert leaver.look(ending=False) is Phase.REVOKING
    assert leaver.look(ending=False) is Phase.MINED
    assert leaver.block == 17
    assert leaver.look(ending=False) is Phase.MINED
    record.write_text(f"{text}\n{line('device-revoked')}\n")
    assert leaver.look(ending=False) is Phase.REFUSED
    assert leaver.look(ending=False) is Phase.REFUSED  # what comes after the first refusal is wanted too
    monkeypatch.setattr("gateway.cli.demo_leaver._AFTER_S", 0.0)
    assert leaver.look(ending=False) is Phase.LEAVING
    assert leaver.look(ending=False) is Phase.GONE
    assert [each.outcome for each in leaver.heard()] == ["accepted", "device-revoked"]


def test_an_early_end_revokes_nobody(leaver):
    assert leaver.look(ending=True) is Phase.LEAVING
    assert leaver.look(ending=True) is Phase.GONE
    assert (leaver._office.asked, leaver.block) == (None, None)
    with pytest.raises(DemoError, match="ended with code 1"):
        leaver.heard()


@pytest.mark.parametrize("text", ["{", "[]", '{"sent_ms": 1}', line("accepted").replace("00", "zz")])
def test_a_record_of_it_that_is_none_ends_the_demo_in_words(text):
    with pytest.raises(DemoError, match="cannot be read"):
        heard_in([text])


# --- what the operator has to do ---


def registry_line(name, status="active", kind="device"):
    return json.dumps({"kind": kind, "id": name, "status": status})


def test_a_registry_file_becomes_registrations_and_what_follows_them():
    lines = [registry_line("a"), registry_line("b", "revoked"), registry_line("c", "suspended")]
    roll = roll_of([*lines, registry_line("gw", kind="miner")])
    assert [json.loads(each) for each in roll.active] == [json.loads(registry_line(name)) for name in "abc"]
    assert (roll.suspended, roll.revoked) == (("c",), ("b",))


@given(st.floats(1, 86_400))
def test_a_long_run_does_not_anchor_without_end(duration_s):
    assert anchor_every_s(duration_s) >= 3
    assert duration_s / anchor_every_s(duration_s) <= 101
