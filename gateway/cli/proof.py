"""``proof``: export one from the journal; verify one with nothing but the file, keys or a chain that you trust."""

from __future__ import annotations

from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Sequence
from pathlib import Path

import click

from gateway.cli.options import registry_at
from gateway.cli.output import CliError, emit, json_option
from gateway.cli.proof_chain import Asked, answers_about, asking_a_chain
from gateway.cli.proof_export import build_proof, export
from gateway.cli.proof_view import tell_verification, verification_dict
from gateway.crypto.keys import KeyRefused, PublicKey, parse_public_key
from gateway.envelope.decoding import decode
from gateway.message import Alg, Envelope, Rejected
from gateway.ops.exitcodes import ExitCode
from gateway.registry.port import RegistrySnapshot
from gateway.tlog.checkpoint import CheckpointError, VerifierKey, parse_verifier_key
from gateway.tlog.evidence import Answer
from gateway.tlog.meaning import Meaning, meaning
from gateway.tlog.onchain import resolve, verify_on_chain
from gateway.tlog.proof import PROOF_BYTES_MAX, ProofError, ProofFile, parse
from gateway.tlog.verification import ENVELOPE_BYTES_MAX, Result, Trust, Verification, verify_file
from gateway.tlog.verification import verify as verify_offline

__all__ = ["build_proof", "proof"]

_EXITS = {
    Result.VALID: ExitCode.OK,
    Result.INVALID: ExitCode.NEGATIVE,
    Result.UNTRUSTED: ExitCode.UNTRUSTED,
    Result.NOT_ESTABLISHED: ExitCode.UNTRUSTED,
}


@click.group()
def proof() -> None:
    """Export a proof that a device said something; verify one."""


proof.add_command(export)


@proof.command("verify")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--device-key", "device_key_text", metavar="ALG:BASE64", help="The device's public key: Ed25519:… .")
@click.option("--log-key", "log_key_text", metavar="VERIFIER-KEY", help="The log's verifier key: name+hash+base64.")
@click.option(
    "--registry", "registry_path", type=click.Path(path_type=Path), help="A registry file that you trust, for both."
)
@click.option(
    "--offline", is_flag=True, help="Ask no chain, whatever the configuration names: stop at the checkpoint."
)
@asking_a_chain
@json_option
def verify(  # noqa: PLR0913 -- click passes one argument for each option
    *,
    file: Path,
    device_key_text: str | None,
    log_key_text: str | None,
    registry_path: Path | None,
    offline: bool,
    asked: Asked,
) -> None:
    """Verify a proof, to the end on the chain when you name one.

    Exit code 0: valid; 1: invalid; 3: not established, or it holds under keys that nobody vouches for. Without a
    chain (--rpc, or --config) the verification stops at the checkpoint.
    """
    data = _read(file)
    given = Trust(
        None if device_key_text is None else _device_key(device_key_text),
        None if log_key_text is None else _verifier_key(log_key_text),
    )
    if offline and asked.rpc:
        raise click.UsageError("--offline asks no chain: leave --rpc out")
    try:
        read = parse(data)
    except ProofError:
        _tell(verify_file(data, given), Meaning((), ("Anything: the file is no proof.",)), given, ())
        return
    if registry_path is not None:
        given = _from_registry(read, registry_at(registry_path), given)
    answers: Sequence[Answer] = ()
    if asked.names_a_chain and not offline:
        answers = answers_about(read, asked.endpoints(read.anchor.chain_id if read.anchor else None))
        verification, trust = verify_on_chain(read, given, answers), resolve(read, answers, given)
    else:
        verification, trust = verify_offline(read, given), given
    _tell(verification, meaning(read, verification, answers), trust, answers)


def _tell(verification: Verification, told: Meaning, trust: Trust, answers: Sequence[Answer]) -> None:
    emit(
        verification_dict(verification, told, answers),
        lambda: tell_verification(verification, told, trust, on_chain=bool(answers)),
    )
    click.get_current_context().exit(int(_EXITS[verification.result]))


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


def _from_registry(file: ProofFile, snapshot: RegistrySnapshot, given: Trust) -> Trust:
    """Fill in the keys that were not given: the device's by its id and fleet, the log's by the miner bound to it."""
    device_key, log_key = given
    envelope = decode(file.envelope, None, max_bytes=ENVELOPE_BYTES_MAX)
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
