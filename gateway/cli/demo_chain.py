"""The demo's chain, and what an operator does on it: the very commands that a person types, each a child process.

``Office.establish`` is everything that stands before the first message: contracts, keys, devices, the gateway itself,
money. Roles are apart as they should be: one account deploys and pays, one registers and revokes, one suspends. What
was typed and what came back stays in the folder ``operator``.
"""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Callable, Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, NamedTuple

from gateway.cli.demo_parts import READY_S, Child, DemoError, python_child
from gateway.cli.options import write_new

BLOCK_S: Final = 1
CONFIRMATIONS: Final = 2
POLL_S: Final = 0.5
_ANCHOR_EVERY_S: Final = 3.0
_ANCHORS_MAX: Final = 100
ADMIN: Final = "admin"
REGISTRAR: Final = "registrar"
SUSPENDER: Final = "suspender"
PUBLISHER: Final = "publisher"
_ACCOUNTS: Final = (ADMIN, REGISTRAR, SUSPENDER, PUBLISHER)
_COMMAND_S: Final = 120.0
_LOOK_EVERY_S: Final = 0.05
NICE: Final = 5
"""A site has its chain and its operator on other machines: here they stand back while the gateway is measured."""
_FUND_ETHER: Final = 1
_CHEAP_SCRYPT: Final = (1024, 8, 1)
"""The keys of a development chain are public: there is nothing to protect, and seven commands open a keystore."""


class Roll(NamedTuple):
    """Who is to be registered, as active lines of the registry's format, and who of them is not to stay so."""

    active: tuple[str, ...]
    suspended: tuple[str, ...]
    revoked: tuple[str, ...]


def roll_of(lines: Iterable[str]) -> Roll:
    """Turn a registry file into what has to be done by transaction (pure); miners are left out."""
    active: list[str] = []
    gone: dict[str, list[str]] = {"suspended": [], "revoked": []}
    for line in lines:
        row = json.loads(line)
        if row["kind"] != "device":
            continue
        active.append(json.dumps(row | {"status": "active"}))
        if row["status"] != "active":
            gone[row["status"]].append(row["id"])
    return Roll(tuple(active), tuple(gone["suspended"]), tuple(gone["revoked"]))


def anchor_every_s(duration_s: float) -> float:
    """The interval of anchors: seconds, and longer in a long run (pure)."""
    return max(_ANCHOR_EVERY_S, duration_s / _ANCHORS_MAX)


def section(folder: Path, duration_s: float) -> str:
    """What a gateway's configuration says of its anchors; [chain] comes from ``securenet chain deploy``."""
    return f"""[anchor]
key_file = {json.dumps(str(folder / "anchoring.json"))}
passphrase_file = {json.dumps(str(folder / "anchoring.passphrase"))}
interval_s = {anchor_every_s(duration_s):g}
min_interval_s = 1
"""


_FINALITY: Final = f"""finality = "confirmations"
confirmations = {CONFIRMATIONS}
poll_s = {POLL_S}
requests_per_s = 200
"""


def chain_child(folder: Path) -> Child:
    """The embedded development chain (docs/operations/devchain.md), as a child.

    Raises:
        DemoError: its parts are not installed.
    """
    if any(find_spec(name) is None for name in ("eth", "eth_tester", "web3")):
        raise DemoError(
            "the embedded chain is not installed: pip install 'securenet-gateway[demo]', or take --no-chain"
        )
    arguments = ["--port", "0", "--block-time", str(BLOCK_S), "--accounts", str(len(_ACCOUNTS)), "--ready-file"]
    return python_child(
        "chain", "gateway.chain.devchain", [*arguments, _ready_file(folder)], folder / "chain.log", nice=NICE
    )


def _ready_file(folder: Path) -> Path:
    return folder / "chain.json"


def wait_for_chain(child: Child, folder: Path, check: Callable[[], None]) -> dict[str, Any]:
    """Wait until the chain answers; where it is, and whose keys are on it.

    Raises:
        DemoError: it has ended, or does not come up in time.
    """
    deadline_s = time.monotonic() + READY_S
    while time.monotonic() < deadline_s:
        check()
        child.must_run()
        if _ready_file(folder).exists():
            known: dict[str, Any] = json.loads(_ready_file(folder).read_text(encoding="utf-8"))
            return known
        time.sleep(_LOOK_EVERY_S)
    raise DemoError(f"the chain does not answer after {READY_S:g} s. {child.last_words()}")


class Command(NamedTuple):
    """A command of the operator that was begun, and where its answer will be."""

    child: Child
    answers: Path


