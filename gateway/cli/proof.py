"""``proof``: export one from the journal; verify one with nothing but the file and the keys."""

from __future__ import annotations

import re
from base64 import b64decode
from binascii import Error as Base64Error
from pathlib import Path
from typing import Any

import click

from gateway import envelope as envelopes
from gateway.cli.options import config_at, config_option, journal_in, registry_at, registry_option, write_new
from gateway.cli.output import CliError, emit, json_option, plain
from gateway.config.model import Config
from gateway.crypto.keys import KeyRefused, PublicKey, parse_public_key
from gateway.journal import Reader
from gateway.message import Alg, Envelope, Rejected
from gateway.ops.exitcodes import ExitCode
from gateway.registry.port import RegistrySnapshot
from gateway.tlog.checkpoint import CheckpointError, VerifierKey, parse_verifier_key
from gateway.tlog.entry import EntryError, MessageEntry, parse_entry
from gateway.tlog.proof import PROOF_BYTES_MAX, ProofError, ProofFile, dump, parse
from gateway.tlog.tiles import MissingTileError
from gateway.tlog.tlog_proof import prove
from gateway.tlog.verification import ENVELOPE_BYTES_MAX, Result, Trust, Verification, verify_file
from gateway.tlog.verification import verify as verify_proof

_EXITS = {Result.VALID: ExitCode.OK, Result.INVALID: ExitCode.NEGATIVE, Result.UNTRUSTED: ExitCode.UNTRUSTED}
_MARKS = {True: "holds", False: "FAILS", None: "open"}


@click.group()
def proof() -> None:
    """Export a proof that a device said something; verify one."""


@proof.command("export")
@click.argument("device", required=False)
@click.argument("session", required=False)
@click.argument("seq", required=False, type=click.IntRange(0))
@click.option("--index", type=click.IntRange(0), help="The message by its place in the log.")
@click.option("--digest", metavar="HEX", help="The message by the digest of its signing input.")
@click.option("--out", type=click.Path(path_type=Path), help="The file to write; standard output without it.")
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
    config_path: Path,
    registry_path: Path | None,
) -> None:
    """Write the proof of one message, named by DEVICE SESSION SEQ (session in hex), --index or --digest."""
    named = (device is not None) + (index is not None) + (digest is not None)
    if named != 1 or (device is not None and (session is None or seq is None)):
        raise click.UsageError("name one message: DEVICE SESSION SEQ, or --index N, or --digest HEX")
    config = config_at(config_path)
    snapshot = registry_at(config.registry.file if registry_path is None else registry_path)
    with journal_in(config.gateway.data_dir) as reader:
        if index is None:
            if digest is not None:
                index = _by_digest(reader, _hex(digest, 32, "--digest"))
            else:
                index = reader.find(str(device), _hex(str(session), 8, "SESSION"), int(seq or 0))
        if index is None:
            raise CliError(ExitCode.NEGATIVE, "the journal has no such message (any more)")
        file = dump(build_proof(reader, index, config, snapshot))
    if out is None:
        click.echo(file, nl=False)
        return
    write_new(out, file)
    emit({"index": index, "file": str(out), "bytes": len(file)}, lambda: click.echo(f"Written to {out}."))


