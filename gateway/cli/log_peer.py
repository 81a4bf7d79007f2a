"""``log verify-peer``: is the log that a gateway publishes the one that it anchored?"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from gateway.cli.chain_link import chain_errors
from gateway.cli.output import CliError, emit, facts, json_option, plain, wants_json
from gateway.cli.peer_source import PeerDirectory, PeerSite
from gateway.cli.proof_chain import Asked, ask_each, asking_a_chain
from gateway.ops.exitcodes import ExitCode
from gateway.tlog.checkpoint import (
    NOTE_BYTES_MAX,
    Checkpoint,
    CheckpointError,
    VerifierKey,
    parse,
    parse_verifier_key,
    signed_by,
)
from gateway.tlog.evidence import LogHistory
from gateway.tlog.peer import (
    Expected,
    Finding,
    Kind,
    PeerAudit,
    SourceFault,
    audit,
    compare_histories,
    expected_of,
    signature_finding,
)

if TYPE_CHECKING:
    from gateway.chain.evidence import Source
    from gateway.chain.port import View

_EXITS: Final = {True: ExitCode.OK, False: ExitCode.NEGATIVE, None: ExitCode.UNTRUSTED}
_WORDS: Final = {
    True: "The published log is the anchored one.",
    False: "The published log is NOT the anchored one.",
    None: "It could not be established that the published log is the anchored one.",
}


@click.command("verify-peer")
@click.argument("where", metavar="DIR_OR_URL")
@click.option("--origin", help="The log that you mean.  [default: the one that the published checkpoint names]")
@click.option(
    "--log-key", "log_key_text", metavar="VERIFIER-KEY", help="Its key.  [default: those registered for it]"
)
@click.option(
    "--earlier",
    type=click.Path(path_type=Path),
    multiple=True,
    help="A checkpoint of this log that you kept: it must be in the published one.",
)
@click.option("--entries", is_flag=True, help="Read the entries too, and compare them with their hashes.")
@click.option("--max-mib", type=click.IntRange(1), default=16384, show_default=True, help="Read no more of a server.")
@asking_a_chain
@json_option
def verify_peer(  # noqa: PLR0913 -- click passes one argument for each option
    *,
    where: str,
    origin: str | None,
    log_key_text: str | None,
    earlier: tuple[Path, ...],
    entries: bool,
    max_mib: int,
    asked: Asked,
) -> None:
    """Compare a published log with its anchors: every anchored root is computed again from the tiles.

    Exit code 0: they agree; 1: they do not, and what was found says how; 3: it could not be established.
    """
    if not asked.names_a_chain:
        raise click.UsageError("which chain has the anchors? give --rpc and the addresses, or --config")
    given = None if log_key_text is None else _verifier_key(log_key_text)
    with chain_errors(), _opened(where, max_mib << 20) as files:
        checkpoint = _checkpoint(files, origin or (given.name if given else None))
        histories, unreached = _histories(asked, checkpoint.origin)
        before, checkpoint = checkpoint, _newer(files, checkpoint)
        registered = _registered_keys(histories, checkpoint.origin)
        keys = [given] if given else registered
        expected = expected_of(histories)
        findings = [*unreached, *compare_histories(histories)]
        foreign = signature_finding(checkpoint, keys) if keys or histories else None
        findings += [foreign] if foreign else []
        if given and histories and given not in registered:
            sentence = f"Not established: the registry never had the key that you gave for {checkpoint.origin}."
            findings.append(Finding(Kind.DISAGREEMENT, 0, sentence))
        if before.size < checkpoint.size:
            expected.append(Expected(before.size, before.root, "the checkpoint that was published a moment before"))
        for path in earlier:
            kept = _kept(path, checkpoint.origin, keys)
            expected.append(Expected(kept.size, kept.root, f"the checkpoint in {path.name}"))
            if kept.size > checkpoint.size:
                sentence = (
                    f"The checkpoint in {path.name} has {kept.size} entries, the published one {checkpoint.size}."
                )
                findings.append(Finding(Kind.SHRUNK, kept.size, sentence))
        found = _audited(files, checkpoint, expected, with_entries=entries)
    found = found._replace(findings=(*findings, *found.findings))
    emit(
        _as_dict(found, checkpoint, histories),
        lambda: _tell(found, checkpoint, histories),
    )
    click.get_current_context().exit(int(_EXITS[found.consistent]))


def _opened(where: str, total_bytes: int) -> PeerDirectory | PeerSite:
    if "://" not in where:
        return PeerDirectory(Path(where))
    try:
        return PeerSite(where, total_bytes)
    except ValueError as error:
        raise click.UsageError(f"DIR_OR_URL: {error}") from None


def _newer(files: PeerDirectory | PeerSite, checkpoint: Checkpoint) -> Checkpoint:
    """Read the checkpoint again: while the chain was asked, the log may have grown and been anchored."""
    again = _checkpoint(files, checkpoint.origin)
    return again if again.size > checkpoint.size else checkpoint


def _checkpoint(files: PeerDirectory | PeerSite, origin: str | None) -> Checkpoint:
    try:
        checkpoint = parse(files.checkpoint())
    except SourceFault as fault:
        raise CliError(ExitCode.UNTRUSTED, f"no published log can be read there: {plain(fault)}") from None
    except CheckpointError as error:
        raise CliError(ExitCode.NEGATIVE, f"what is published as checkpoint is none: {plain(error)}") from None
    if origin is not None and checkpoint.origin != origin:
        raise CliError(
            ExitCode.NEGATIVE,
            f"the published log is {plain(checkpoint.origin)}, not {origin}: another log than yours",
        )
    return checkpoint


def _histories(asked: Asked, origin: str) -> tuple[list[LogHistory], list[Finding]]:
    async def question(view: View, source: Source) -> LogHistory:
        from gateway.chain.evidence import collect_log  # noqa: PLC0415 -- needs the extra chain

        if sys.stderr.isatty():
            click.echo(f"asking {plain(view.endpoint)} for all anchors of {plain(origin)}", err=True)
        return await collect_log(view, source, origin)

    histories, unreached = [], []
    for endpoint, answer in ask_each(asked.endpoints(), question):
        if isinstance(answer, str):
            sentence = f"Not established: {endpoint} was of no use ({answer})."
            unreached.append(Finding(Kind.DISAGREEMENT, 0, sentence))
        else:
            histories.append(answer)
    return histories, unreached


def _registered_keys(histories: Sequence[LogHistory], origin: str) -> list[VerifierKey]:
    keys = {keyed.log_key: None for history in histories for keyed in history.keyed}
    return [VerifierKey(origin, key) for key in keys]


def _audited(
    files: PeerDirectory | PeerSite, checkpoint: Checkpoint, expected: Sequence[Expected], *, with_entries: bool
) -> PeerAudit:
    if wants_json() or not sys.stderr.isatty():
        return audit(files, checkpoint, expected, with_entries=with_entries)
    with click.progressbar(length=max(checkpoint.size, 1), label="reading", file=sys.stderr) as bar:
        return audit(
            files,
            checkpoint,
            expected,
            with_entries=with_entries,
            progress=lambda read: bar.update(read - bar.pos),
        )


def _kept(path: Path, origin: str, keys: Sequence[VerifierKey]) -> Checkpoint:
    """Read an earlier checkpoint; one that nobody signed for says nothing."""
    try:
        with path.open("rb") as file:
            kept = parse(file.read(NOTE_BYTES_MAX + 1))
    except OSError as error:
        raise CliError(ExitCode.NO_INPUT, f"{path} cannot be read: {error.strerror}") from None
    except CheckpointError as error:
        raise CliError(ExitCode.NO_INPUT, f"{path} is no checkpoint: {plain(error)}") from None
    if kept.origin != origin or not any(signed_by(kept, key) for key in keys):
        raise CliError(ExitCode.NO_INPUT, f"{path} is no checkpoint of {plain(origin)} signed with a key of it")
    return kept


def _verifier_key(text: str) -> VerifierKey:
    try:
        return parse_verifier_key(text)
    except CheckpointError as error:
        raise click.UsageError(f"--log-key: {error}") from None


def _as_dict(found: PeerAudit, checkpoint: Checkpoint, histories: Sequence[LogHistory]) -> dict[str, Any]:
    return {
        "consistent": found.consistent,
        "origin": checkpoint.origin,
        "size": found.size,
        "entries_read": found.entries_read,
        "anchors": max((len(history.anchors) for history in histories), default=0),
        "roots_held": found.roots_held,
        "bundles_read": found.bundles_read,
        "endpoints": [history.endpoint for history in histories],
        "findings": [
            {"kind": finding.kind.value, "size": finding.size, "sentence": finding.sentence}
            for finding in found.findings
        ],
    }


def _tell(found: PeerAudit, checkpoint: Checkpoint, histories: Sequence[LogHistory]) -> None:
    known = _as_dict(found, checkpoint, histories)
    del known["consistent"], known["findings"]
    known["endpoints"] = ", ".join(known["endpoints"])
    facts(known.items())
    for finding in found.findings:
        click.echo(f"{finding.kind.value}: {plain(finding.sentence)}")
    click.echo(_WORDS[found.consistent])
