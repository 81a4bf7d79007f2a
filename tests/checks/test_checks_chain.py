"""The chain itself, and the checks that look things up."""

import pytest

from gateway.checks.chain import ADMISSION, DECISION, ROUTING, Bench, Candidate, Chain, Step
from gateway.checks.device import verify_device, verify_fleet, verify_identity
from gateway.checks.duplicate import Standing
from gateway.checks.miner import verify_miner
from gateway.checks.rate_limit import TokenBuckets
from gateway.crypto.keys import PublicKey
from gateway.message import Alg, Encoding, Envelope, PushbackReason, RawMessage, Rejected, RejectReason
from gateway.registry.port import Device, Miner, Status

KEY = PublicKey(Alg.ED25519, bytes(32))
NO = Rejected(RejectReason.MALFORMED)


def holds(candidate, bench):
    return None


def fails(candidate, bench):
    return NO


def test_a_chain_without_steps_would_accept_everything_and_is_refused():
    with pytest.raises(ValueError, match="empty"):
        Chain(())


def test_steps_out_of_order_are_refused():
    with pytest.raises(ValueError, match="order"):
        Chain((Step(4, "signature", holds), Step(0, "shape", holds)))


def test_the_first_failure_ends_the_chain():
    asked = []

    def note(name, answer):
        def verify(candidate, bench):
            asked.append(name)
            return answer

        return verify

    chain = Chain((Step(0, "a", note("a", None)), Step(1, "b", note("b", NO)), Step(2, "c", note("c", None))))
    assert chain.first_failure(None, None) is NO
    assert asked == ["a", "b"]


def test_the_steps_of_algorithm_1_stand_in_the_order_of_the_paper():
    assert [(step.number, step.name) for step in ADMISSION.steps + DECISION.steps] == [
        (0, "fleet"),
        (0, "identity"),
        (2, "device"),
        (3, "device rate"),
        (3, "peer rate"),
        (4, "signature"),
        (4, "device charge"),
        (5, "duplicate"),
        (5, "age"),
    ]
    assert [step.name for step in ROUTING.steps] == ["fleet", "identity"]


def candidate_that_fails_everything():
    raw = RawMessage(b"", "mqtt", "p", 10**12, lambda _: None, "other", "someone else")
    envelope = Envelope(Encoding.COSE, "d", "other", None, 110, 0, b"s" * 8, 1, b"", b"", b"", b"digest")
    return Candidate(raw, envelope, None, held=False, standing=Standing.STALE_SESSION, known_digest=b"digest")


def make_everything_hold(candidate, upto):
    """Mend the candidate for all the steps below ``upto``, in the order of the page."""
    raw, envelope = candidate.raw, candidate.envelope

    def right_fleet():
        candidate.raw, candidate.envelope = raw._replace(fleet="f"), envelope._replace(fleet="f")

    mends = [
        right_fleet,
        lambda: setattr(candidate, "raw", candidate.raw._replace(device="d")),
        lambda: setattr(candidate, "device", Device("d", "f", KEY, Status.REVOKED)),
        lambda: setattr(candidate, "device", Device("d", "f", KEY, Status.SUSPENDED)),
        lambda: setattr(candidate, "device", Device("d", "f", KEY, Status.ACTIVE)),
        lambda: setattr(candidate, "envelope", candidate.envelope._replace(alg=Alg.ED25519)),
        lambda: setattr(candidate, "held", True),
        lambda: setattr(candidate, "known_digest", b"another"),
        lambda: setattr(candidate, "known_digest", None),
        lambda: setattr(candidate, "standing", Standing.OUT_OF_WINDOW),
        lambda: setattr(candidate, "standing", Standing.FRESH),
        lambda: setattr(candidate, "envelope", candidate.envelope._replace(issued_at=10**12)),
        lambda: setattr(candidate, "envelope", candidate.envelope._replace(issued_at=10**9)),
    ]  # fmt: skip
    for mend in mends[:upto]:
        mend()


REASONS = [
    RejectReason.WRONG_FLEET,
    RejectReason.IDENTITY_MISMATCH,
    RejectReason.DEVICE_UNKNOWN,
    RejectReason.DEVICE_REVOKED,
    RejectReason.DEVICE_SUSPENDED,
    RejectReason.ALG_MISMATCH,
    RejectReason.BAD_SIGNATURE,
    RejectReason.DUPLICATE,
    RejectReason.SEQUENCE_REUSED,
    RejectReason.STALE_SESSION,
    RejectReason.OUT_OF_WINDOW,
    RejectReason.TOO_OLD,
    RejectReason.IN_FUTURE,
    None,
]


