"""Registering a gateway: what it is registered with, by configuration and keys or by options, and the sending."""

from __future__ import annotations

from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple

from gateway.chain.contracts import (
    Contracts,
    MinerFacts,
    log_id,
    open_call,
    register_miner_call,
    renew_miner_call,
    verify_contracts,
)
from gateway.chain.operator import Operator, Refused, Tx, estimate, require_role
from gateway.chain.port import View
from gateway.chain.refusals import Refusal
from gateway.chain.rollcall import Known
from gateway.cli.chain_link import Target
from gateway.cli.chain_report import log_public, registration
from gateway.cli.device_roll import REGISTRAR, Desk, receipt_facts
from gateway.cli.key_files import is_there, next_of
from gateway.cli.output import CliError
from gateway.config.ids import is_fleet, is_id
from gateway.config.model import Config
from gateway.crypto.keystore import KeystoreRefused, stated_address
from gateway.ops.exitcodes import ExitCode
from gateway.ops.secrets import CREDENTIAL, SecretError, load_hpke_key, read_secret
from gateway.tlog.checkpoint import CheckpointError, parse_verifier_key

LOG_KEY_BYTES: Final = 32
HPKE_KEY_BYTES: Final = (32, 1216)
OPENED_GAS: Final = 50_000
"""Opening a log takes 71,766 gas, and 27,000 when it is open already: the estimate says which."""


class Wishes(NamedTuple):
    """What the options say; empty where the configuration is to say it."""

    name: str = ""
    fleet: str = ""
    log_key: str = ""
    hpke_key: str = ""
    account: bytes = b""


class Chosen(NamedTuple):
    """What is registered, and which of it is of a rotation that is under way (FILE.next)."""

    facts: MinerFacts
    rotated: tuple[str, ...]

    @property
    def origin(self) -> str:
        """The log's name."""
        return f"securenet/{self.facts.fleet}/{self.facts.id}"


def choose(target: Target, wishes: Wishes, *, rotating: bool) -> Chosen:
    """Gather what the miner is registered with.

    Args:
        target: has the configuration, which is read only when an option is missing.
        wishes: the options.
        rotating: whether a key in FILE.next goes before the one in FILE.

    Raises:
        CliError: an option does not hold, or neither options nor configuration say it.
        SecretError: a key of the configuration cannot be read.
    """
    complete = all(wishes)
    config = None if complete else target.config()
    own = config is not None and wishes.name in {"", config.gateway.id}
    if config is not None and not own and not all(wishes[2:]):
        raise CliError(
            ExitCode.USAGE,
            f"{wishes.name} is not the gateway of {target.config_path} ({config.gateway.id}): give --log-key, "
            "--hpke-key and --account too",
        )
    name = wishes.name or _of(config).gateway.id
    fleet = wishes.fleet or _of(config).gateway.fleet
    if not is_id(name) or not is_fleet(fleet):
        raise CliError(ExitCode.USAGE, "the id or the fleet is none: 1-64 (32) characters of A-Z a-z 0-9 . _ : -")
    rotated: list[str] = []
    ref = _refs(config, rotated, rotating=rotating)
    log_key = _log_key(wishes.log_key) if wishes.log_key else log_public(ref(_LOG))
    if wishes.hpke_key:
        hpke_key = _bytes_of(wishes.hpke_key, "--hpke-key", HPKE_KEY_BYTES)
    else:
        hpke_key = load_hpke_key(ref(_HPKE)).public
    account = wishes.account or _account(ref(_ACCOUNT))
    return Chosen(MinerFacts(name, fleet, log_key, hpke_key, account), tuple(rotated))


async def register(desk: Desk, chosen: Chosen) -> dict[str, Any]:
    """Register the miner, and open its log so that the first anchor costs what every later one does.

    Raises:
        Refused: it is registered with other facts, or the account has not the role: nothing was sent. Else as
            ``Operator.send``.
    """
    facts = chosen.facts
    operator = Operator(desk.chain, desk.signer, desk.terms)
    async with desk.chain.view() as view:
        contracts, known = await _looked_up(desk, view, facts.id)
        if known is None:
            await require_role(view, contracts.registry, REGISTRAR, desk.signer.address)
        elif problem := _differs(facts, known):
            hint = "securenet miner renew changes keys and account; an id keeps its fleet"
            raise Refused(
                Refusal("AlreadyRegistered", f'"{facts.id}" is registered {problem}', hint), "nothing was sent"
            )
    done: dict[str, Any] = {"registered": known is None, "transactions": []}
    if known is None:
        tx = Tx(contracts.registry, register_miner_call(facts), f"registering the miner {facts.id}")
        done["transactions"].append(receipt_facts(await operator.send(tx)) | {"what": "registered"})
    opening = Tx(contracts.anchor_log, open_call(log_id(chosen.origin)), f"opening the log {chosen.origin}")
    async with desk.chain.view() as view:
        needed = await estimate(view, desk.signer.address, opening, desk.terms)
    if needed.gas > OPENED_GAS:
        done["transactions"].append(receipt_facts(await operator.send(opening)) | {"what": "opened"})
    return done


