"""Holds a log to the promises that were made: what every kill test asks at its end, whatever was killed.

``broken_promises`` is a function over plain data, so that it can be tried on records that were doctored: a check that
cannot fail proves nothing.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Iterator, Sequence
from enum import StrEnum
from typing import NamedTuple

from support.fleet import Sent
from support.gateway import Gateway

from gateway.crypto.keys import PublicKey
from gateway.journal import EntryRow
from gateway.receipt import ReceiptError, parse, verify_receipt
from gateway.tlog.entry import EntryError, MessageEntry, parse_entry
from gateway.tlog.merkle import leaf_hash


class Broken(StrEnum):
    """How a promise can be broken."""

    GAP = "an index of the log is not there, or there twice"
    NO_ENTRY = "bytes in the log are no entry"
    LOST = "a message is not in the log"
    TWICE = "a message is in the log twice"
    UNSENT = "the log has a message that nobody sent"
    UNANSWERED = "a message has no receipt"
    FORGED = "a receipt is not the log's"
    REFUSED = "an honest message was refused"
    UNEQUAL = "a message has two receipts that differ"
    ELSEWHERE = "the message is not where its receipt says"
    OTHER_LEAF = "the leaf is not the one of the receipt"


class Finding(NamedTuple):
    """One broken promise."""

    kind: Broken
    where: str


def broken_promises(
    messages: Sequence[Sent], entries: Iterable[EntryRow], log_key: PublicKey, origin: str
) -> Iterator[Finding]:
    """Compare what the fleet remembers with what is in the log."""
    log: list[bytes] = []
    placed: dict[tuple[str, bytes, int], int] = {}
    digests: dict[bytes, int] = {}
    sent = {message.digest: message for message in messages}
    for row in entries:
        if row.index != len(log):
            yield Finding(Broken.GAP, f"{row.index} stands where {len(log)} is due")
        log.append(row.entry)
        try:
            entry = parse_entry(row.entry)
        except EntryError as error:
            yield Finding(Broken.NO_ENTRY, f"{row.index}: {error}")
            continue
        if not isinstance(entry, MessageEntry):
            continue
        identity = (entry.device_id, entry.session, entry.seq)
        if identity in placed or entry.digest in digests:
            yield Finding(Broken.TWICE, f"{identity} at {row.index} and before")
        placed.setdefault(identity, row.index)
        digests.setdefault(entry.digest, row.index)
        if entry.digest not in sent or sent[entry.digest].identity != identity:
            yield Finding(Broken.UNSENT, f"{identity} at {row.index}")
    for message in messages:
        if digests.get(message.digest) is None or placed.get(message.identity) != digests[message.digest]:
            yield Finding(Broken.LOST, f"{message.identity}, pubacks {message.pubacks}")
        yield from _of_receipts(message, log, digests, log_key, origin)


def _of_receipts(
    message: Sent, log: Sequence[bytes], digests: dict[bytes, int], log_key: PublicKey, origin: str
) -> Iterator[Finding]:
    where = f"{message.identity}"
    if not message.receipts:
        yield Finding(Broken.UNANSWERED, where)
    if len(message.receipts) > 1:
        yield Finding(Broken.UNEQUAL, where)
    for data in message.receipts:
        try:
            receipt = parse(data)
        except ReceiptError as error:
            yield Finding(Broken.FORGED, f"{where}: {error}")
            continue
        if receipt.digest != message.digest or not verify_receipt(receipt, log_key, origin):
            yield Finding(Broken.FORGED, where)
        if receipt.log_index is None:
            yield Finding(Broken.REFUSED, f"{where}: {receipt.reason}")
            continue
        if digests.get(message.digest) != receipt.log_index:
            yield Finding(
                Broken.ELSEWHERE, f"{where}: promised {receipt.log_index}, at {digests.get(message.digest)}"
            )
        there = log[receipt.log_index] if receipt.log_index < len(log) else None
        if there is None or leaf_hash(there) != receipt.leaf_hash:
            yield Finding(Broken.OTHER_LEAF, f"{where} at {receipt.log_index}")


def tell(findings: Sequence[Finding]) -> str:
    """A few of each kind, for a failing assertion."""
    kinds = dict.fromkeys(finding.kind for finding in findings)
    return "\n".join(
        f"{sum(1 for each in findings if each.kind is kind)} times {kind}; for instance "
        + "; ".join([each.where for each in findings if each.kind is kind][:3])
        for kind in kinds
    )


async def assert_every_promise_is_kept(gateway: Gateway, messages: Sequence[Sent], rng: random.Random) -> int:
    """Check the stopped gateway's journal: promises, ``log fsck``, one proof; returns the log's size."""
    with gateway.reader() as reader:
        size = reader.size()
        assert reader.gaps() == []
        findings = list(broken_promises(messages, reader.entries(0, size), gateway.log_key, gateway.origin))
    assert not findings, tell(findings)
    assert not gateway.events("journal.set_aside")
    assert not gateway.events("journal.entries_lost")
    assert not gateway.events("task.failed")
    code, said = await gateway.securenet("log", "fsck", "--json", "--config", gateway.config)
    assert code == 0, said
    assert json.loads(said)["size"] == size, said
    with gateway.reader() as reader:
        chosen = reader.find(*rng.choice(messages).identity)
    assert chosen is not None
    proof = gateway.folder / "one.proof"
    code, said = await gateway.securenet(
        "proof", "export", "--index", str(chosen), "--out", proof, "--config", gateway.config
    )
    assert code == 0, said
    code, said = await gateway.securenet("proof", "verify", proof, "--registry", gateway.registry)
    assert code == 0, said
    return size


def summary(messages: Sequence[Sent], seconds: float, **figures: object) -> str:
    """One line of figures."""
    receipts = [sum(message.receipts.values()) for message in messages]
    facts: dict[str, object] = {
        **figures,
        "messages": len(messages),
        "per_s": round(len(messages) / seconds) if seconds else None,
        "sent": sum(message.times_sent for message in messages),
        "pubacks": sum(message.pubacks for message in messages),
        "receipts": sum(receipts),
        "duplicates": sum(count - 1 for count in receipts if count),
    }
    return json.dumps(facts)
