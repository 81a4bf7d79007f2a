"""What the commands that ask a chain have in common: which chain, whose account, and how every error ends.

Nothing of the extra ``chain`` is imported before a command runs, so that ``--help`` stays fast and a gateway without
a chain needs no Ethereum library.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, ParamSpec, TypeVar
from urllib.parse import urlsplit

import click

from gateway.chain.port import Chain, ChainError, ChainMisconfigured, ChainUnavailable
from gateway.cli.options import config_at, config_option
from gateway.cli.output import CliError
from gateway.config.model import ChainConfig, Config
from gateway.crypto.anchoring_key import ChainExtraMissing
from gateway.ops.exitcodes import ExitCode
from gateway.ops.secrets import CREDENTIAL, SecretError, load_anchoring_key, read_secret

if TYPE_CHECKING:
    from gateway.chain.contracts import Contracts
    from gateway.chain.operator import Terms
    from gateway.crypto.anchoring_key import AnchoringKey

P = ParamSpec("P")
R = TypeVar("R")

GWEI: Final = 10**9
ETHER: Final = 10**18
_EXTRA: Final = ("web3", "eth_", "aiohttp", "hexbytes")
_ADDRESS: Final = re.compile(r"0x[0-9a-fA-F]{40}")
_POLL_S: Final = 2.0
_POLL_DEVELOPMENT_S: Final = 0.2


class Target(NamedTuple):
    """Which chain and contracts: by the configuration, or by options in its place."""

    config_path: Path
    rpc: tuple[str, ...] = ()
    chain_id: int | None = None
    registry_address: str = ""
    anchor_log: str = ""
    deploy_block: int = 0

    def config(self) -> Config:
        """The whole configuration, or end with ``CONFIG``."""
        return config_at(self.config_path)

    def chain(self, *, needs_contracts: bool = True) -> ChainConfig:
        """What is said of the chain, or end: no chain is named, or not the contracts."""
        if not self.rpc:
            found = self.config().chain
            if not found.rpc:
                raise CliError(
                    ExitCode.CONFIG,
                    f"{self.config_path} names no chain; set [chain] rpc (securenet chain deploy prints the "
                    "section), or give --rpc, --registry-address and --anchor-log",
                )
            return found
        for url in self.rpc:
            _check_url(url)
        if needs_contracts and not (self.registry_address and self.anchor_log):
            raise CliError(ExitCode.USAGE, "with --rpc, give --registry-address and --anchor-log too")
        return ChainConfig(
            rpc=self.rpc,
            chain_id=self.chain_id or 0,
            registry=self.registry_address,
            anchor_log=self.anchor_log,
            deploy_block=self.deploy_block,
        )


class Payment(NamedTuple):
    """Whose transaction it is, and what it may cost in money and time."""

    key_file: str
    passphrase_file: str
    wait: str
    timeout_s: float
    max_fee_gwei: float
    legacy_gas: bool

    def key(self) -> AnchoringKey:
        """Open the operator's keystore, or end."""
        if not self.key_file or not self.passphrase_file:
            missing = "--passphrase-file" if self.key_file else "--key-file"
            raise CliError(
                ExitCode.USAGE,
                f"whose transaction is it? name the operator's keystore and its passphrase: {missing} is missing "
                "(or set SECURENET_OPERATOR_KEY_FILE and SECURENET_OPERATOR_PASSPHRASE_FILE)",
            )
        return load_anchoring_key(self.key_file, self.passphrase_file)

    def terms(self, chain: ChainConfig) -> Terms:
        """What ``gateway.chain.operator`` is told."""
        from gateway.chain.operator import Terms  # noqa: PLC0415 -- needs the extra chain

        return Terms(
            wait_final=self.wait == "final",
            timeout_s=self.timeout_s,
            poll_s=_POLL_DEVELOPMENT_S if _all_local(chain) else _POLL_S,
            max_fee_wei=int(self.max_fee_gwei * GWEI),
            legacy=self.legacy_gas,
        )