class Office:
    """Where the demo's operator works.

    Args:
        folder: the demo's; gets the folder ``operator``.
        config_file: the gateway's configuration.
        check: called while a command is waited for; ends the waiting by what it raises.
    """

    def __init__(self, folder: Path, config_file: Path, check: Callable[[], None]) -> None:
        self._folder = folder / "operator"
        self._config_file = config_file
        self._check = check
        self._begun: list[Child] = []
        self._signed: dict[str, list[Child]] = {}
        self._addresses: dict[str, str] = {}

    def establish(
        self,
        chain: dict[str, Any],
        registry_files: Iterable[Path],
        say: Callable[[str], None],
        grant: Callable[[], None] | None = None,
    ) -> None:
        """Do what stands before the gateway's start, and complete its configuration by the section [chain].

        Args:
            chain: what the chain's ready file says.
            registry_files: who is to be registered, suspended and revoked.
            say: told what is being done.
            grant: called once the gateway is registered, to grant it its models.

        Raises:
            DemoError: a command failed; its words are shown.
        """
        self._folder.mkdir()
        enrolled = zip(_ACCOUNTS, chain["accounts"], strict=True)
        self._addresses = {name: self._enrol(name, account) for name, account in enrolled}
        say("The operator deploys the contracts, and makes the gateway's keys.")
        roles = ("--registrar", self._addresses[REGISTRAR], "--suspender", self._addresses[SUSPENDER])
        deployed = self.ask(ADMIN, "chain", "deploy", "--rpc", chain["url"], *roles)
        with self._config_file.open("a", encoding="utf-8") as file:
            file.write(deployed["toml"] + _FINALITY)
        self.ask("", "key", "create", *self.configured)
        roll = roll_of(line for path in registry_files for line in path.read_text(encoding="utf-8").splitlines())
        listed = self._folder / "devices.jsonl"
        write_new(listed, "".join(f"{line}\n" for line in roll.active).encode())
        say(
            f"By transaction, {len(roll.active)} devices are registered, {len(roll.suspended)} of them suspended and "
            f"{len(roll.revoked)} revoked."
        )
        say(f"The gateway is registered, and gets {_FUND_ETHER} ether for its anchors.")
        funded = self.begin(ADMIN, "chain", "fund", "--ether", str(_FUND_ETHER), *self.configured)
        self.ask(REGISTRAR, "miner", "register", *self.configured)
        if grant is not None:
            grant()
        self.ask(REGISTRAR, "device", "import", "--jsonl", listed, *self.configured)
        suspended = self.begin(SUSPENDER, "device", "suspend", *roll.suspended, *self.configured)
        self.ask(REGISTRAR, "device", "revoke", "--yes", *roll.revoked, *self.configured)
        for command in (suspended, funded):
            self.wait(command)

    def revoke(self, device_id: str) -> Command:
        """Begin to revoke a device, while the gateway works."""
        return self.begin(REGISTRAR, "device", "revoke", "--yes", device_id, *self.configured, nice=NICE)

    def ask(self, account: str, *words: str | Path) -> dict[str, Any]:
        """Do a command and wait for its answer. Raises as ``wait``."""
        return self.wait(self.begin(account, *words))

    def begin(self, account: str, *words: str | Path, nice: int = 0) -> Command:
        """Begin a command, signed by one of the accounts, or by none.

        Raises:
            DemoError: it cannot be started.
        """
        typed = [*map(str, words), "--json"]
        if account:
            key, passphrase = self._folder / f"{account}.json", self._folder / "passphrase"
            typed += ["--key-file", str(key), "--passphrase-file", str(passphrase)]
        with (self._folder / "typed.txt").open("a", encoding="utf-8") as file:
            file.write(f"securenet {shlex.join(typed)}\n")
        name = f"{len(self._begun) + 1:02d}-{words[0]}-{words[1]}"
        answers = self._folder / f"{name}.out"
        title = f"command securenet {words[0]} {words[1]}"
        child = python_child(title, "gateway", typed, self._folder / f"{name}.err", answers=answers, nice=nice)
        self._begun.append(child)
        self._signed.setdefault(account, []).append(child)
        child.start()
        return Command(child, answers)

    def answer(self, command: Command, codes: Iterable[int] = (0,)) -> dict[str, Any] | None:
        """What a command answered; None while it runs.

        Raises:
            DemoError: it ended by another code, or said nothing that can be read.
        """
        code = command.child.ended()
        if code is None:
            return None
        text = command.answers.read_text(encoding="utf-8", errors="replace")
        if code in codes:
            try:
                said: dict[str, Any] = json.loads(text)
            except ValueError:
                raise DemoError(f"the {command.child.name} gave no answer. {command.child.last_words()}") from None
            return said
        with command.answers.with_suffix(".err").open("a", encoding="utf-8") as file:
            file.write(text)
        raise DemoError(f"the {command.child.name} ended with code {code}. {command.child.last_words()}")

    def wait(self, command: Command, codes: Iterable[int] = (0,)) -> dict[str, Any]:
        """Wait for a command's answer.

        Raises:
            DemoError: it failed, or took too long.
        """
        deadline_s = time.monotonic() + _COMMAND_S
        while time.monotonic() < deadline_s:
            self._check()
            said = self.answer(command, codes)
            if said is not None:
                return said
            time.sleep(_LOOK_EVERY_S)
        raise DemoError(f"the {command.child.name} took more than {_COMMAND_S:g} s. {command.child.last_words()}")

    def children(self) -> tuple[Child, ...]:
        """Every command that was begun."""
        return tuple(self._begun)

    def is_free(self, account: str) -> bool:
        """Whether no command of this account is under way; two at once would take the same nonce."""
        return not account or all(child.ended() is not None for child in self._signed.get(account, ()))

    def address(self, account: str) -> str:
        """The address of an account, once it is enrolled."""
        return self._addresses[account]

    @property
    def configured(self) -> tuple[str, str]:
        """The option that names the gateway's configuration."""
        return "--config", str(self._config_file)

    def _enrol(self, name: str, account: dict[str, str]) -> str:
        """Put an account of the chain into a keystore; its address."""
        from gateway.crypto.keystore import ScryptCost, lock  # noqa: PLC0415 -- needs the extra chain

        passphrase = b"public"
        private = bytes.fromhex(account["private_key"].removeprefix("0x"))
        write_new(self._folder / f"{name}.json", lock(private, passphrase, ScryptCost(*_CHEAP_SCRYPT)), mode=0o600)
        if not (self._folder / "passphrase").exists():
            write_new(self._folder / "passphrase", passphrase, mode=0o600)
        return account["address"]
