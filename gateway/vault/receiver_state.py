"""What is known of each wanted model while the gateway runs, and what is said of it (pure)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from gateway.chain.model_events import ModelHistory
from gateway.vault.receiver_rules import Failure, Memory, Ran, Reason, Refusal

FROZEN: Final = "the chain's newest final block is too old: no new version of a model is loaded"
_TOLD_KEPT: Final = 256
_SHOWN: Final = 8


@dataclass(slots=True)
class ModelState:
    """One wanted model: what is remembered, what runs, what failed, what was told.

    ``expires_ms`` is of the manifest of what runs; ``refusal`` of the newest version that is not loaded; ``asides``
    are faults at work that were not looked at yet.
    """

    memory: Memory = field(default_factory=Memory)
    running: Ran | None = None
    expires_ms: int | None = None
    failed: dict[bytes, Failure] = field(default_factory=dict)
    refusal: Refusal | None = None
    told: set[tuple[Ran, str]] = field(default_factory=set)
    asides: list[tuple[Ran, str]] = field(default_factory=list)

    def is_news(self, ran: Ran, reason: str) -> bool:
        """Whether this was not told yet; it is from now on."""
        key = (ran, reason)
        if key in self.told:
            return False
        if len(self.told) >= _TOLD_KEPT:
            self.told.clear()
        self.told.add(key)
        return True

    def forget_failures(self, history: ModelHistory) -> None:
        """Let go of the failures of versions that the chain does not name."""
        named = {version.manifest_sha256 for version in history.versions.values()}
        self.failed = {digest: failure for digest, failure in self.failed.items() if digest in named}

    def why_returned(self, history: ModelHistory) -> Reason:
        """Why the last good version is not the one to run."""
        good = self.memory.good
        said = None if good is None else history.versions.get(good.version)
        return Reason.REVOKED if said is not None and said.revoked else Reason.PUT_ASIDE

    def ends_ms(self, history: ModelHistory) -> int | None:
        """When the time of what runs is over: by its manifest or by the chain, whichever is sooner."""
        if self.running is None or self.expires_ms is None:
            return None
        said = history.versions.get(self.running.version)
        return self.expires_ms if said is None else min(self.expires_ms, said.valid_until_s * 1000)

    def is_over(self, history: ModelHistory, now_ms: int) -> bool:
        """Whether the time of what runs is over: it runs on, and a person should know."""
        ends_ms = self.ends_ms(history)
        return ends_ms is not None and now_ms >= ends_ms

    def status(self, history: ModelHistory, gateway_id: str, now_ms: int) -> dict[str, Any]:
        """For ``securenet status``."""
        running, refusal = self.running, self.refusal
        return {
            "newest": history.newest,
            "floor": history.floor,
            "granted": gateway_id in history.granted,
            "running": None if running is None else running.version,
            "put_aside": running is not None and self.memory.is_aside(running.manifest_sha256),
            "expires_ms": self.ends_ms(history),
            "expired": self.is_over(history, now_ms),
            "highest": self.memory.highest,
            "refused": None if refusal is None else refusal.ran.version,
            "reason": None if refusal is None else str(refusal.reason),
            "detail": "" if refusal is None else refusal.detail,
            "published": [
                {
                    "version": number,
                    "publisher": f"0x{said.publisher.hex()}",
                    "manifest_cid": said.manifest_cid,
                    "revoked": said.revoked,
                    "block_number": said.block_number,
                    "tx_hash": f"0x{said.tx_hash.hex()}",
                }
                for number, said in sorted(history.versions.items())[-_SHOWN:]
            ],
        }

    def warnings(self, name: str, history: ModelHistory, now_ms: int) -> Iterator[str]:
        """What a person should know, in words."""
        refusal, running = self.refusal, self.running
        why = "" if refusal is None else f": version {refusal.ran.version} is not loaded ({refusal.reason})"
        if running is None:
            yield f"the model {name} does not run{why}"
        elif why:
            yield f"the model {name} runs in version {running.version}{why}"
        if self.is_over(history, now_ms):
            yield f"the model {name} runs on although its time is over: ask its publisher for a new version"
