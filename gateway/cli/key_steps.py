"""What a person has to do between the two steps of ``key rotate`` (pure).

The registry names the log key and the account of the one miner that may append to this log (FORMATS.md §3, step 1).
From the moment that it names the new ones until the gateway uses them, the gateway accepts nothing: pushback, and the
senders keep what they have.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from gateway.cli.key_kinds import Kind
from gateway.config.model import Config

_PAUSE: Final = (
    "From then until the restart the gateway accepts nothing, and loses nothing: devices and broker keep it"
)


class Rotation(NamedTuple):
    """A rotation under way. ``given``: the file was named on the command line, and has to be named again."""

    config: Config
    config_path: Path
    kind: Kind
    path: Path
    given: bool

    @property
    def finish_command(self) -> str:
        """What to type for the second step."""
        words = ["securenet", "key", "rotate", self.kind.value, "--finish", "--config", str(self.config_path)]
        if self.given:
            words += ["--file", str(self.path)]
        return shlex.join(words)


def next_steps(rotation: Rotation, facts: Mapping[str, Any]) -> list[str]:
    """The steps after the first, in their order."""
    return [
        *_BEFORE[rotation.kind](rotation, facts),
        f"Put it in place: {rotation.finish_command}",
        "Restart the gateway.",
        _AFTER[rotation.kind],
    ]


def _log(rotation: Rotation, facts: Mapping[str, Any]) -> list[str]:
    if rotation.config.chain.rpc:
        return [_renew(rotation, f"log key {facts['public_key']}")]
    line = json.dumps(facts["registry_line"])
    return [f"Put this line in the place of the old one in {rotation.config.registry.file}: {line}"]


def _anchoring(rotation: Rotation, facts: Mapping[str, Any]) -> list[str]:
    return [
        f"Fund the new account, where gas costs: {facts['address']}",
        _renew(rotation, f"account {facts['address']}"),
    ]


def _hpke(rotation: Rotation, facts: Mapping[str, Any]) -> list[str]:
    if rotation.config.chain.rpc:
        return [_renew(rotation, f"HPKE key {facts['public_key']}")]
    return [f"Give the new key to whoever publishes models: {facts['public_key']}"]


def _renew(rotation: Rotation, what: str) -> str:
    pause = "" if rotation.kind is Kind.HPKE else f" {_PAUSE}."
    return (
        f"Let the registrar renew the miner {rotation.config.gateway.id} with the {what} (securenet miner renew), "
        f"and wait until that is final.{pause}"
    )


_BEFORE: Final[Mapping[Kind, Callable[[Rotation, Mapping[str, Any]], list[str]]]] = {
    Kind.LOG: _log,
    Kind.ANCHORING: _anchoring,
    Kind.HPKE: _hpke,
}
_AFTER: Final[Mapping[Kind, str]] = {
    Kind.LOG: "Give the new verifier key to whoever checks proofs; the old one stays good for what it signed.",
    Kind.ANCHORING: "Keep the old key until its last anchor is final and what it still owns is moved.",
    Kind.HPKE: "Keep the old key until no model that is wrapped for it is to be loaded any more.",
}
