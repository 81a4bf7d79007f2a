"""A development chain: an EVM in this process behind JSON-RPC on loopback, as a real node would be asked.

For the demo, for development and for tests. It is no consensus, it keeps nothing, and the whole world has the keys of
its accounts (they are anvil's and hardhat's). What it promises and what not: docs/operations/devchain.md.

    python -m gateway.chain.devchain --port 8545 --block-time 1

The event loop reads and writes HTTP; one thread owns the chain and does all work on it, a request at a time. Bodies,
batches, the pool and the number of waiting requests are bounded.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self, TypeVar

import click
from aiohttp import web

from gateway.chain.devchain_rpc import LIMIT_EXCEEDED, Body, Broken, RpcError, answer, encode, parse_body

if TYPE_CHECKING:
    from gateway.chain.devchain_node import Node

HOST: Final = "127.0.0.1"
BODY_MAX_BYTES: Final = 1 << 20
WAITING_MAX: Final = 128
CHAIN_ID: Final = 31_337
BLOCK_GAS_LIMIT: Final = 30_000_000
ACCOUNTS_MAX: Final = 100
EXIT_MISSING: Final = os.EX_UNAVAILABLE
EXIT_PORT: Final = os.EX_OSERR
_BODY_S: Final = 10.0
_SHUTDOWN_S: Final = 2.0

T = TypeVar("T")


class DevChainError(RuntimeError):
    """The chain cannot start; the message says what to do."""


class DevChainMissing(DevChainError):
    """Its parts are not installed."""


class DevAccount(NamedTuple):
    """A funded account. Its key is public knowledge."""

    address: str
    private_key: str


@dataclass(frozen=True)
class DevChainOptions:
    """What a development chain is like. Port 0 takes a free one; block time 0 makes a block for every transaction."""

    port: int = 0
    block_time_s: float = 0.0
    accounts: int = 10
    chain_id: int = CHAIN_ID
    finality_blocks: int = 2
    block_gas_limit: int = BLOCK_GAS_LIMIT
    pool_max: int = 1024


class DevChain:
    """A development chain that serves between ``async with`` and its end.

    ``url`` and ``accounts`` are known once it was entered.
    """

    def __init__(self, options: DevChainOptions | None = None) -> None:
        self.options = options or DevChainOptions()
        self.url = ""
        self.accounts: tuple[DevAccount, ...] = ()
        self._node: Node | None = None
        self._answer: Callable[[Node, Body], list[dict[str, Any]]] | None = None
        self._worker: ThreadPoolExecutor | None = None
        self._runner: web.AppRunner | None = None
        self._timer: asyncio.Task[None] | None = None
        self._waiting = 0

    @property
    def chain_id(self) -> int:
        """The chain id (EIP-155)."""
        return self.options.chain_id

    async def __aenter__(self) -> Self:
        """Make the chain and serve it.

        Raises:
            DevChainMissing: py-evm or eth-tester is not installed.
            DevChainError: the port is taken.
        """
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="devchain")
        try:
            await self._on_worker(self._build)
            await self._listen()
        except BaseException:
            await self._close()
            raise
        if self.options.block_time_s > 0:
            self._timer = asyncio.create_task(self._make_blocks(), name="devchain-blocks")
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._close()

    async def mine(self, blocks: int = 1) -> None:
        """Make blocks now, whatever the timer does."""
        for _ in range(blocks):
            await self._on_worker(self._mine)

    async def wait_broken(self) -> None:
        """Return never, unless the block timer fails: then raise what it failed with."""
        await (asyncio.Event().wait() if self._timer is None else asyncio.shield(self._timer))

    def _build(self) -> None:
        try:
            from gateway.chain.devchain_evm import Evm  # noqa: PLC0415 -- a second, and only here
            from gateway.chain.devchain_methods import dispatch  # noqa: PLC0415 -- likewise
            from gateway.chain.devchain_node import Node, Rules  # noqa: PLC0415 -- likewise
            from gateway.chain.devchain_pool import Pool  # noqa: PLC0415 -- beside the others
        except ImportError as error:
            raise DevChainMissing(
                f"the development chain needs the package {error.name}: pip install 'eth-tester[py-evm]>=0.13.0b1'"
            ) from None
        options = self.options
        evm = Evm(options.chain_id, options.accounts, options.block_gas_limit, _now_s())
        rules = Rules(options.finality_blocks, mine_at_once=options.block_time_s <= 0)
        self._node = Node(evm, Pool(options.pool_max), rules, _now_s)
        self._answer = lambda node, body: [said for item in body.items if (said := dispatch(node, item)) is not None]
        self.accounts = tuple(DevAccount(address, f"0x{key.hex()}") for address, key in evm.accounts())

    async def _listen(self) -> None:
        application = web.Application(client_max_size=BODY_MAX_BYTES)
        application.router.add_post("/", self._serve)
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=_SHUTDOWN_S)
        await self._runner.setup()
        site = web.TCPSite(self._runner, HOST, self.options.port)
        try:
            await site.start()
        except OSError as error:
            raise DevChainError(
                f"port {self.options.port} of {HOST} cannot be used ({error.strerror}); take another"
            ) from None
        port = self._runner.addresses[0][1]
        self.url = f"http://{HOST}:{port}"

    async def _close(self) -> None:
        timer, self._timer = self._timer, None
        try:
            if timer is not None:
                timer.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await timer
        finally:
            if self._runner is not None:
                await self._runner.cleanup()
            if self._worker is not None:
                await asyncio.to_thread(self._worker.shutdown, cancel_futures=True)

    async def _make_blocks(self) -> None:
        """A block at every beat; beats that pass while a block is made are left out."""
        loop = asyncio.get_running_loop()
        every = self.options.block_time_s
        due = loop.time() + every
        while True:
            await asyncio.sleep(due - loop.time())
            await self._on_worker(self._mine)
            due = max(due + every, loop.time())

    def _mine(self) -> None:
        if self._node is None:
            raise RuntimeError("not entered")
        self._node.mine()

    def _respond(self, body: Body) -> list[dict[str, Any]]:
        if self._node is None or self._answer is None:
            raise RuntimeError("not entered")
        return self._answer(self._node, body)

    async def _on_worker(self, function: Callable[..., T], *arguments: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._worker, function, *arguments)

    async def _serve(self, request: web.Request) -> web.Response:
        if not _is_local(request.host):
            return _refusal(403, "invalid host specified")
        if request.content_type != "application/json":
            return _refusal(415, "invalid content type, only application/json is supported")
        if self._waiting >= WAITING_MAX:
            return _refusal(503, f"more than {WAITING_MAX} requests are waiting")
        self._waiting += 1
        try:
            async with asyncio.timeout(_BODY_S):
                raw = await request.read()
            body = parse_body(raw)
            answers = await self._on_worker(self._respond, body)
        except web.HTTPRequestEntityTooLarge:
            return _refusal(413, f"content length too large: limit {BODY_MAX_BYTES}")
        except TimeoutError:
            return _refusal(408, "the request did not arrive in time")
        finally:
            self._waiting -= 1
        if not answers:
            return web.Response()  # notifications alone
        return web.Response(body=encode(answers if body.batch else answers[0]), content_type="application/json")


async def serve(options: DevChainOptions, ready: Callable[[DevChain], None] | None = None) -> None:
    """Serve a development chain until cancelled; ``ready`` is called when it answers.

    Raises:
        DevChainError: it cannot start.
    """
    async with DevChain(options) as chain:
        if ready is not None:
            ready(chain)
        await chain.wait_broken()


def _now_s() -> int:
    return int(time.time())


def _is_local(host: str) -> bool:
    """Whether a Host header names this machine: a web page that had its name point here does not."""
    name = host.rsplit(":", 1)[0] if not host.endswith("]") else host
    if name.lower() == "localhost":
        return True
    try:
        return ip_address(name.strip("[]")).is_loopback
    except ValueError:
        return False


def _refusal(status: int, message: str) -> web.Response:
    error = answer(Broken(None, RpcError(message, LIMIT_EXCEEDED)), error=RpcError(message, LIMIT_EXCEEDED))
    return web.Response(status=status, body=encode(error), content_type="application/json")


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--port", type=click.IntRange(0, 65_535), default=0, show_default=True, help="0 takes a free one.")
@click.option(
    "--block-time",
    type=click.FloatRange(0, 3600),
    default=1.0,
    show_default=True,
    help="Seconds between blocks; 0 makes a block for every transaction.",
)
@click.option("--accounts", type=click.IntRange(1, ACCOUNTS_MAX), default=10, show_default=True, help="Funded ones.")
@click.option("--chain-id", type=click.IntRange(1, 2**31), default=CHAIN_ID, show_default=True)
@click.option(
    "--finality",
    type=click.IntRange(0, 1000),
    default=2,
    show_default=True,
    help="How many blocks the tag finalized is behind the newest.",
)
@click.option(
    "--ready-file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write url, chain id and accounts there once it answers.",
)
def main(  # noqa: PLR0913 -- one argument an option
    *, port: int, block_time: float, accounts: int, chain_id: int, finality: int, ready_file: Path | None
) -> None:
    """Serve a development chain on loopback until SIGTERM. Its keys are public: never send value to them."""
    logging.basicConfig(level=logging.WARNING, stream=sys.stdout, format="%(message)s", force=True)
    logging.getLogger().handlers[0].setFormatter(_JsonLines())
    options = DevChainOptions(
        port=port, block_time_s=block_time, accounts=accounts, chain_id=chain_id, finality_blocks=finality
    )

    def ready(chain: DevChain) -> None:
        facts = {"url": chain.url, "chain_id": chain.chain_id, "pid": os.getpid()}
        if ready_file is not None:
            _write(ready_file, facts | {"accounts": [account._asdict() for account in chain.accounts]})
        _say("devchain-ready", **facts)

    try:
        asyncio.run(_until_signal(options, ready))
    except DevChainError as error:
        _say("devchain-failed", reason=str(error))
        sys.exit(EXIT_MISSING if isinstance(error, DevChainMissing) else EXIT_PORT)
    _say("devchain-stopped")


async def _until_signal(options: DevChainOptions, ready: Callable[[DevChain], None]) -> None:
    serving = asyncio.create_task(serve(options, ready))
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, serving.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await serving


def _write(path: Path, facts: dict[str, Any]) -> None:
    """The whole file or none: whoever polls for it never reads half."""
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    draft.write_text(json.dumps(facts) + "\n")
    draft.replace(path)


def _say(event: str, **fields: object) -> None:
    sys.stdout.write(json.dumps({"event": event} | fields) + "\n")
    sys.stdout.flush()


class _JsonLines(logging.Formatter):
    """What libraries log, one JSON object a line; an exception by its name and words, without its traceback."""

    def format(self, record: logging.LogRecord) -> str:
        fields: dict[str, object] = {"event": "devchain-log", "logger": record.name, "message": record.getMessage()}
        if record.exc_info and record.exc_info[0] is not None:
            fields["exception"] = f"{record.exc_info[0].__name__}: {record.exc_info[1]}"
        return json.dumps(fields)


if __name__ == "__main__":
    main()
