"""``anchor``: how the log's checkpoints came to the chain, and sealing one now."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import click

from gateway.cli.chain_link import ether
from gateway.cli.options import config_option, data_dir_of, data_dir_option, journal_in
from gateway.cli.output import CliError, emit, json_option, plain, table
from gateway.journal.outbox import AnchorRow
from gateway.ops.control import CONTROL_SOCKET, NoGatewayError, RequestRefusedError, request
from gateway.ops.exitcodes import ExitCode

WORDS: Final[Mapping[str, str]] = {
    "sealed": "sealed; signed and sent with the next look at the chain",
    "signed": "signed; sent with the next look at the chain",
    "broadcast": "waits for a block; bids more if none takes it",
    "replaced": "a higher bid went out; one of the two is mined",
    "mined": "in a block; final when that block is",
    "reverted": "in a block, and anchored nothing; the next one is sealed",
    "displaced": "another program took its nonce; sealed anew",
    "reorged": "lost its block; sent again with the next look at the chain",
    "final": "final",
    "failed": "failed for good; a later one carries its entries",
    "superseded": "not needed: a later one carries its entries",
    "abandoned": "given up; a later one carries its entries",
}
"""The states of ``gateway.anchor.lifecycle``, with what happens next."""


@click.group()
def anchor() -> None:
    """See which checkpoints came to the chain; anchor now."""


@anchor.command("list")
@click.option("--last", type=click.IntRange(1, 10_000), default=20, show_default=True, help="The newest so many.")
@config_option
@data_dir_option
@json_option
def list_anchors(last: int, config_path: Path, data_dir: Path | None) -> None:
    """List anchors, the oldest first, as the journal has them."""
    with journal_in(data_dir_of(config_path, data_dir)) as reader:
        rows = reader.newest_anchors(last)[::-1]
        counts = reader.anchor_counts()
        size, final = reader.size(), reader.final_size()
    listed = [_as_dict(row) for row in rows]

    def human() -> None:
        columns = ("size", "sealed", "state", "transaction", "block", "gas", "fee")
        table(columns, (_cells(row) for row in rows))
        click.echo(f"{len(rows)} of {sum(counts.values())} shown; {final} of {size} entries are final on chain")

    emit({"entries": size, "final": final, "counts": counts, "anchors": listed}, human)


@anchor.command("now")
@config_option
@data_dir_option
@json_option
def now(config_path: Path, data_dir: Path | None) -> None:
    """Let the running gateway seal and anchor its log now, whatever the interval says."""
    path = data_dir_of(config_path, data_dir) / CONTROL_SOCKET
    try:
        answer = asyncio.run(request(path, "anchor-now"))
    except NoGatewayError as error:
        raise CliError(ExitCode.NO_GATEWAY, f"{error}; is it running?") from None
    except RequestRefusedError as error:
        raise CliError(ExitCode.NEGATIVE, f"the gateway does not anchor now: {error}") from None

    def human() -> None:
        for name, value in answer.items():
            click.echo(f"{plain(name)}  {plain(value)}")
        click.echo("securenet anchor list shows what becomes of it")

    emit(answer, human)


def _cells(row: AnchorRow) -> tuple[object, ...]:
    state = WORDS.get(row.state, row.state)
    return (
        row.size,
        _time(row.sealed_ms),
        f"{state} ({row.detail})" if row.detail else state,
        "" if row.tx_hash is None else f"0x{row.tx_hash.hex()}",
        "" if row.block_number is None else row.block_number,
        "" if row.gas_used is None else row.gas_used,
        "" if row.gas_used is None or row.price_wei is None else ether(row.gas_used * row.price_wei),
    )


def _as_dict(row: AnchorRow) -> dict[str, Any]:
    known = row._asdict() | {
        "contract": f"0x{row.contract.hex()}",
        "root": f"0x{row.root.hex()}",
        "account": _hex(row.account),
        "tx_hash": _hex(row.tx_hash),
        "block_hash": _hex(row.block_hash),
        "words": WORDS.get(row.state, row.state),
    }
    del known["raw"]  # bytes for endpoints, and nothing in them that is not here
    return known


def _hex(value: bytes | None) -> str | None:
    return None if value is None else f"0x{value.hex()}"


def _time(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="seconds")
