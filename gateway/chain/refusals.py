"""What a contract's refusal means to the operator (pure): the error by name, in words, and what to do about it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from gateway.chain.contracts import MAX_BATCH, error_of, topic_of

ROLES: Final = ("DEFAULT_ADMIN_ROLE", "REGISTRAR_ROLE", "SUSPENDER_ROLE")
_MODEL_ROLES: Final = ("PUBLISHER_ROLE", "GRANTER_ROLE")
_SHOWN_CHARACTERS: Final = 80


class Refusal(NamedTuple):
    """Why a contract takes a transaction not. ``name`` is the contract's own word, empty when it said none."""

    name: str
    problem: str
    hint: str


Words = tuple[Callable[..., str], str]

_WORDS: Final[dict[str, Words]] = {
    "AccessControlUnauthorizedAccount": (
        lambda account, role: f"the account {account} has not the {role_name(role)}",
        "sign with an account that has it, or let the admin grant it",
    ),
    "AccessControlBadConfirmation": (
        lambda: "a role can be renounced by its own account alone",
        "sign with that account",
    ),
    "AccountTaken": (
        lambda account: f"the account {account} is bound to another miner",
        "give each gateway an anchoring account of its own; that of a revoked miner stays taken",
    ),
    "AlreadyRegistered": (
        lambda name: f"the id {_quoted(name)} is registered already",
        "an id is used once, however it ended; choose another",
    ),
    "BatchSize": (lambda size: f"{size} are no batch", f"name 1 to {MAX_BATCH} at once"),
    "FleetIsFixed": (
        lambda name: f"the miner {_quoted(name)} is registered in another fleet",
        "a miner keeps its fleet and its log for life; register another id",
    ),
    "InvalidFleet": (
        lambda name: f"{_quoted(name)} is no fleet id",
        "1-32 characters of A-Z a-z 0-9 . _ : -, and not one of . .. gateway",
    ),
    "InvalidHpkeKey": (
        lambda name: f"the HPKE key of {_quoted(name)} is none",
        "32 bytes of X25519 that are not all zero, or 1216 bytes of MLKEM768-X25519",
    ),
    "InvalidId": (
        lambda name: f"{_quoted(name)} is no id",
        "1-64 characters of A-Z a-z 0-9 . _ : -, and not one of . .. gateway",
    ),
    "InvalidKey": (
        lambda name: f"the public key of {_quoted(name)} is no point that may be registered",
        "export the public key again: 32 bytes of Ed25519, or 65 bytes of uncompressed P-256",
    ),
    "LogFrozen": (
        lambda _log, size: f"the log is frozen: two roots of size {size} were anchored",
        "nobody can thaw it; register the gateway under another id, and find out who held its key",
    ),
    "NotAMiner": (lambda name: f"{_quoted(name)} is a device", "only a miner is renewed"),
    "NotARegistry": (lambda address: f"there is no contract at {address}", "deploy the registry first"),
    "NotActiveMiner": (
        lambda _log, account: f"the account {account} is not that of this log's active miner",
        "securenet miner show says who is; register, renew or reinstate the miner",
    ),
    "NotRegistered": (lambda name: f"the id {_quoted(name)} was never registered", "check the spelling"),
    "RevokedForEver": (
        lambda name: f"{_quoted(name)} was revoked, which is for ever",
        "register another id",
    ),
    "StaleSize": (
        lambda _log, size, latest: f"the size {size} is below the anchored {latest}, or zero",
        "only a larger log is anchored",
    ),
    "UnknownLog": (lambda _log: "no miner has this log", "register the miner first"),
    "ZeroAccount": (lambda: "the account is zero", "name the account"),
}

_MODEL_WORDS: Final[dict[str, Words]] = {
    "AlreadyExpired": (lambda until: f"the version is valid until {until} only, which is over", "choose a later end"),
    "FloorAboveNewest": (
        lambda name, floor, newest: f"the floor {floor} of {_quoted(name)} is above its newest version {newest}",
        "publish the version first; to stop the newest one, revoke it",
    ),
    "FloorFalls": (
        lambda name, floor, before: f"the floor of {_quoted(name)} is {before} and would fall to {floor}",
        "a floor never falls; publish a new version",
    ),
    "InvalidCid": (lambda cid: f"{_quoted(cid)} is no CID", "write the CID as base32 or base58btc text"),
    "InvalidModelId": (
        lambda name: f"{_quoted(name)} is no model id",
        "1-64 characters of A-Z a-z 0-9 . _ : -, and not one of . .. gateway",
    ),
    "InvalidOutcome": (
        lambda result, _reason: f"the outcome {result} does not go with its reason",
        "a refusal has a reason of a-z 0-9 -, what is loaded has none",
    ),
    "InvalidPublisherKey": (
        lambda account: f"the signing key of {account} is no point that may be registered",
        "export the public key again: 32 bytes of Ed25519, or 65 bytes of uncompressed P-256",
    ),
    "InvalidSha256": (lambda: "the SHA-256 of the manifest is zero", "give the one of the whole envelope"),
    "NeverGranted": (
        lambda model, gateway: f"the gateway {_quoted(gateway)} never had the grant of {_quoted(model)}",
        "check the spelling",
    ),
    "NotAGateway": (
        lambda name: f"{_quoted(name)} is no miner of the registry, or a revoked one",
        "register the gateway first; check the spelling",
    ),
    "NotAPublisher": (
        lambda account: f"the account {account} is no publisher, or has no signing key",
        "let the admin register it with its key",
    ),
    "NotAnActiveMiner": (
        lambda account: f"the account {account} is not that of an active miner",
        "securenet miner show says who is; register, renew or reinstate the miner",
    ),
    "NotGranter": (
        lambda name, account: (
            f"the account {account} neither owns the model {_quoted(name)} nor has the GRANTER_ROLE"
        ),
        "sign with the owner's account or the granter's",
    ),
    "NotOwner": (
        lambda name, account: f"the account {account} does not own the model {_quoted(name)}",
        "sign with the owner's account, or let the admin assign the model",
    ),
    "StaleVersion": (
        lambda name, version, newest: f"the version {version} of {_quoted(name)} is not above {newest}",
        "versions rise; choose a higher one",
    ),
    "UnknownVersion": (
        lambda name, version: f"the model {_quoted(name)} has no version {version}",
        "check the id and the version",
    ),
}
_ALL_WORDS: Final = _WORDS | _MODEL_WORDS


def explain(data: bytes) -> Refusal:
    """What ``CallReverted.data`` means."""
    name, values = error_of(data)
    words = _ALL_WORDS.get(name)
    if words is None:
        said = f" (0x{data[:36].hex()})" if data else ""
        return Refusal(
            name,
            f"the contract refuses without a reason that this version knows{said}",
            "check that the addresses are those of this chain's contracts; what takes more gas than a block has "
            "ends so too: a smaller --batch helps then",
        )
    tell, hint = words
    return Refusal(name, tell(*values), hint)


def role_name(role: bytes) -> str:
    """A role by its name; its number when it is not one of ours."""
    if not any(role):
        return ROLES[0]
    return next((name for name in (*ROLES[1:], *_MODEL_ROLES) if topic_of(name) == role), f"role 0x{role.hex()}")


def known_errors() -> Sequence[str]:
    """The errors that have words, by name."""
    return tuple(_ALL_WORDS)


def _quoted(text: str) -> str:
    return f'"{text[:_SHOWN_CHARACTERS]}"'