async def renew(desk: Desk, chosen: Chosen) -> dict[str, Any]:
    """Replace the miner's keys and account. Raises as ``register``."""
    facts = chosen.facts
    async with desk.chain.view() as view:
        contracts, known = await _looked_up(desk, view, facts.id)
        await require_role(view, contracts.registry, REGISTRAR, desk.signer.address)
    if known is not None and not _differs(facts, known):
        return {"renewed": False, "transactions": []}
    tx = Tx(contracts.registry, renew_miner_call(facts), f"renewing the miner {facts.id}")
    receipt = await Operator(desk.chain, desk.signer, desk.terms).send(tx)
    return {"renewed": True, "transactions": [receipt_facts(receipt) | {"what": "renewed"}]}


async def _looked_up(desk: Desk, view: View, name: str) -> tuple[Contracts, Known | None]:
    contracts = desk.contracts
    await verify_contracts(view, contracts)
    return contracts, await registration(view, desk.config, name)


def _differs(facts: MinerFacts, known: Known) -> str:
    if not known.account:
        return "as a device"
    other = [
        name
        for name, ours, theirs in (
            ("fleet", facts.fleet, known.fleet),
            ("log key", facts.log_key, known.public_key),
            ("HPKE key", facts.hpke_key, known.hpke_key),
            ("account", facts.account, known.account),
        )
        if ours != theirs
    ]
    return f"with another {' and '.join(other)}" if other else ""


# --- what options and configuration say ---


def _of(config: Config | None) -> Config:
    if config is None:
        raise AssertionError("the configuration is read whenever an option is missing")
    return config


class _KeyFile(NamedTuple):
    """A key of the configuration: its name there, the option in its place, and how it is found."""

    key: str
    option: str
    ref: Callable[[Config], str]


_LOG: Final = _KeyFile("gateway.log_key_file", "--log-key", lambda config: config.gateway.log_key_file)
_HPKE: Final = _KeyFile("gateway.hpke_key_file", "--hpke-key", lambda config: config.gateway.hpke_key_file)
_ACCOUNT: Final = _KeyFile("anchor.key_file", "--account", lambda config: config.anchor.key_file)


def _refs(config: Config | None, rotated: list[str], *, rotating: bool) -> Callable[[_KeyFile], str]:
    """Where each key is to be read: the file of the configuration, or the one that is to follow it."""

    def find(wanted: _KeyFile) -> str:
        ref = wanted.ref(_of(config))
        if not ref:
            raise CliError(
                ExitCode.USAGE,
                f"{wanted.key} is empty: make a key (securenet key create) and name it, or give {wanted.option}",
            )
        if rotating and not ref.startswith(CREDENTIAL) and is_there(next_of(Path(ref))):
            rotated.append(str(next_of(Path(ref))))
            return rotated[-1]
        return ref

    return find


def _account(ref: str) -> bytes:
    try:
        stated = stated_address(read_secret(ref))
    except KeystoreRefused as error:
        raise SecretError(ref, error.problem, error.hint) from None
    if stated is None:
        raise SecretError(ref, "states no address", "give --account")
    return stated


def _log_key(text: str) -> bytes:
    try:
        return parse_verifier_key(text).public_key
    except CheckpointError:
        return _bytes_of(text, "--log-key", (LOG_KEY_BYTES,))


def _bytes_of(text: str, option: str, sizes: tuple[int, ...]) -> bytes:
    try:
        data = bytes.fromhex(text[2:]) if text.startswith("0x") else b64decode(text.encode("ascii"), validate=True)
    except (ValueError, Base64Error):
        data = b""
    if len(data) not in sizes:
        wanted = " or ".join(map(str, sizes))
        raise CliError(ExitCode.USAGE, f"{option} is not {wanted} bytes, as 0x and hexadecimal digits or base64")
    return data
