"""The conformance kit's CoAP side: posts steps, and holds each answer's code, text and options to the page (§4)."""

import asyncio
from types import TracebackType
from typing import Final, Self

from firmware_sim import coap_packets as wire
from firmware_sim.carriers import CarrierError
from firmware_sim.coap_link import CoapAddress, CoapLink, CoapReply, SourceAddresses
from firmware_sim.kit_model import Bench, Step
from firmware_sim.kit_report import Finding
from firmware_sim.ledger import ACCEPTED, DUPLICATE
from firmware_sim.receipt import ReceiptError, ReceiptVerifier

PATIENCE: Final = 6
FLOOD: Final = 4_000
FLOOD_AT_ONCE: Final = 24
STEPS_A_SOURCE: Final = 12
CODES: Final = {
    "malformed": "4.00",
    **dict.fromkeys(("device-unknown", "bad-signature", "alg-mismatch"), "4.01"),
    **dict.fromkeys(("device-suspended", "device-revoked", "wrong-fleet"), "4.03"),
    **dict.fromkeys(("sequence-reused", "stale-session", "out-of-window", "too-old", "in-future"), "4.09"),
    "too-large": "4.13",
    "rate-limited": "4.29",
    **dict.fromkeys(("pushback", "registry-stale", "miner-unknown", "miner-suspended"), "5.03"),
}
_WAIT: Final = {"4.29", "5.03"}
_RECEIPT_FORMAT: Final = 18
_LINK_FORMAT: Final = 40


class CoapBench:
    """Posts steps and reads the answers."""

    def __init__(self, address: CoapAddress, verifier: ReceiptVerifier) -> None:
        self._address = address
        self._verifier = verifier
        self._sources = SourceAddresses(address, first=2_000)
        self._links: list[CoapLink] = []
        self._posted = 0
        self._first: dict[bytes, bytes] = {}

    async def __aenter__(self) -> Self:
        """Open an endpoint.

        Raises:
            CarrierError: the address cannot be used.
        """
        await self._open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close every endpoint."""
        for link in self._links:
            link.close()
        # The event loop closes the sockets in its next round.
        await asyncio.sleep(0)

    async def _open(self) -> CoapLink:
        try:
            link = await CoapLink.open(self._address, self._sources.take())
        except OSError as fault:
            raise CarrierError(f"cannot send CoAP to {self._address.host}: {fault}") from fault
        self._links.append(link)
        return link

    async def run(self, step: Step) -> str:
        """Post a step; give the reason or the fault in words."""
        self._posted += 1
        # No peer may come near its rate: every dozen steps speak from another address.
        link = await self._open() if self._posted % STEPS_A_SOURCE == 0 else self._links[-1]
        for _ in range(PATIENCE):
            try:
                reply = await link.post(step.data, step.content_format)
            except TimeoutError:
                return "no-answer"
            if reply.code_text not in _WAIT or step.expected[0] == "rate-limited":
                break
            await asyncio.sleep(min(10, max(1, reply.max_age_s or 1)))
        return self.outcome(reply, step.digest)

    def outcome(self, reply: CoapReply, digest: bytes) -> str:
        """What an answer says, with whatever is wrong about its form."""
        if reply.code_text == "2.04":
            return self._receipt(reply, digest)
        reason = reply.payload.decode("ascii", "replace")
        due = CODES.get(reason)
        if due is None:
            return f"code-{reply.code_text}" + (f" with text {reason!r}" if reason else "")
        if due != reply.code_text:
            return f"{reason} with code {reply.code_text}, not {due}"
        if due in _WAIT and reply.max_age_s is None:
            return f"{reason} without Max-Age"
        return reason

    def _receipt(self, reply: CoapReply, digest: bytes) -> str:
        try:
            receipt = self._verifier.verify(reply.payload)
        except ReceiptError as fault:
            return f"2.04 with a bad receipt: {fault}"
        if reply.content_format != _RECEIPT_FORMAT:
            return f"2.04 with content format {reply.content_format}"
        if digest and receipt.digest != digest:
            return "2.04 with the receipt of another message"
        if not receipt.accepted:
            return f"2.04 with a receipt that says {receipt.reason}"
        first = self._first.setdefault(receipt.digest, reply.payload)
        if first is reply.payload:
            return ACCEPTED
        return DUPLICATE if first == reply.payload else "another receipt than the first"

    async def extras(self, bench: Bench) -> list[Finding]:
        """What is asked of the resources beside the envelope: methods, paths, discovery, the rate limit."""
        findings = []
        rows = (
            ("GET of /v1/up", wire.GET, ("v1", "up"), "4.05"),
            ("PUT to /v1/up", 0x03, ("v1", "up"), "4.05"),
            ("DELETE of /v1/up", 0x04, ("v1", "up"), "4.05"),
            ("POST elsewhere", wire.POST, ("v1", "down"), "4.04"),
            ("POST below", wire.POST, ("v1", "up", "more"), "4.04"),
        )
        for name, method, path, due in rows:
            reply = await self._ask(method, path)
            findings.append(_finding(name, due, "no-answer" if reply is None else reply.code_text))
        reply = await self._ask(wire.GET, (".well-known", "core"))
        listed = reply is not None and reply.content_format == _LINK_FORMAT and b"</v1/up>" in reply.payload
        findings.append(_finding("discovery lists /v1/up", "listed", "listed" if listed else "not listed"))
        findings.append(await self._flood(bench))
        return findings

    async def _ask(self, method: int, path: tuple[str, ...]) -> CoapReply | None:
        link = await self._open()
        try:
            return await link.request(method, path)
        except TimeoutError:
            return None

    async def _flood(self, bench: Bench) -> Finding:
        """One device, one peer, as fast as it goes, until it is told to slow down."""
        link, speaker = await self._open(), bench.role("flooding")
        told: list[str] = []

        async def worker(share: int) -> None:
            for _ in range(share):
                if told:
                    return
                sealed = speaker.sealed("cose")
                try:
                    reply = await link.post(sealed.data, _RECEIPT_FORMAT)
                except TimeoutError:
                    continue
                if reply.code_text == "4.29":
                    told.append(self.outcome(reply, sealed.digest))

        await asyncio.gather(*(worker(FLOOD // FLOOD_AT_ONCE) for _ in range(FLOOD_AT_ONCE)))
        name = "a flood is told to slow down"
        if not told:
            return Finding(name, "§3 step 3", "coap", ("rate-limited",), ("never",), "skipped", f"{FLOOD} messages")
        return _finding(name, "rate-limited", told[0], "§3 step 3")


def _finding(name: str, expected: str, outcome: str, section: str = "§4") -> Finding:
    verdict = "passed" if expected == outcome else "failed"
    return Finding(f"coap/resource/{name}", section, "coap", (expected,), (outcome,), verdict)
