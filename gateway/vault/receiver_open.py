"""A version that may be loaded, from the sources into memory: manifest, then key, then ciphertext (I/O).

The ciphertext is decrypted block by block while it comes, on threads; nothing of the model ever touches the disk.
What is wrong is told by one exception, with a reason for machines and whether trying again may help.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import NamedTuple

from gateway.chain.model_events import VersionOnChain
from gateway.detection.port import LoadedModel
from gateway.vault.bundle import Named, Opening, admit_manifest, data_key
from gateway.vault.cid import Cid, CidError, parse_cid
from gateway.vault.ipfs import NotFetched, Sources, fetch_file
from gateway.vault.manifest import MANIFEST_BYTES_MAX, Manifest
from gateway.vault.receiver_rules import Reason
from gateway.vault.refusal import ModelRefused
from gateway.vault.source import SourceFailure
from gateway.vault.unixfs import FileLimits, FileRefused
from gateway.vault.wrap import PrivateKey


class NotLoaded(Exception):
    """A version is not loaded: ``reason`` is stable, ``may_pass`` says that a later try may go better."""

    def __init__(self, reason: str, detail: str, *, may_pass: bool) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail
        self.may_pass = may_pass


class Means(NamedTuple):
    """What a version is opened with: where blocks come from, this gateway's key and id, and the largest model."""

    sources: Sources
    private_key: PrivateKey
    gateway_id: str
    max_bytes: int


class Unsealed(NamedTuple):
    """A version that held, with its signed manifest and until when it may be loaded (milliseconds since 1970)."""

    model: LoadedModel
    envelope: bytes
    expires_ms: int


async def unseal(  # noqa: PLR0913 -- what is meant, and what it is opened with
    means: Means, model_id: str, version: int, said: VersionOnChain, *, now_ms: int, kept: bytes | None = None
) -> Unsealed:
    """Fetch and open a version.

    Args:
        means: what it is opened with.
        model_id: the model.
        version: the version, and
        said: what the chain says of it.
        now_ms: milliseconds since 1970.
        kept: its manifest, when it ran here before.

    Raises:
        NotLoaded: with the reason.
    """
    named = Named(model_id, version, said.manifest_sha256)
    try:
        envelope = kept or await _manifest(means, said.manifest_cid)
        manifest = await asyncio.to_thread(admit_manifest, envelope, said.publisher_key, named)
        if now_ms >= manifest.expires_ms:
            raise NotLoaded(Reason.EXPIRED, "the manifest's time is over", may_pass=False)
        key = await asyncio.to_thread(data_key, manifest, means.private_key, means.gateway_id)
        opening = Opening(manifest, key, means.max_bytes)
        plaintext = await _open(means, manifest, opening)
    except ModelRefused as refused:
        raise NotLoaded(refused.reason, refused.detail, may_pass=False) from None
    except FileRefused as refused:
        raise NotLoaded(Reason.TREE, str(refused), may_pass=False) from None
    except NotFetched as fault:
        altered = any(found.failure is SourceFailure.WRONG_BLOCK for found in fault.faults)
        raise NotLoaded(Reason.BLOCK if altered else Reason.NOT_FETCHED, str(fault), may_pass=True) from None
    model = LoadedModel(said.manifest_sha256, model_id, version, manifest.spec, memoryview(plaintext).toreadonly())
    return Unsealed(model, envelope, manifest.expires_ms)


async def _manifest(means: Means, cid: str) -> bytes:
    found = bytearray()
    limits = FileLimits(file_bytes=MANIFEST_BYTES_MAX)
    async with aclosing(fetch_file(_cid(cid), means.sources, limits)) as parts:
        async for part in parts:
            found += part
    return bytes(found)


async def _open(means: Means, manifest: Manifest, opening: Opening) -> bytearray:
    root = _cid(manifest.ciphertext.cid)
    limits = FileLimits(file_bytes=manifest.ciphertext.size)
    async with aclosing(fetch_file(root, means.sources, limits)) as parts:
        async for part in parts:
            await asyncio.to_thread(opening.update, part)
    return await asyncio.to_thread(opening.finish)


def _cid(text: str) -> Cid:
    try:
        return parse_cid(text)
    except CidError as error:
        raise NotLoaded(Reason.CID, str(error), may_pass=False) from None
