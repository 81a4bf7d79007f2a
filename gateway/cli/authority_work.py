"""What the commands of ``authority`` do, once their options are read."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
import time
from collections import deque
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, NamedTuple

import click

from gateway.cli.chain_link import Target, opened
from gateway.cli.key_files import write_secret
from gateway.cli.options import write_new
from gateway.cli.output import CliError, facts, plain, table
from gateway.config.model import ChainConfig, LoggingConfig
from gateway.ops.exitcodes import ExitCode
from gateway.vault.authority import Authority, Caller, Grants, Recipients, certificate_sha256
from gateway.vault.authority_audit import Line, verify
from gateway.vault.authority_audit import begin_anew as begun_anew
from gateway.vault.authority_disk import StoreRefused
from gateway.vault.authority_files import REQUEST_FILE_MAX, read_request, write_answer
from gateway.vault.authority_house import (
    CA_FILE,
    SERVER_FILE,
    SERVER_KEY_FILE,
    House,
    add_publisher,
    audit_key,
    certificate_for,
    signing_key,
)
from gateway.vault.authority_house import opened as opened_house
from gateway.vault.authority_publishers import FILE as PUBLISHERS
from gateway.vault.authority_publishers import load_publishers
from gateway.vault.authority_seal import Unlock
from gateway.vault.authority_store import open_store
from gateway.vault.authority_words import AuthorityRefused, Refusal, Wraps

_FILE_BYTES_MAX: Final = 64 * 1024
_OPERATOR_KEY_BYTES: Final = 32
_SERVICE_READ_S: Final = 90.0
_AGAIN_S: Final = 30.0
_FIRST_READ_S: Final = 3600.0
"""A command may read a long chain from its beginning; a service answers sooner."""


class Word(NamedTuple):
    """Whose word counts for who holds a grant: the chain's, or a file's."""

    target: Target
    model_registry: str
    file: Path | None
    operator_key: str
    without: bool = False


def now_ms() -> int:
    """Milliseconds since 1970."""
    return time.time_ns() // 1_000_000


# --- whose word ---


@asynccontextmanager
async def grants_by(word: Word | None, timeout_s: float) -> AsyncIterator[Grants | None]:
    """Open what says who holds a grant."""
    if word is None or word.without:
        yield None
    elif word.file is not None:
        yield _file_grants(word.file, word.operator_key)
    else:
        from gateway.chain.contracts import address_of  # noqa: PLC0415 -- needs the extra chain
        from gateway.vault.authority_grants import ChainGrants, Where  # noqa: PLC0415 -- likewise

        config, registry, models = _contracts(word)
        where = Where(address_of(registry), address_of(models), config.deploy_block, config.logs_blocks)
        async with opened(config) as chain:
            yield ChainGrants(chain, where, timeout_s)


def chain_says(word: Word, models: tuple[str, ...]) -> Mapping[str, Recipients]:
    """Ask the chain who holds grants of these models."""

    async def asked() -> dict[str, Recipients]:
        async with grants_by(word, _FIRST_READ_S) as grants:
            assert grants is not None  # noqa: S101 -- the word is the chain's
            return {model_id: await grants.recipients(model_id) for model_id in models}

    return asyncio.run(asked())


def _contracts(word: Word) -> tuple[ChainConfig, str, str]:
    config = word.target.chain(needs_contracts=False)
    models = word.model_registry or config.model_registry
    if not (config.registry and models):
        raise CliError(
            ExitCode.CONFIG,
            "whose word says who holds a grant? name the contracts: chain.registry and chain.model_registry, or with "
            "--rpc both --registry-address and --model-registry",
        )
    return config, config.registry, models


def _file_grants(path: Path, operator_key: str) -> Grants:
    from gateway.vault.authority_told import UnsafeFileGrants  # noqa: PLC0415 -- beside its only use

    try:
        operator = bytes.fromhex(operator_key.removeprefix("0x"))
    except ValueError:
        operator = b""
    if len(operator) != _OPERATOR_KEY_BYTES:
        raise CliError(
            ExitCode.USAGE,
            "who signed the file of grants? give --operator-key, 64 hexadecimal digits (authority grants)",
        )
    click.echo(
        f"securenet: grants are taken from {plain(path)}, not from the chain: who lost one since it was written gets "
        "keys all the same",
        err=True,
    )
    return UnsafeFileGrants(path, operator, now_ms)


# --- answers ---


def serve(
    directory: Path, unlock: Unlock, where: tuple[str, int], paths: tuple[Path | None, ...], word: Word
) -> None:
    """Serve until a signal."""
    from gateway.ops.logging import configure_logging  # noqa: PLC0415 -- structlog takes 70 ms to import
    from gateway.vault.authority_service import ServerFiles, server_context  # noqa: PLC0415 -- aiohttp

    names = (SERVER_FILE, SERVER_KEY_FILE, CA_FILE)
    files = ServerFiles(*(path or directory / name for path, name in zip(paths, names, strict=True)))
    context = server_context(files)

    async def serving(house: House) -> None:
        from gateway.vault.authority_service import Service  # noqa: PLC0415 -- likewise

        ended = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, ended.set)
        async with AsyncExitStack() as stack:
            grants = await stack.enter_async_context(grants_by(word, _SERVICE_READ_S))
            logs = configure_logging(LoggingConfig())
            stack.callback(logs.flush, everything=True)
            service = Service(_authority(directory, house, grants), context, where, time.monotonic)
            try:
                await stack.enter_async_context(service)
            except OSError as error:
                raise CliError(
                    ExitCode.UNAVAILABLE, f"cannot listen on {where[0]}:{where[1]}: {error.strerror}"
                ) from None
            click.echo(f"securenet: serving publishers on https://{where[0]}:{service.port}", err=True)
            catching_up = None if word.without or word.file else asyncio.create_task(_catch_up(grants))
            await ended.wait()
            if catching_up is not None:
                catching_up.cancel()

    # The loop ends, and with it the threads that write for it, before the root key is overwritten.
    with opened_house(directory, unlock, now_ms(), "serve") as house:
        asyncio.run(serving(house))


async def _catch_up(grants: Grants | None) -> None:
    """Read the chain before anybody asks; where that fails, whoever asks is told."""
    from gateway.vault.authority_grants import ChainGrants  # noqa: PLC0415 -- needs the extra chain

    while isinstance(grants, ChainGrants) and not await grants.catch_up():  # noqa: ASYNC110 -- it asks, it is not told
        await asyncio.sleep(_AGAIN_S)


def answer_file(directory: Path, unlock: Unlock, request: Path, out: Path, word: Word | None) -> dict[str, Any]:
    """Answer a request file; what was done, for people and programs."""
    if out.exists():
        raise CliError(ExitCode.CANNOT_CREATE, f"{out} is there already; nothing was done")
    data = _read(request, REQUEST_FILE_MAX)

    async def answered(house: House) -> dict[str, Any]:
        async with grants_by(word, _FIRST_READ_S) as grants:
            _log_errors_alone()
            authority = _authority(directory, house, grants)
            try:
                found = read_request(data, now_ms())
                if (found.ask.ciphertext_sha256 is None) != (word is None):
                    other = "issue" if word is not None else "wraps"
                    raise CliError(ExitCode.USAGE, f"this request is for securenet authority {other}")
            except AuthorityRefused as refused:
                await authority.refuse(Caller(bytes(32), "file"), refused)
                raise
            answer = await authority.answer(Caller(certificate_sha256(found.certificate), "file"), found.ask)
        key = signing_key(house.store)
        write_secret(out, write_answer(answer, found, key.sign))
        done: dict[str, Any] = {"model": answer.model_id, "version": answer.version}
        if isinstance(answer, Wraps):
            done["grants"] = answer.grants
            done["gateways"] = [each.gateway_id for each in answer.wrapped]
            done["left_out"] = dict(answer.left_out)
        return done

    with _logging_kept(), opened_house(directory, unlock, now_ms(), "wraps" if word else "issue") as house:
        return asyncio.run(answered(house))


def _log_errors_alone() -> None:
    """A command answers at its end: of the log, what is an error goes to standard error, and nothing else."""
    import structlog  # noqa: PLC0415 -- 70 ms

    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )


@contextmanager
def _logging_kept() -> Iterator[None]:
    import structlog  # noqa: PLC0415 -- likewise

    before = structlog.get_config()
    try:
        yield
    finally:
        structlog.configure(**before)


def _authority(directory: Path, house: House, grants: Grants | None) -> Authority:
    return Authority(house.store, house.audit, lambda: load_publishers(directory / PUBLISHERS), grants, now_ms)


# --- the audit ---


def audited(directory: Path, unlock: Unlock, limit: int) -> dict[str, Any]:
    """Check the audit; what it is, and its newest lines."""
    newest: deque[Line] = deque(maxlen=limit)
    with open_store(directory, unlock) as store:
        report = verify(directory, audit_key(store), newest.append)
    return {
        "holds": not report.findings,
        "files": report.files,
        "lines": report.lines,
        "first": report.first,
        "before_sha256": report.before.hex(),
        "head_sha256": report.head.sha256.hex(),
        "findings": [finding._asdict() for finding in report.findings],
        "newest": [dict(line.members) for line in newest],
    }


def tell_audit(found: Mapping[str, Any]) -> None:
    """Write what ``audited`` found for people."""
    rows = []
    for line in found["newest"]:
        time_ms = line["time"] if isinstance(line["time"], int) else 0
        when = datetime.fromtimestamp(min(max(time_ms, 0), 253_402_300_799_000) / 1000, UTC).isoformat(
            timespec="seconds"
        )
        rows.append(
            (line["seq"], when, line["event"], line["publisher"], line["model"], line["version"], _short(line))
        )
    table(("line", "time", "event", "publisher", "model", "version", "detail"), rows)
    facts([("lines", found["lines"]), ("first", found["first"]), ("head", found["head_sha256"])])
    if found["first"] > 1:
        click.echo(f"The lines before {found['first']} are elsewhere; the last of them has {found['before_sha256']}.")
    for finding in found["findings"]:
        click.echo(f"! {plain(finding['file'])}:{finding['line']}: {plain(finding['problem'])}")
    click.echo("The audit holds." if found["holds"] else "The audit does not hold.")


def begin_anew(directory: Path, unlock: Unlock, at_ms: int) -> Path:
    """Put the audit aside, and begin another."""
    with open_store(directory, unlock) as store:
        stamp = datetime.fromtimestamp(at_ms / 1000, UTC).strftime("old-%Y%m%dT%H%M%SZ")
        return begun_anew(directory, audit_key(store), stamp, at_ms)


def _short(line: Mapping[str, Any]) -> str:
    detail = line["detail"] if isinstance(line["detail"], dict) else {}
    parts = [line["via"]] if line["via"] else []
    for name, value in detail.items():
        parts.append(f"{name}={','.join(map(str, value)) if isinstance(value, list) else value}")
    return " ".join(str(part) for part in parts)[:200]


# --- publishers ---


def add(  # noqa: PLR0913, PLR0917 -- what is said of a publisher
    directory: Path,
    unlock: Unlock,
    name: str,
    certificate: Path | None,
    csr: Path | None,
    models: tuple[str, ...],
    out: Path | None,
) -> str:
    """Put a publisher on the list; its lines there. A certificate that was made is at ``out`` before."""
    from cryptography.hazmat.primitives.serialization import Encoding  # noqa: PLC0415 -- beside its only use
    from cryptography.x509 import InvalidVersion, load_pem_x509_certificate  # noqa: PLC0415 -- likewise

    with opened_house(directory, unlock, now_ms(), "publishers") as house:
        if csr is not None:
            pem = certificate_for(directory, house.store, name, _read(csr, _FILE_BYTES_MAX), now_ms())
        else:
            pem = _read(certificate or Path(), _FILE_BYTES_MAX)
        try:
            der = load_pem_x509_certificate(pem).public_bytes(Encoding.DER)
        except (ValueError, InvalidVersion):
            raise StoreRefused(
                f"{certificate} is no certificate in PEM", "name the publisher's certificate"
            ) from None
        if out is not None:
            write_new(out, pem)
        try:
            return add_publisher(
                directory,
                house,
                name=name,
                certificate_sha256=certificate_sha256(der),
                models=models,
                now_ms=now_ms(),
            )
        except (StoreRefused, OSError):
            if out is not None:
                out.unlink(missing_ok=True)  # of nobody, as it is on no list
            raise


def address(text: str) -> tuple[str, int]:
    """Host and port of an option."""
    host, _, port = text.rpartition(":")
    if not host or not port.isascii() or not port.isdecimal() or int(port) > 65535:  # noqa: PLR2004 -- the last port
        raise CliError(ExitCode.USAGE, "--listen is HOST:PORT")
    return host.removeprefix("[").removesuffix("]"), int(port)


def _read(path: Path, most: int) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(most + 1)
    except OSError as error:
        raise CliError(ExitCode.NO_INPUT, f"{path} cannot be read: {error.strerror}") from None
    if len(data) > most:
        raise AuthorityRefused(Refusal.MALFORMED, f"{path} has more than {most} bytes")
    return data