@pytest.mark.parametrize(("upto", "reason"), list(enumerate(REASONS)))
def test_of_many_faults_the_first_in_the_order_of_the_page_is_named(upto, reason):
    candidate = candidate_that_fails_everything()
    make_everything_hold(candidate, upto)
    bench = Bench("f", {"mqtt": TokenBuckets(1, 1, 10)}, TokenBuckets(1, 1, 10), 86400, 300)
    rejected = ADMISSION.first_failure(candidate, bench) or DECISION.first_failure(candidate, bench)
    assert (rejected and rejected.reason) is reason


@pytest.mark.parametrize(("issued_at", "reason"), [(0.0, RejectReason.TOO_OLD), (1e12, RejectReason.IN_FUTURE)])
def test_by_a_clock_that_is_not_believed_nobody_is_refused_for_age(issued_at, reason):
    candidate = candidate_that_fails_everything()
    make_everything_hold(candidate, len(REASONS))
    candidate.envelope = candidate.envelope._replace(issued_at=issued_at)
    bench = Bench("f", {"mqtt": TokenBuckets(1, 9, 10)}, TokenBuckets(1, 9, 10), 86400, 300)
    assert DECISION.first_failure(candidate, bench).reason is reason
    bench.clock_trusted = False
    assert DECISION.first_failure(candidate, bench) is None
    candidate.standing = Standing.STALE_SESSION
    assert DECISION.first_failure(candidate, bench).reason is RejectReason.STALE_SESSION


@pytest.mark.parametrize("empty", ["peer", "device"])
def test_an_empty_bucket_of_either_kind_is_named_before_the_signature(empty):
    candidate = candidate_that_fails_everything()
    make_everything_hold(candidate, 6)
    bench = Bench("f", {"mqtt": TokenBuckets(0.01, 1, 10)}, TokenBuckets(0.01, 1, 10), 86400, 300)
    (bench.peers["mqtt"] if empty == "peer" else bench.devices).take("p" if empty == "peer" else "d", 0.0)
    assert ADMISSION.first_failure(candidate, bench).reason is RejectReason.RATE_LIMITED


def test_the_transports_word_is_asked_only_where_there_is_one():
    assert verify_fleet("f", None, "f") is None
    assert verify_identity("d", None) is None
    assert verify_fleet("f", "g", "f").reason is RejectReason.WRONG_FLEET


def test_a_device_of_another_fleet_is_unknown_here():
    device = Device("d", "g", KEY, Status.ACTIVE)
    assert verify_device(device, "f", Alg.ED25519).reason is RejectReason.DEVICE_UNKNOWN


@pytest.mark.parametrize(
    ("miner", "reason"),
    [
        (None, PushbackReason.MINER_UNKNOWN),
        (Miner("gw", "f", KEY, Status.ACTIVE, "another log"), PushbackReason.MINER_UNKNOWN),
        (Miner("gw", "g", KEY, Status.ACTIVE, "log"), PushbackReason.MINER_UNKNOWN),
        (Miner("gw", "f", PublicKey(Alg.ED25519, b"1" * 32), Status.ACTIVE, "log"), PushbackReason.MINER_UNKNOWN),
        (Miner("gw", "f", KEY, Status.SUSPENDED, "log"), PushbackReason.MINER_SUSPENDED),
        (Miner("gw", "f", KEY, Status.REVOKED, "log"), PushbackReason.MINER_SUSPENDED),
        (Miner("gw", "f", KEY, Status.ACTIVE, "log"), None),
    ],
)
def test_a_gateway_appends_only_to_the_log_it_is_registered_for(miner, reason):
    assert verify_miner(miner, fleet="f", origin="log", log_key=bytes(32)) is reason


@pytest.mark.parametrize(
    ("registered", "status", "reason"),
    [
        (None, Status.ACTIVE, PushbackReason.MINER_UNKNOWN),
        (b"\x02" * 20, Status.ACTIVE, PushbackReason.MINER_UNKNOWN),
        (b"\x02" * 20, Status.SUSPENDED, PushbackReason.MINER_UNKNOWN),
        (b"\x01" * 20, Status.SUSPENDED, PushbackReason.MINER_SUSPENDED),
        (b"\x01" * 20, Status.ACTIVE, None),
    ],
)
def test_a_gateway_that_anchors_is_registered_with_that_very_account(registered, status, reason):
    miner = Miner("gw", "f", KEY, status, "log", registered)
    assert verify_miner(miner, fleet="f", origin="log", log_key=bytes(32), account=b"\x01" * 20) is reason
