"""Publishing from the command line: the files, the keys, the authority, and what each refusal ends with."""

from __future__ import annotations

import asyncio
import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

import click
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key

from gateway.chain.model_events import fold_models, read_models
from gateway.cli.chain_link import Payment, Target, ask
from gateway.cli.device_roll import receipt_facts
from gateway.cli.model_chain import models_of
from gateway.cli.output import CliError, wants_json
from gateway.config.model import ChainConfig
from gateway.crypto.keys import KeyRefused, PublicKey, parse_public_key
from gateway.message import Alg
from gateway.ops.exitcodes import ExitCode
from gateway.ops.secrets import SecretError, read_secret
from gateway.vault.authority_carried import AuthorityFiles
from gateway.vault.authority_client import AuthorityClient, ClientFiles
from gateway.vault.authority_words import AuthorityError, KeySource
from gateway.vault.blocks import BlockStore
from gateway.vault.ipfs import FetchTimes
from gateway.vault.ipfs_http import UrlRefused
from gateway.vault.ipfs_sources import block_store
from gateway.vault.manifest import manifest_sha256
from gateway.vault.publisher import Bundler, Clock, Shelf, Signing, Step, Told, sizes_of
from gateway.vault.publisher_chain import Registry, estimated, look
from gateway.vault.publisher_chain import publish as publish_on_chain
from gateway.vault.publisher_check import SIGNATURE_SUFFIX, Genuine, ModelFiles, check_genuine
from gateway.vault.publisher_record import RECORD_BYTES_MAX, sign_record
from gateway.vault.publisher_state import SUFFIX, State, StateFile
from gateway.vault.publisher_words import PublishRefused

