"""Which chain a verifier asks, by options or a configuration of his own, and the asking of each endpoint in turn."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar
from urllib.parse import urlsplit

import click

from gateway.chain.port import ChainError
from gateway.cli.chain_link import Target, address_option, chain_errors, opened
from gateway.cli.options import config_at
from gateway.cli.output import CliError, plain
from gateway.config.model import ChainConfig
from gateway.ops.exitcodes import ExitCode
from gateway.tlog.evidence import Answer, Unreached, subject_of
from gateway.tlog.proof import ProofFile

if TYPE_CHECKING:
    from gateway.chain.evidence import Source
    from gateway.chain.port import View

R = TypeVar("R")

ENDPOINTS_MAX: Final = 8
_HEAD_AGE_S: Final = 86_400
"""An auditor asks about the past: a head of today will do."""
_WORDS_MAX: Final = 400


class Asked(NamedTuple):
    """The chain that a verifier means, in his own words: nothing of it is ever taken from what is verified."""

    config_path: Path | None
    rpc: tuple[str, ...]
    chain_id: int | None
    registry_address: str
    anchor_log: str
    deploy_block: int
    finality: tuple[str, int]

    @property
    def names_a_chain(self) -> bool:
        """Whether a chain is to be asked."""
        return bool(self.rpc or self.config_path)

    def endpoints(self, chain_id: int | None = None) -> tuple[ChainConfig, ...]:
        """One configuration for each endpoint.

        Args:
            chain_id: what the endpoints have to serve when the verifier did not say; 0 and None: whatever they do.

        Raises:
            CliError: something is missing, or too much.
        """
        if self.rpc and self.config_path:
            raise CliError(ExitCode.USAGE, "which chain? give --config, or --rpc with the addresses, not both")
        if self.config_path:
            chain = config_at(self.config_path).chain
            if not chain.rpc:
                raise CliError(ExitCode.CONFIG, f"{self.config_path} names no chain; give --rpc and the addresses")
        else:
            target = Target(
                Path(), self.rpc, self.chain_id, self.registry_address, self.anchor_log, self.deploy_block
            )
            finality, confirmations = self.finality
            chain = replace(
                target.chain(), finality=finality, confirmations=confirmations, max_head_age_s=_HEAD_AGE_S
            )
        if len(set(chain.rpc)) != len(chain.rpc) or len(chain.rpc) > ENDPOINTS_MAX:
            raise CliError(ExitCode.USAGE, f"name each endpoint once, and at most {ENDPOINTS_MAX}")
        return tuple(replace(chain, rpc=(url,), chain_id=chain.chain_id or chain_id or 0) for url in chain.rpc)


def asking_a_chain(command: Callable[..., R]) -> Callable[..., R]:
    """Add the options of a verifier's chain; the command gets them as ``asked``."""

    @click.option("--rpc", multiple=True, metavar="URL", help="An endpoint to ask; several must say the same.")
    @address_option("--registry-address", "The contract IdentityRegistry.", "registry_address")
    @address_option("--anchor-log", "The contract AnchorLog.", "anchor_log")
    @click.option("--chain-id", type=click.IntRange(1, 2**53 - 1), help="The chain that the endpoints must serve.")
    @click.option("--deploy-block", type=click.IntRange(0), default=0, help="Where the contracts' events begin.")
    @click.option(
        "--finality",
        metavar="finalized|N",
        default="finalized",
        show_default=True,
        callback=_finality,
        help="What is final: the chain's tag, or N confirmations.",
    )
    @click.option(
        "--config", "config_path", type=click.Path(path_type=Path), help="Your configuration, for the chain in it."
    )
    @functools.wraps(command)
    def wrapper(**options: Any) -> R:  # noqa: ANN401 -- click's options
        asked = Asked(**{name: options.pop(name) for name in Asked._fields})
        return command(asked=asked, **options)

    return wrapper


def ask_each(
    endpoints: tuple[ChainConfig, ...], question: Callable[[View, Source], Awaitable[R]]
) -> list[tuple[str, R | str]]:
    """Ask every endpoint the same, one after the other.

    Returns:
        For each its label, and its answer or the words of its failure.
    """
    with chain_errors():
        return asyncio.run(_ask_each(endpoints, question))


async def _ask_each(
    endpoints: tuple[ChainConfig, ...], question: Callable[[View, Source], Awaitable[R]]
) -> list[tuple[str, R | str]]:
    from gateway.chain.contracts import Contracts, address_of  # noqa: PLC0415 -- needs the extra chain
    from gateway.chain.evidence import Source  # noqa: PLC0415 -- likewise

    said: list[tuple[str, R | str]] = []
    for config in endpoints:
        label = _label(config.rpc[0])
        try:
            async with opened(config) as chain:
                label = next((health.endpoint for health in chain.health()), label)
                contracts = Contracts(address_of(config.registry), address_of(config.anchor_log))
                source = Source(chain.chain_id, contracts, config.deploy_block, config.logs_blocks)
                async with chain.view() as view:
                    said.append((label, await question(view, source)))
        except ChainError as error:
            said.append((label, plain(str(error), _WORDS_MAX)))
    return said


def answers_about(proof: ProofFile, endpoints: tuple[ChainConfig, ...]) -> list[Answer]:
    """Ask every endpoint about a proof; an endpoint that is of no use says why."""
    subject = subject_of(proof)

    async def question(view: View, source: Source) -> Answer:
        from gateway.chain.evidence import collect  # noqa: PLC0415 -- needs the extra chain

        return await collect(view, source, subject, proof.anchor)

    return [
        Unreached(label, answer) if isinstance(answer, str) else answer
        for label, answer in ask_each(endpoints, question)
    ]


def _label(entry: str) -> str:
    """Scheme, host and port: the rest of a URL may be a key."""
    parts = urlsplit(entry)
    return entry if not parts.netloc else f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


def _finality(_ctx: click.Context, _parameter: click.Parameter, value: str) -> tuple[str, int]:
    if value == "finalized":
        return "finalized", 1
    if value.isascii() and value.isdigit() and int(value[:9]) >= 1 and len(value) < 9:  # noqa: PLR2004 -- digits
        return "confirmations", int(value)
    raise click.BadParameter("it is finalized, or a number of confirmations from 1 on")
