"""Holds the chain to the journal, and the journal to the chain: what every test with anchors asks at its end."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from typing import Any

from support.anvil import CHAIN_ID
from support.custody import CustodyWorld, OnChain
from support.gateway import Gateway

from gateway.tlog.tiles import root_at


def assert_the_chain_agrees(world: CustodyWorld, gateway: Gateway, *, strange: int = 0) -> list[OnChain]:
    """Check the stopped gateway's journal against the chain; returns the anchors.

    One event for each size, sizes rise, every root is the journal's, the account sent nothing but anchors, and the
    outbox has nothing open. ``strange``: how many of the account's transactions were not the gateway's.
    """
    anchors = world.on_chain(gateway)
    sizes = [anchor.size for anchor in anchors]
    assert sizes == sorted(set(sizes)), f"a size twice, or sizes that fall: {sizes}"
    with gateway.reader() as reader:
        for anchor in anchors:
            assert root_at(reader, anchor.size) == anchor.root, f"size {anchor.size} has another root in the journal"
        assert reader.open_anchors() == []
        assert reader.final_size() == sizes[-1]
        counts = reader.anchor_counts()
    for account in {anchor.account for anchor in anchors}:
        own = sum(1 for anchor in anchors if anchor.account == account)
        assert world.nonce(account) == own + strange, f"{account} sent more than its anchors: {counts}"
    return anchors


async def anchored_to_the_end(gateway: Gateway, timeout_s: float = 60.0) -> dict[str, Any]:
    """Wait until the running gateway has nothing to anchor and nothing under way; returns its status."""
    deadline = time.monotonic() + timeout_s
    status: dict[str, Any] = {}
    while time.monotonic() < deadline:
        status = await gateway.status() or {}
        if status and status["log_size"] and status["anchors"]["final_size"] == status["log_size"]:
            with gateway.reader() as reader:
                if not reader.open_anchors():
                    return status
        await asyncio.sleep(0.1)
    raise AssertionError(f"never anchored to the end: {status.get('anchors')}")


async def status_where(gateway: Gateway, true: Callable[[dict[str, Any]], bool], timeout_s: float = 30.0) -> Any:
    """The first status for which something is true."""
    deadline = time.monotonic() + timeout_s
    status: dict[str, Any] | None = None
    while time.monotonic() < deadline:
        status = await gateway.status()
        if status is not None and true(status):
            return status
        await asyncio.sleep(0.05)
    raise AssertionError(f"it never came: {json.dumps(status)} {gateway.log.read_text()[-3000:]}")


async def assert_proven_on_the_chain(world: CustodyWorld, gateway: Gateway, index: int) -> None:
    """Export the proof of one message with its anchor, and verify it with nothing but the chain."""
    proof = gateway.folder / f"{index}.proof"
    code, said = await gateway.securenet(
        "proof", "export", "--index", str(index), "--require-anchor", "--out", proof, "--config", gateway.config
    )
    assert code == 0, said
    code, said = await gateway.securenet(
        *("proof", "verify", proof, "--rpc", world.anvil.url, "--chain-id", str(CHAIN_ID)),
        *("--registry-address", world.chain.registry.address, "--anchor-log", world.chain.log.address),
        *("--finality", "1"),
    )
    assert code == 0, said
