"""``proof export``: the proof of one message out of the journal, with the anchor that covers it."""

from __future__ import annotations

import re
from pathlib import Path

import click

from gateway.cli.anchor_words import what_happens_next
from gateway.cli.options import (
    config_at,
    config_option,
    journal_in,
    registry_at,
    registry_option,
    registry_snapshot,
    write_new,
)
from gateway.cli.output import CliError, emit, json_option, plain
from gateway.config.model import Config
from gateway.crypto.anchoring_key import ChainExtraMissing
from gateway.journal import AnchorRow, CheckpointRow, Reader
from gateway.message import Alg
from gateway.ops.exitcodes import ExitCode
from gateway.registry.port import RegistrySnapshot
from gateway.tlog.checkpoint import CheckpointError, VerifierKey, parse, signed_by
from gateway.tlog.entry import EntryError, MessageEntry, parse_entry
from gateway.tlog.proof import Anchor, ProofFile, consistency_with, dump
from gateway.tlog.text import NUMBER_MAX
from gateway.tlog.tiles import MissingTileError
from gateway.tlog.tlog_proof import prove
from gateway.tlog.verification import Result, Trust
from gateway.tlog.verification import verify as verify_proof

FINAL = "final"
"""The state of an anchor that no reorganisation takes back (``gateway.anchor.lifecycle``)."""
_ROWS_LOOKED_AT = 64


@click.command("export")
@click.argument("device", required=False)
@click.argument("session", required=False)
@click.argument("seq", required=False, type=click.IntRange(0, NUMBER_MAX))
@click.option("--index", type=click.IntRange(0, NUMBER_MAX - 1), help="The message by its place in the log.")
@click.option("--digest", metavar="HEX", help="The message by the digest of its signing input.")
@click.option("--out", type=click.Path(path_type=Path), help="The file to write; standard output without it.")
@click.option(
    "--require-anchor", is_flag=True, help="Write nothing, and end with 1, while no final anchor covers it."
)
@config_option
@registry_option
@json_option
def export(  # noqa: PLR0913 -- click passes one argument for each option
    *,
    device: str | None,
    session: str | None,
    seq: int | None,
    index: int | None,
    digest: str | None,
    out: Path | None,
    require_anchor: bool,
    config_path: Path,
    registry_path: Path | None,
) -> None:
    """Write the proof of one message, named by DEVICE SESSION SEQ (session in hex), --index or --digest.

    The anchor is the smallest final one that covers the message; without one the proof ends at the checkpoint.
    """
    named = (device is not None) + (index is not None) + (digest is not None)
    if named != 1 or (device is not None and (session is None or seq is None)):
        raise click.UsageError("name one message: DEVICE SESSION SEQ, or --index N, or --digest HEX")
    config = config_at(config_path)
    with journal_in(config.gateway.data_dir) as reader:
        snapshot = registry_snapshot(config, reader) if registry_path is None else registry_at(registry_path)
        if index is None:
            if digest is not None:
                index = _by_digest(reader, _hex(digest, 32, "--digest"))
            else:
                index = reader.find(str(device), _hex(str(session), 8, "SESSION"), int(seq or 0))
        if index is None:
            raise CliError(ExitCode.NEGATIVE, "the journal has no such message (any more)")
        made = build_proof(reader, index, config, snapshot)
        note = "" if made.anchor else what_happens_next(index, config, reader.newest_anchors(_ROWS_LOOKED_AT))
    if require_anchor and note:
        raise CliError(ExitCode.NEGATIVE, f"nothing was written: {note}")
    file = dump(made)
    if out is None:
        click.echo(file, nl=False)
        if note:
            click.echo(f"securenet: {plain(note)}", err=True)
        return
    write_new(out, file)
    known = {"index": index, "file": str(out), "bytes": len(file), "anchored": not note, "note": note}
    emit(known, lambda: click.echo(f"Written to {out}.{' ' + plain(note) if note else ''}"))


def _by_digest(reader: Reader, digest: bytes) -> int | None:
    for row in reader.entries(reader.first_index(), reader.size()):
        if digest in row.entry:
            try:
                entry = parse_entry(row.entry)
            except EntryError:
                continue
            if isinstance(entry, MessageEntry) and entry.digest == digest:
                return row.index
    return None