_HEX_KEY: Final = re.compile("0x[0-9a-fA-F]{64}")
_PEM_MAX: Final = 65536
_DAY_S: Final = 86400
_STORE_BYTES: Final = 1 << 30
_CLOCK: Final = Clock(lambda: time.time_ns() // 1_000_000, time.monotonic)


class Wishes(NamedTuple):
    """The options of ``publish``, as they come."""

    spec: Path | None
    card: Path | None
    trainer_key: str
    model_id: str
    version: int | None
    signing_key: str
    valid_days: float
    state: Path | None
    store: Path | None
    kubo: str
    authority: str
    authority_cert: Path | None
    authority_cert_key: Path | None
    authority_ca: Path | None
    authority_folder: Path | None
    authority_key: str

    def keys(self) -> KeySource:
        """The authority, or end."""
        cert, key = self.authority_cert, self.authority_cert_key
        if bool(self.authority) == bool(self.authority_folder):
            raise CliError(ExitCode.USAGE, "where is the key authority? give --authority, or --authority-folder")
        if cert is None or key is None:
            raise CliError(ExitCode.USAGE, "the authority knows you by --authority-cert and --authority-cert-key")
        if self.authority_folder is not None:
            authority = public_key(self.authority_key, "--authority-key")
            return AuthorityFiles(self.authority_folder, cert, key, authority.data)
        if self.authority_ca is None:
            raise CliError(ExitCode.USAGE, "by whom is the authority's certificate signed? give --authority-ca")
        return AuthorityClient(self.authority, ClientFiles(cert, key, self.authority_ca))


def publish(  # noqa: PLR0913 -- what, how, where, by whom
    file: Path, wishes: Wishes, target: Target, model_registry: str, payment: Payment, *, dry_run: bool
) -> dict[str, Any]:
    """Publish, and tell what was done."""
    with _publish_errors():
        config, models = models_of(target, model_registry)
        signing = _signing(wishes.signing_key)
        account = payment.key()
        keys = None if dry_run else wishes.keys()
        shelf = None if dry_run else _shelf(wishes, target)
        genuine = asyncio.run(check_genuine(_files(file, wishes), wishes.model_id, wishes.version or 0))
        lifetime_s = int(wishes.valid_days * _DAY_S) or 1
        terms = payment.terms(config)
        if keys is None or shelf is None:
            return ask(
                config,
                lambda chain: _told_before(
                    Registry(chain, models, account, terms), config, genuine, signing.key, lifetime_s
                ),
            )
        state_file = StateFile(wishes.state or file.with_name(file.name + SUFFIX))
        with _progress() as told:
            bundler = Bundler(
                genuine, keys, shelf, signing, state_file, lifetime_s=lifetime_s, clock=_CLOCK, told=told
            )
            return ask(
                config,
                lambda chain: _published(Registry(chain, models, account, terms), bundler, genuine, signing, told),
            )


async def _published(
    registry: Registry, bundler: Bundler, genuine: Genuine, signing: Signing, told: Told
) -> dict[str, Any]:
    record, begun = genuine.record, bundler.begun()
    mine = None if begun is None or begun.envelope is None else manifest_sha256(begun.envelope)
    async with registry.chain.view() as view:
        await look(registry, view, record, signing.key, mine)  # before the authority is asked for anything
    state = await bundler.bundle()
    told(Step.CHAIN, 0, 1)
    receipt = await publish_on_chain(registry, record, signing.key, state, bundler.save, monotonic_s=time.monotonic)
    told(Step.CHAIN, 1, 1)
    return _bundle_facts(genuine, state) | ({"already_on_chain": True} if receipt is None else receipt_facts(receipt))


async def _told_before(
    registry: Registry, config: ChainConfig, genuine: Genuine, key: PublicKey, lifetime_s: int
) -> dict[str, Any]:
    """What publishing would take; nothing is asked for, made or sent."""
    record, models = genuine.record, registry.models
    async with registry.chain.view() as view:
        await look(registry, view, record, key)
        events = await read_models(view, models, config.deploy_block, view.head.number, (record.model_id,))
        history = fold_models(events).get(record.model_id)
        needed = await estimated(registry, view, record, view.head.timestamp_s + lifetime_s)
    granted = sorted(history.granted) if history else []
    sizes = sizes_of(genuine, len(granted))
    return {
        "dry_run": True,
        "model_id": record.model_id,
        "version": record.version,
        "model_bytes": sizes.plaintext,
        "ciphertext_bytes": sizes.ciphertext,
        "manifest_bytes": sizes.manifest,
        "gas": needed.gas,
        "cost_wei": needed.cost_wei,
        "granted": granted,
        "gateways": len(granted),
        "operators": ", ".join(genuine.seen.operators),
    }


def _bundle_facts(genuine: Genuine, state: State) -> dict[str, Any]:
    if state.ciphertext is None or state.envelope is None:
        raise RuntimeError("a bundle that was published has both")
    return {
        "model_id": genuine.record.model_id,
        "version": genuine.record.version,
        "manifest_cid": state.manifest_cid,
        "manifest_sha256": manifest_sha256(state.envelope).hex(),
        "manifest_bytes": len(state.envelope),
        "ciphertext_cid": state.ciphertext.cid,
        "ciphertext_bytes": state.ciphertext.size,
        "created_ms": state.created_ms,
        "expires_ms": state.expires_ms,
    }


def sign_card(card: Path, signing_key: str) -> tuple[Path, str]:
    """Sign a training record; the file that was written, and the public key."""
    with _publish_errors():
        signing = _signing(signing_key)
        try:
            with card.open("rb") as file:
                data = file.read(RECORD_BYTES_MAX + 1)
        except OSError as error:
            raise CliError(ExitCode.NO_INPUT, f"{card} cannot be read: {error.strerror}") from None
        signature = sign_record(data, signing.sign)
        path = card.with_name(card.name + SIGNATURE_SUFFIX)
        try:
            path.write_bytes(signature)
        except OSError as error:
            raise CliError(ExitCode.CANNOT_CREATE, f"{path} cannot be written: {error.strerror}") from None
        return path, f"0x{signing.key.data.hex()}"


def public_key(text: str, option: str) -> PublicKey:
    """An Ed25519 key: 0x and 64 hexadecimal digits, or a PEM file; or end."""
    if _HEX_KEY.fullmatch(text):
        data = bytes.fromhex(text[2:])
    else:
        try:
            with Path(text).open("rb") as file:
                loaded = load_pem_public_key(file.read(_PEM_MAX))
        except OSError as error:
            raise CliError(ExitCode.NO_INPUT, f"{option} {text}: cannot be read: {error.strerror}") from None
        except (ValueError, UnsupportedAlgorithm):
            raise CliError(ExitCode.USAGE, f"{option} {text}: is neither 0x… nor a public key in PEM") from None
        if not isinstance(loaded, Ed25519PublicKey):
            raise CliError(ExitCode.USAGE, f"{option} {text}: is no Ed25519 key")
        data = loaded.public_bytes_raw()
    try:
        return parse_public_key(Alg.ED25519, data)
    except KeyRefused as refused:
        raise CliError(ExitCode.USAGE, f"{option}: no key to trust ({refused.reason})") from None


def _signing(ref: str) -> Signing:
    hint = "openssl genpkey -algorithm ed25519 writes one"
    try:
        key = load_pem_private_key(read_secret(ref), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise SecretError(ref, "is no private key in PKCS#8 PEM without a passphrase", hint) from None
    if not isinstance(key, Ed25519PrivateKey):
        raise SecretError(ref, "is a private key, but no Ed25519 key", hint)
    return Signing(parse_public_key(Alg.ED25519, key.public_key().public_bytes_raw()), key.sign)


def _files(file: Path, wishes: Wishes) -> ModelFiles:
    stem = file.name.removesuffix(".tflite")
    return ModelFiles(
        file,
        wishes.spec or file.with_name(f"{stem}.spec.json"),
        wishes.card or file.with_name(f"{stem}.card.json"),
        public_key(wishes.trainer_key, "--trainer-key"),
    )


def _shelf(wishes: Wishes, target: Target) -> Shelf:
    if wishes.store is not None:
        return Shelf(BlockStore(wishes.store, _STORE_BYTES), wishes.kubo)
    config = target.config()
    times = FetchTimes(config.ipfs.block_timeout_s, config.ipfs.file_timeout_s)
    return Shelf(block_store(config), wishes.kubo, times)


@contextmanager
def _publish_errors() -> Iterator[None]:
    try:
        yield
    except PublishRefused as refused:
        detail = {"reason": str(refused.reason), "problem": refused.problem, "hint": refused.hint}
        raise CliError(ExitCode.NEGATIVE, str(refused), [detail]) from None
    except AuthorityError as error:
        raise CliError(ExitCode.UNAVAILABLE, str(error)) from None
    except UrlRefused as error:
        raise CliError(ExitCode.USAGE, f"--kubo: {error}") from None
    except SecretError as error:
        raise CliError(ExitCode.SECRET, str(error)) from None


@contextmanager
def _progress() -> Iterator[Told]:
    """A bar for the bytes, a line for every other step; only for people."""
    if wants_json() or not sys.stderr.isatty():
        yield lambda _step, _done, _total: None
        return
    words = {Step.SIGN: "the manifest is signed", Step.MANIFEST: "it is stored", Step.CHAIN: "it is on chain"}
    with click.progressbar(length=1, label="encrypting", file=sys.stderr) as bar:

        def told(step: Step, done: int, total: int) -> None:
            if step is Step.ENCRYPT:
                bar.length = total
                bar.update(done - bar.pos)
            elif done == total:
                click.echo(f"\n{words[step]}", err=True, nl=False)

        yield told
    click.echo("", err=True)
