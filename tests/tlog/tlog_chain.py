"""What a true chain says about the proofs of ``tlog_world``."""

from tlog_world import DEVICE_KEY, LOG_KEY, NOW_MS, proof_of

from gateway.registry.port import Status
from gateway.tlog.evidence import AnchoredRoot, Enrolled, Evidence, Keyed, Moved, Spot, TwoRoots

ACCOUNT = b"\xac" * 20
REGISTRY = b"\x4e" * 20
LOGGED_S = NOW_MS // 1000
DAY = 86_400


def spot(block, time_s):
    return Spot(block, block.to_bytes(32, "big"), b"\x71" + block.to_bytes(31, "big"), time_s)


def evidence_of(proof, **changes):
    """Device and gateway registered days ago, the anchor ten minutes after the reading, and all of it final."""
    anchor = proof.anchor
    at = None if anchor is None else Spot(anchor.block_number, anchor.block_hash, anchor.tx_hash, LOGGED_S + 600)
    said = Evidence(
        endpoint="http://one",
        chain_id=31337,
        registry=REGISTRY,
        anchor_log=b"\xc0" * 20,
        log_id=b"\x1d" * 32,
        final=200_000,
        enrolled=Enrolled(spot(100, LOGGED_S - 9 * DAY), "fleet-a", DEVICE_KEY),
        keyed=(Keyed(spot(90, LOGGED_S - 10 * DAY), LOG_KEY.public_key, ACCOUNT, renewed=False),),
        anchors=() if anchor is None else (AnchoredRoot(at, anchor.size, anchor.root, ACCOUNT),),
        has_receipt=True,
        canonical=None if anchor is None else anchor.block_hash,
    )
    return said._replace(**changes)


def moved(status, seconds_after_logging, block):
    return Moved(spot(block, LOGGED_S + seconds_after_logging), Status(status))


def caught(proof, size, anchored_root=None):
    root = proof.anchor.root if anchored_root is None else anchored_root
    return TwoRoots(spot(150_000, LOGGED_S + 2 * DAY), size, root, b"\x66" * 32)


ANCHORED = proof_of(anchored=8)