def build_proof(reader: Reader, index: int, config: Config, snapshot: RegistrySnapshot) -> ProofFile:
    """Build the proof of the message at ``index`` under the registry's keys, and see that it holds.

    Raises:
        CliError: there is no such message, no key, no checkpoint yet, or the proof would not hold; it says which.
    """
    entry, row = reader.entry(index), reader.message(index)
    if entry is None or row is None:
        raise CliError(ExitCode.NEGATIVE, f"the entry {index} is no message, or it was dropped by the policy")
    device = snapshot.device(row.device_id)
    if device is None:
        raise CliError(
            ExitCode.NEGATIVE,
            f"the device {row.device_id} is not in the registry (any more); name an older file with --registry",
        )
    miner = snapshot.miner(config.gateway.id)
    if miner is None or miner.key.alg is not Alg.ED25519:
        raise CliError(ExitCode.NEGATIVE, f"the registry has no miner {config.gateway.id} with an Ed25519 key")
    log_key = VerifierKey(config.origin, miner.key.data)
    row_of_anchor = _anchor_row(reader, index)
    checkpoint = _checkpoint(reader, index, row_of_anchor, log_key)
    if checkpoint is None:
        wait = config.log.checkpoint_interval_s
        raise CliError(ExitCode.NEGATIVE, f"no checkpoint covers the entry {index} yet; try again in {wait:g} s")
    try:
        inclusion = prove(reader, index, checkpoint.text.encode())
        anchor = None if row_of_anchor is None else _anchor(row_of_anchor, config.origin)
        consistency = None if anchor is None else consistency_with(reader, checkpoint.size, anchor.size)
    except (MissingTileError, CheckpointError, ValueError) as error:
        raise CliError(ExitCode.JOURNAL, f"{error}; securenet log fsck says more") from None
    made = ProofFile(row.envelope, entry, inclusion, device.key, log_key, consistency, anchor)
    verification = verify_proof(made, Trust(device.key, log_key))
    if verification.result is not Result.VALID:
        failed = ", ".join(verification.failed)
        raise CliError(
            ExitCode.NEGATIVE,
            f"the proof would not hold ({failed}): the registry has another key by now (name an older file with"
            " --registry), or securenet log fsck says more",
        )
    return made


def _anchor_row(reader: Reader, index: int) -> AnchorRow | None:
    """Return the smallest final anchor that covers an entry, when the outbox knows where on the chain it stands."""
    row = reader.anchor_covering(index, FINAL)
    return row if row is not None and None not in (row.tx_hash, row.block_number, row.block_hash) else None


def _anchor(row: AnchorRow, origin: str) -> Anchor:
    try:
        from gateway.chain.contracts import log_id  # noqa: PLC0415 -- needs the extra chain
    except ImportError:
        raise CliError(ExitCode.CONFIG, f"an anchored proof {ChainExtraMissing()}") from None
    return Anchor(
        row.chain_id,
        row.contract,
        log_id(origin),
        row.size,
        row.root,
        row.tx_hash or b"",
        row.block_number or 0,
        row.block_hash or b"",
    )


def _checkpoint(reader: Reader, index: int, anchor: AnchorRow | None, key: VerifierKey) -> CheckpointRow | None:
    """Choose the checkpoint: of the anchor's size, else the smallest that covers, else the newest.

    One that the registered key signed goes before the others: after a rotation the older ones are by an older key.
    """
    found = []
    if anchor is not None:
        of_size = reader.checkpoint_covering(anchor.size - 1)
        if of_size is not None and of_size.size == anchor.size:
            found.append(of_size)
    covering, newest = reader.checkpoint_covering(index), reader.latest_checkpoint()
    found += [row for row in (covering, newest) if row is not None and row.size > index]
    return next((row for row in found if _is_signed_by(row, key)), found[0] if found else None)


def _is_signed_by(row: CheckpointRow, key: VerifierKey) -> bool:
    try:
        return signed_by(parse(row.text.encode()), key)
    except CheckpointError:
        return False


def _hex(text: str, length: int, name: str) -> bytes:
    if re.fullmatch(rf"(?:[0-9a-fA-F]{{2}}){{{length}}}", text) is None:
        raise click.UsageError(f"{name} is {2 * length} hexadecimal digits")
    return bytes.fromhex(text)