@proof.command("verify")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--device-key", "device_key_text", metavar="ALG:BASE64", help="The device's public key: Ed25519:… .")
@click.option("--log-key", "log_key_text", metavar="VERIFIER-KEY", help="The log's verifier key: name+hash+base64.")
@click.option(
    "--registry", "registry_path", type=click.Path(path_type=Path), help="A registry file that you trust, for both."
)
@json_option
def verify(file: Path, device_key_text: str | None, log_key_text: str | None, registry_path: Path | None) -> None:
    """Verify a proof offline. Exit code 0: valid; 1: invalid; 3: it holds, but under keys nobody vouches for."""
    data = _read(file)
    trust = Trust(
        None if device_key_text is None else _device_key(device_key_text),
        None if log_key_text is None else _verifier_key(log_key_text),
    )
    if registry_path is not None:
        trust = _from_registry(data, registry_at(registry_path), trust)
    verification = verify_file(data, trust)
    emit(_as_dict(verification), lambda: _tell(verification, trust))
    click.get_current_context().exit(int(_EXITS[verification.result]))


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
    checkpoint = reader.checkpoint_covering(index)
    if checkpoint is None:
        wait = config.log.checkpoint_interval_s
        raise CliError(ExitCode.NEGATIVE, f"no checkpoint covers the entry {index} yet; try again in {wait:g} s")
    try:
        inclusion = prove(reader, index, checkpoint.text.encode())
    except (MissingTileError, CheckpointError, ValueError) as error:
        raise CliError(ExitCode.JOURNAL, f"{error}; securenet log fsck says more") from None
    log_key = VerifierKey(config.origin, miner.key.data)
    made = ProofFile(row.envelope, entry, inclusion, device.key, log_key)
    verification = verify_proof(made, Trust(device.key, log_key))
    if verification.result is not Result.VALID:
        failed = ", ".join(verification.failed)
        raise CliError(
            ExitCode.NEGATIVE,
            f"the proof would not hold ({failed}): the registry has another key by now, name an older file",
        )
    return made


def _hex(text: str, length: int, name: str) -> bytes:
    if re.fullmatch(rf"(?:[0-9a-fA-F]{{2}}){{{length}}}", text) is None:
        raise click.UsageError(f"{name} is {2 * length} hexadecimal digits")
    return bytes.fromhex(text)


def _read(file: Path) -> bytes:
    try:
        with file.open("rb") as opened:
            return opened.read(PROOF_BYTES_MAX + 1)  # one more than is allowed: the verifier says so
    except OSError as error:
        raise CliError(ExitCode.NO_INPUT, f"{file} cannot be read: {error.strerror}") from None


def _device_key(text: str) -> PublicKey:
    name, _colon, encoded = text.partition(":")
    try:
        return parse_public_key(Alg(name), b64decode(encoded, validate=True))
    except KeyRefused as error:
        raise click.UsageError(f"--device-key is refused: {error}") from None
    except (Base64Error, ValueError):
        raise click.UsageError("--device-key is Ed25519:BASE64 or ES256:BASE64") from None


def _verifier_key(text: str) -> VerifierKey:
    try:
        return parse_verifier_key(text)
    except CheckpointError as error:
        raise click.UsageError(f"--log-key: {error}") from None


def _from_registry(data: bytes, snapshot: RegistrySnapshot, given: Trust) -> Trust:
    """Fill in the keys that were not given: the device's by its id and fleet, the log's by the miner bound to it."""
    try:
        file = parse(data)
    except ProofError:
        return given  # the verifier will say so
    device_key, log_key = given
    envelope = envelopes.decode(file.envelope, None, max_bytes=ENVELOPE_BYTES_MAX)
    if device_key is None and not isinstance(envelope, Rejected):
        device_key = _registered_key(snapshot, envelope)
    if log_key is None:
        origin = file.tlog_proof.checkpoint.origin
        miner = next((each for each in snapshot.miners() if each.log == origin and each.key.alg is Alg.ED25519), None)
        log_key = None if miner is None else VerifierKey(origin, miner.key.data)
    return Trust(device_key, log_key)


def _registered_key(snapshot: RegistrySnapshot, envelope: Envelope) -> PublicKey | None:
    device = snapshot.device(envelope.device_id)
    return device.key if device is not None and device.fleet == envelope.fleet else None


def _as_dict(verification: Verification) -> dict[str, Any]:
    return {
        "result": verification.result.value,
        "failed": [name.value for name in verification.failed],
        "steps": [
            {"step": step.name.value, "held": step.held, "sentence": step.sentence} for step in verification.steps
        ],
    }


def _tell(verification: Verification, trust: Trust) -> None:
    for number, step in enumerate(verification.steps, 1):
        click.echo(f"{number}. {step.name.value:<19} {_MARKS[step.held]:<6} {plain(step.sentence)}")
    click.echo(f"\nThe proof is {verification.result.value}.")
    if verification.result is Result.UNTRUSTED:
        missing = [name for name, key in (("device", trust.device_key), ("log", trust.log_key)) if key is None]
        click.echo(f"Give the {' and the '.join(missing)} key from a source you trust (--registry, or by option).")
