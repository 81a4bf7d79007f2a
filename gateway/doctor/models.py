"""Who is registered, which models run, and where their blocks come from (pure)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from gateway.config.model import Config
from gateway.doctor.finding import Finding, Sheet, error, warning

REGISTRY: Final = Sheet(
    "registry",
    {
        "file": error(
            "Correct the line that it names, in {path}: `securenet check-config`; then "
            "`systemctl reload securenet-gateway`."
        ),
        "no-devices": warning(
            "Nobody may speak: `securenet device register --help`, or add lines to `registry.file`."
        ),
        "other-fleet": warning("None of them is of `gateway.fleet`: `securenet device list`."),
        "stale": error(
            "Nothing is accepted until the chain is seen again: `securenet chain status`, then "
            "`systemctl reload securenet-gateway`."
        ),
        "ageing": warning(
            "The chain was not seen for long; beyond `registry.max_age_s` nothing is accepted: "
            "`securenet chain status`."
        ),
        "never": warning("The chain's registry was not read yet: `securenet status`, `securenet chain status`."),
    },
)

MODELS: Final = Sheet(
    "models",
    {
        "never-ran": warning(
            "See what keeps it: `securenet model show {model}`, `securenet model accesses {model}`."
        ),
        "refused": warning("See why, and what the publisher has to do: `securenet model accesses {model}`."),
        "aside": warning(
            "A version failed at work and is not run again; the publisher sends a better one: "
            "`securenet model show {model}`."
        ),
        "not-granted": error(
            "Its key was not granted to this gateway: the publisher does it, `securenet model grant {model} --help`."
        ),
        "expired": warning("It runs on; ask its publisher for a new version: `securenet model show {model}`."),
        "told": warning("See `securenet status` and `securenet model list`."),
        "no-key": error("Models are wrapped for a key: `securenet key create hpke --help`, `gateway.hpke_key_file`."),
        "extra-missing": error("Install the interpreter: `pip install 'securenet-gateway[litert]'`."),
    },
)

IPFS: Final = Sheet(
    "ipfs",
    {
        "down": warning(
            "Another source serves. Look at this one, or take it out of `ipfs.sources`: `securenet show-config`."
        ),
        "all-down": error(
            "No new model arrives; those that run go on. Check network and `ipfs.sources`; without a "
            "network, a CAR file: `securenet show-config`."
        ),
        "wrong": error("What it gives does not have the hash that was asked for: take it out of `ipfs.sources`."),
        "extra-missing": error("Install the libraries: `pip install 'securenet-gateway[chain]'`."),
    },
)


class RegistryFact(NamedTuple):
    """``problem``: the file is refused. ``as_of_ms``: when the chain's registry was last confirmed."""

    by_chain: bool
    problem: str = ""
    devices: int = 0
    active: int = 0
    of_fleet: bool = True
    as_of_ms: int | None = None


class SourceFact(NamedTuple):
    """One source. ``answered``: gave the block, or said that it has none. ``wrong``: gave another one."""

    label: str
    answered: bool
    wrong: bool = False
    words: str = ""
    took_ms: float = 0.0


class ModelFacts(NamedTuple):
    """``ran``: the last good version by model; ``refused``: the newest refusal since, with its reason."""

    ran: Mapping[str, int]
    aside: Mapping[str, int]
    refused: Mapping[str, str]
    warnings: Sequence[str] = ()
    interpreter: bool = True
    running: Mapping[str, Any] | None = None


def judge_registry(config: Config, fact: RegistryFact, now_ms: int) -> list[Finding]:
    """Whether somebody may speak, and whether that is of today."""
    if fact.problem:
        return [REGISTRY.found("file", fact.problem, path=config.registry.file)]
    found = []
    told = f"{fact.devices} devices, {fact.active} of them active"
    if fact.by_chain:
        if fact.as_of_ms is None:
            return [REGISTRY.found("never", "the journal holds nothing of the chain's registry")]
        age_s = (now_ms - fact.as_of_ms) / 1000
        told += f", as of {max(0.0, age_s):.0f} s ago"
        if age_s > config.registry.max_age_s:
            what = f"the registry is {age_s:.0f} s old, and registry.max_age_s is {config.registry.max_age_s}"
            found.append(REGISTRY.found("stale", what, age_s=round(age_s)))
        elif age_s > config.registry.max_age_s / 2:
            found.append(REGISTRY.found("ageing", f"the registry is {age_s:.0f} s old", age_s=round(age_s)))
    if not fact.active:
        found.append(REGISTRY.found("no-devices", f"no device is active ({told})"))
    elif not fact.of_fleet:
        found.append(REGISTRY.found("other-fleet", f"no device is of the fleet {config.gateway.fleet}"))
    return found or [REGISTRY.fine(told, devices=fact.devices, active=fact.active)]


def judge_models(config: Config, facts: ModelFacts) -> list[Finding]:
    """Whether the wanted models run."""
    found = []
    if not facts.interpreter:
        found.append(MODELS.found("extra-missing", "the interpreter of models is not installed"))
    if not config.gateway.hpke_key_file:
        found.append(MODELS.found("no-key", "gateway.hpke_key_file is empty"))
    for name in config.models.enabled:
        if name not in facts.ran:
            why = f": the newest was refused ({facts.refused[name]})" if name in facts.refused else ""
            found.append(MODELS.found("never-ran", f"no version of {name} ever ran here{why}", model=name))
        elif name in facts.refused:
            found.append(
                MODELS.found("refused", f"{name}: a newer one is refused ({facts.refused[name]})", model=name)
            )
        if name in facts.aside:
            found.append(MODELS.found("aside", f"version {facts.aside[name]} of {name} was put aside", model=name))
        found += _running(name, (facts.running or {}).get(name))
    found += [MODELS.found("told", f"the running gateway says: {each}") for each in facts.warnings]
    running = ", ".join(f"{name} version {version}" for name, version in facts.ran.items())
    return found or [MODELS.fine(running or "none is configured")]


def _running(name: str, told: Mapping[str, Any] | None) -> list[Finding]:
    """What the running gateway knows of a model, from the chain."""
    found = []
    if told and told.get("newest") and not told.get("granted"):
        found.append(MODELS.found("not-granted", f"the model {name} is not granted to this gateway", model=name))
    if told and told.get("expired"):
        found.append(MODELS.found("expired", f"the time of {name} is over", model=name))
    return found


def judge_ipfs(facts: Sequence[SourceFact]) -> list[Finding]:
    """Whether blocks can be had."""
    found = [IPFS.found("wrong", f"{each.label}: {each.words}") for each in facts if each.wrong]
    down = [each for each in facts if not each.answered and not each.wrong]
    remote_left = any(each.answered for each in facts)
    found += [IPFS.found("down" if remote_left else "all-down", each.words or each.label) for each in down]
    told = ", ".join(f"{each.label} in {each.took_ms:.0f} ms" for each in facts)
    return found or [IPFS.fine(f"all answer: {told}")]