def address_option(
    name: str, help_text: str, parameter: str | None = None
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Add an option that is an address, empty when it is not given."""
    names = (name, parameter) if parameter else (name,)
    return click.option(*names, metavar="0x…", default="", callback=_checked_address, help=help_text)


def on_chain(command: Callable[..., R]) -> Callable[..., R]:
    """Add the options that say which chain; the command gets a ``Target`` as ``target``."""

    @config_option
    @click.option("--rpc", multiple=True, metavar="URL", help="In the place of the configuration's [chain].")
    @click.option("--chain-id", type=click.IntRange(1, 2**53 - 1), help="With --rpc: the chain that it must serve.")
    @address_option("--registry-address", help_text="With --rpc: the contract IdentityRegistry.")
    @address_option("--anchor-log", help_text="With --rpc: the contract AnchorLog.")
    @click.option("--deploy-block", type=click.IntRange(0), default=0, help="With --rpc: where its events begin.")
    @functools.wraps(command)
    def wrapper(**options: Any) -> R:  # noqa: ANN401 -- click's values, each of its option's type
        target = Target(*(options.pop(name) for name in Target._fields))
        if not target.rpc and any(target[2:]):
            raise CliError(ExitCode.USAGE, "--chain-id, --deploy-block and the addresses go with --rpc alone")
        with chain_errors():
            return command(target=target, **options)

    return wrapper


def paying(command: Callable[..., R]) -> Callable[..., R]:
    """Add the options of who pays; the command gets a ``Payment`` as ``payment``."""

    @click.option(
        "--key-file",
        default="",
        envvar="SECURENET_OPERATOR_KEY_FILE",
        show_envvar=True,
        help="The operator's account: Web3 keystore V3, a path or credential:NAME.",
    )
    @click.option(
        "--passphrase-file",
        default="",
        envvar="SECURENET_OPERATOR_PASSPHRASE_FILE",
        show_envvar=True,
        help="Its passphrase, likewise.",
    )
    @click.option(
        "--wait",
        type=click.Choice(["mined", "final"]),
        default="mined",
        show_default=True,
        help="Until it is in a block, or in a final one.",
    )
    @click.option(
        "--timeout", "timeout_s", type=click.FloatRange(1, 86400), default=300.0, show_default=True, help="Seconds."
    )
    @click.option(
        "--max-fee-gwei",
        type=click.FloatRange(0, 1e6),
        default=0.0,
        help="Pay at most this for a unit of gas; without it, what the chain asks.",
    )
    @click.option("--legacy-gas", is_flag=True, help="Send gasPrice transactions (before EIP-1559).")
    @functools.wraps(command)
    def wrapper(**options: Any) -> R:  # noqa: ANN401 -- click's values, each of its option's type
        payment = Payment(*(options.pop(name) for name in Payment._fields))
        return command(payment=payment, **options)

    return wrapper


@contextmanager
def chain_errors() -> Iterator[None]:
    """Every error of the chain, its keys and its libraries, as a named exit."""
    try:
        yield
    except KeyboardInterrupt:
        raise CliError(
            ExitCode.INTERRUPTED,
            "interrupted; what was sent may still be mined: run the same command again, it finds what was done",
        ) from None
    except ChainMisconfigured as error:
        raise CliError(ExitCode.CONFIG, str(error)) from None
    except SecretError as error:
        raise CliError(ExitCode.SECRET, str(error)) from None
    except ChainExtraMissing as error:
        raise CliError(ExitCode.CONFIG, f"asking a chain {error}") from None
    except ImportError as error:
        if not (error.name or "").startswith(_EXTRA):
            raise
        raise CliError(ExitCode.CONFIG, f"asking a chain {ChainExtraMissing()}") from None
    except ChainError as error:
        raise _refused_or_away(error) from None


def _refused_or_away(error: ChainError) -> CliError:
    from gateway.chain.operator import NotSettled, Refused  # noqa: PLC0415 -- needs the extra chain

    if isinstance(error, Refused):
        detail = {"error": error.refusal.name, "problem": error.refusal.problem, "hint": error.refusal.hint}
        return CliError(ExitCode.NEGATIVE, str(error), [detail])
    if isinstance(error, NotSettled):
        return CliError(ExitCode.CHAIN, str(error), [{"tx_hash": f"0x{error.tx_hash.hex()}"}])
    return CliError(ExitCode.CHAIN, str(error))


def ask(chain: ChainConfig, work: Callable[[Chain], Awaitable[R]]) -> R:
    """Do the work with the chain open; to be called once by a command."""

    async def _asked() -> R:
        async with opened(chain) as client:
            return await work(client)

    return asyncio.run(_asked())


@asynccontextmanager
async def opened(chain: ChainConfig) -> AsyncIterator[Chain]:
    """Open the chain's client. An id that nobody named is the endpoint's own: told, and the same from there on."""
    from gateway.chain.client import EvmChain  # noqa: PLC0415 -- web3 takes a second to import

    with _silent():
        if not chain.chain_id:
            chain = replace(chain, chain_id=await _chain_id_of(chain))
        async with EvmChain(chain, _Clock(), resolve=_resolved) as client:
            yield client


async def _chain_id_of(chain: ChainConfig) -> int:
    from gateway.chain import wire  # noqa: PLC0415 -- needs the extra chain
    from gateway.chain.provider import BoundedProvider, NoAnswer  # noqa: PLC0415 -- likewise

    provider = BoundedProvider(_resolved(chain.rpc[0]), timeout_s=chain.timeout_s, wall_s=time.time)
    try:
        answer = await provider.ask("eth_chainId", [], lambda answer: answer)
        if answer.error is not None:
            raise ChainMisconfigured(f"the endpoint does not tell its chain id: {answer.error}; give --chain-id")
        return wire.quantity(answer.result, bits=53)
    except (NoAnswer, wire.WireError) as error:
        raise ChainUnavailable(f"the endpoint does not tell its chain id: {error}") from None
    finally:
        await provider.disconnect()


@contextmanager
def _silent() -> Iterator[None]:
    """A command says what is wrong at its end: no log lines between its output."""
    import structlog  # noqa: PLC0415 -- 70 ms

    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    try:
        yield
    finally:
        structlog.configure(**before)


class _Clock(NamedTuple):
    monotonic_s: Callable[[], float] = time.monotonic
    wall_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000


def _resolved(ref: str) -> str:
    """The URL of an endpoint: as it stands, or out of a credential."""
    if not ref.startswith(CREDENTIAL):
        return ref
    try:
        return read_secret(ref).decode("ascii").strip()
    except SecretError as error:
        raise ChainMisconfigured(str(error)) from None
    except UnicodeDecodeError:
        raise ChainMisconfigured(f"{ref} is no URL; write one http:// or https:// URL into it") from None


def contracts_of(chain: ChainConfig) -> Contracts:
    """The addresses, as bytes."""
    from gateway.chain.contracts import Contracts, address_of  # noqa: PLC0415 -- needs the extra chain

    return Contracts(address_of(chain.registry), address_of(chain.anchor_log))


def address_text(address: bytes) -> str:
    """An address for people and for the configuration: EIP-55."""
    from gateway.crypto.anchoring_key import checksum_address  # noqa: PLC0415 -- beside its only use

    return checksum_address(address)


def ether(wei: int) -> str:
    """An amount for people."""
    return f"{wei / ETHER:.6g} ETH" if wei >= GWEI else f"{wei} wei"


def gwei(wei: int) -> str:
    """A price of gas for people."""
    return f"{wei / GWEI:.6g} gwei"


def _checked_address(_ctx: click.Context, _parameter: click.Parameter, value: str) -> str:
    if value and not _ADDRESS.fullmatch(value):
        raise click.BadParameter("an address is 0x and 40 hexadecimal digits")
    return value


def _check_url(text: str) -> None:
    if text.startswith(CREDENTIAL):
        return
    try:
        url = urlsplit(text)
        sound = url.scheme in {"http", "https"} and bool(url.hostname) and text.isprintable()
        secret = url.username is not None or url.password is not None
        _ = url.port
    except ValueError:
        sound = secret = False
    if not sound or secret:
        raise CliError(
            ExitCode.USAGE,
            "--rpc is no http:// or https:// URL without a password; a URL with a secret in it goes into a "
            "credential: --rpc credential:NAME",
        )


def _all_local(chain: ChainConfig) -> bool:
    from gateway.config.cross import is_loopback  # noqa: PLC0415 -- beside its only use

    return all(is_loopback(urlsplit(url).hostname or "") for url in chain.rpc if not url.startswith(CREDENTIAL))
