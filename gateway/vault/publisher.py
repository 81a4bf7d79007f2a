"""DISTEN, the publisher: from a genuine model to a bundle that lies in the block store, step by step (I/O).

    step          needs                        leaves in the state file
    encrypt       the data key of CENTAUTH     the ciphertext's CID, size and digest, once it opened again
    sign          the wraps, the signing key   the signed manifest
    manifest      the block store              its CID

A step that was done is not done again, but looked at: blocks that went missing are made again, and are the same ones.
So a publication that was killed anywhere goes on where it stood, and comes to the same bundle. What follows on the
chain is in ``gateway.vault.publisher_chain``. Importing this module imports aiohttp (extra ``chain``).
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncGenerator, AsyncIterable, Callable
from contextlib import aclosing
from enum import StrEnum
from hashlib import sha256
from typing import Final, NamedTuple

from gateway.crypto.keys import PublicKey
from gateway.vault.authority_words import AuthorityRefused, KeySource, WrappedKey
from gateway.vault.blocks import BlockStore
from gateway.vault.cid import parse_cid
from gateway.vault.cipher import (
    SALT_BYTES,
    Decryption,
    Encryption,
    ciphertext_size,
    model_context,
)
from gateway.vault.ipfs import FetchTimes, NotFetched, Sources, fetch_file
from gateway.vault.ipfs_add import Added, NotAdded, add
from gateway.vault.ipfs_sources import KuboSource, StoreSource
from gateway.vault.manifest import Ciphertext, Manifest, Plaintext, encode_payload, sign_manifest
from gateway.vault.publisher_check import PIECE_BYTES, Genuine, changed
from gateway.vault.publisher_state import State, StateFile, about_of
from gateway.vault.publisher_words import PublishRefusal, PublishRefused
from gateway.vault.refusal import ModelRefused
from gateway.vault.source import BlockSource
from gateway.vault.unixfs import FileLimits, FileRefused
from gateway.vault.wrap import WRAPPED_BYTES, Kem, Wrapped

_ENVELOPE_BYTES: Final = 128
"""What signature and header add to a manifest's payload, and some more."""


class Step(StrEnum):
    """What is going on, for a progress bar."""

    ENCRYPT = "encrypt"
    SIGN = "sign"
    MANIFEST = "manifest"
    CHAIN = "chain"


Told = Callable[[Step, int, int], None]
"""Hears of a step: how much is done, of how much."""


class Shelf(NamedTuple):
    """Where bundles lie: the local store and, by the URL of its RPC, a Kubo node; and how long a node may take."""

    store: BlockStore
    kubo: str = ""
    times: FetchTimes = FetchTimes()


class Signing(NamedTuple):
    """The publisher's key: gateways verify with ``key``, which the chain has; ``sign`` returns 64 bytes."""

    key: PublicKey
    sign: Callable[[bytes], bytes]


class Clock(NamedTuple):
    """Milliseconds since 1970, and seconds that never go back."""

    wall_ms: Callable[[], int]
    monotonic_s: Callable[[], float]


def quiet(_step: Step, _done: int, _total: int) -> None:
    """Nobody listens."""


class Bundler:
    """One model on its way to a bundle.

    Args:
        genuine: what ``check_genuine`` let through.
        keys: CENTAUTH, by its service or by files.
        shelf: where the bundle lies.
        signing: the publisher's key.
        file: how far it came.
        lifetime_s: after so long gateways load it no more; counted from the first run.
        clock: what time it is.
        told: hears how far it comes.
    """

    def __init__(  # noqa: PLR0913 -- each is a part of its own: model, authority, store, key, state, life, time
        self,
        genuine: Genuine,
        keys: KeySource,
        shelf: Shelf,
        signing: Signing,
        file: StateFile,
        *,
        lifetime_s: int,
        clock: Clock,
        told: Told = quiet,
    ) -> None:
        self._genuine, self._record = genuine, genuine.record
        self._keys, self._shelf, self._signing, self._file = keys, shelf, signing, file
        self._lifetime_s, self._clock, self._told = lifetime_s, clock, told

    def begun(self) -> State | None:
        """How far an earlier run came.

        Raises:
            PublishRefused: ``state-file``, ``expires``.
        """
        state = self._file.load(self._about())
        if state is not None and state.expires_ms <= self._clock.wall_ms():
            raise PublishRefused(
                PublishRefusal.EXPIRES,
                "the manifest that was begun has expired meanwhile",
                f"remove {self._file.path}, and the publication begins anew",
            )
        return state

    def save(self, state: State) -> None:
        """Keep how far it came.

        Raises:
            PublishRefused: ``state-file``.
        """
        self._file.save(state)

    async def bundle(self) -> State:
        """Do what is still to be done; the state that comes back has a signed manifest and its CID.

        Raises:
            PublishRefused: with the reason.
            AuthorityError: the authority cannot be asked, or a file has to be carried to it.
        """
        state = self.begun()
        if state is None:
            now_ms = self._clock.wall_ms()
            salt = secrets.token_bytes(SALT_BYTES)
            state = State(self._about(), salt, now_ms, now_ms + 1000 * self._lifetime_s)
            self._file.save(state)
        for step in (self._encrypted, self._signed, self._stored):
            after = await step(state)
            if after != state:
                self._file.save(after)
            state = after
        return state

    async def _encrypted(self, state: State) -> State:
        size = ciphertext_size(self._record.size)
        if state.ciphertext is not None and await self._holds(state.ciphertext.cid, size):
            self._told(Step.ENCRYPT, size, size)
            return state
        record = self._record
        try:
            key = await asyncio.to_thread(self._keys.data_key, record.model_id, record.version)
        except AuthorityRefused as refused:
            raise _by_the_authority(refused) from None
        whole = sha256()
        added = await self._add(self._ciphertext(key, state.salt, whole.update))
        ciphertext = Ciphertext(str(added.root), added.size, whole.digest())
        if state.ciphertext not in (None, ciphertext):
            raise PublishRefused(
                PublishRefusal.NOT_READ_BACK,
                "the ciphertext of an earlier run was another one: the authority gave another key meanwhile",
                f"ask the authority why; to begin anew with this key, remove {self._file.path}",
            )
        await self._open_again(ciphertext, key)
        return state._replace(ciphertext=ciphertext)

    async def _signed(self, state: State) -> State:
        if state.envelope is not None:
            return state
        record, ciphertext = self._record, state.ciphertext
        if ciphertext is None:
            raise RuntimeError("a manifest is signed when there is a ciphertext")
        self._told(Step.SIGN, 0, 1)
        try:
            wraps = await asyncio.to_thread(self._keys.wraps, record.model_id, record.version, ciphertext.sha256)
        except AuthorityRefused as refused:
            raise _by_the_authority(refused) from None
        if not wraps:
            raise PublishRefused(
                PublishRefusal.NO_GRANTS,
                f"no gateway holds a grant of {record.model_id}, so nobody could open it",
                f"securenet model grant {record.model_id} GATEWAY …, and run this again when that is final",
            )
        envelope = self._envelope(state, ciphertext, wraps)
        self._told(Step.SIGN, 1, 1)
        return state._replace(envelope=envelope)

    async def _stored(self, state: State) -> State:
        envelope = state.envelope
        if envelope is None:
            raise RuntimeError("a manifest is stored when it is signed")
        if state.manifest_cid is not None and await self._holds(state.manifest_cid, len(envelope)):
            return state
        self._told(Step.MANIFEST, 0, 1)
        added = await self._add(_once(envelope))
        self._told(Step.MANIFEST, 1, 1)
        return state._replace(manifest_cid=str(added.root))

    async def _ciphertext(
        self, key: bytes, salt: bytes, hashed: Callable[[bytes], None]
    ) -> AsyncGenerator[bytes, None]:
        """The ciphertext, a MiB at a time. Each piece was seen by the check: one key and salt, one plaintext."""
        record, path = self._record, self._genuine.path
        encryption = Encryption(key, model_context(record.model_id, record.version), salt)
        done = 0
        try:
            with path.open("rb") as file:
                for digest in self._genuine.pieces:
                    piece = await asyncio.to_thread(file.read, PIECE_BYTES)
                    if sha256(piece).digest() != digest:
                        raise changed(path)
                    out = await asyncio.to_thread(encryption.update, piece)
                    hashed(out)
                    yield out
                    done += len(out)
                    self._told(Step.ENCRYPT, done, ciphertext_size(record.size))
        except OSError:
            raise changed(path) from None
        rest = encryption.finish()
        hashed(rest)
        yield rest
        self._told(Step.ENCRYPT, ciphertext_size(record.size), ciphertext_size(record.size))

    async def _add(self, chunks: AsyncIterable[bytes]) -> Added:
        store, kubo, times = self._shelf
        try:
            return await add(chunks, store, kubo=kubo, times=times, monotonic_s=self._clock.monotonic_s)
        except NotAdded as error:
            raise PublishRefused(
                PublishRefusal.NOT_ADDED, str(error), "when that is mended, run this again: it goes on from here"
            ) from None

    async def _open_again(self, ciphertext: Ciphertext, key: bytes) -> None:
        """Read what lies in the store, and open it as a gateway would."""
        record = self._record
        opening, plain = Decryption(key, model_context(record.model_id, record.version)), sha256()
        found = sha256()
        try:
            async with aclosing(self._parts(ciphertext.cid, ciphertext.size)) as parts:
                async for part in parts:
                    found.update(part)
                    plain.update(await asyncio.to_thread(opening.update, part))
            plain.update(opening.finish())
        except (NotFetched, FileRefused, ModelRefused) as error:
            raise _not_read_back(str(error)) from None
        if (found.digest(), plain.digest()) != (ciphertext.sha256, record.sha256):
            raise _not_read_back("it opens, and is something else")

    async def _holds(self, cid: str, size: int) -> bool:
        """Whether every block of a file is in the store and on the node, which an earlier run may not have named."""
        if not await self._gives(StoreSource(self._shelf.store), cid, size):
            return False
        if not self._shelf.kubo:
            return True
        node = KuboSource(self._shelf.kubo)
        try:
            return await self._gives(node, cid, size)
        finally:
            await node.close()

    async def _gives(self, source: BlockSource, cid: str, size: int) -> bool:
        found = 0
        try:
            async with aclosing(self._parts(cid, size, source)) as parts:
                async for part in parts:
                    found += len(part)
        except (NotFetched, FileRefused):
            return False
        return found == size

    def _parts(self, cid: str, size: int, source: BlockSource | None = None) -> AsyncGenerator[bytes, None]:
        asked = source or StoreSource(self._shelf.store)
        sources = Sources([asked], store=None, times=self._shelf.times, monotonic_s=self._clock.monotonic_s)
        return fetch_file(parse_cid(cid), sources, FileLimits(file_bytes=size))

    def _envelope(self, state: State, ciphertext: Ciphertext, wraps: tuple[WrappedKey, ...]) -> bytes:
        keys = {each.gateway_id: each.key for each in wraps}
        try:
            manifest = manifest_of(self._genuine, ciphertext, keys, (state.created_ms, state.expires_ms))
            return sign_manifest(manifest, self._signing.key, self._signing.sign)
        except ModelRefused as refused:
            raise PublishRefused(
                PublishRefusal.MANIFEST,
                f"no gateway would read the manifest: {refused.detail}",
                "is --signing-key the key that was named? Else look at the spec and the card",
            ) from None

    def _about(self) -> bytes:
        record, key = self._record, self._signing.key
        facts = (record.model_id, record.version, record.sha256, record.spec_sha256, record.card_sha256)
        return about_of(*facts, str(key.alg), key.data, self._lifetime_s)


def manifest_of(
    genuine: Genuine, ciphertext: Ciphertext, keys: dict[str, Wrapped], life_ms: tuple[int, int]
) -> Manifest:
    """What is said of a model (pure)."""
    record = genuine.record
    return Manifest(
        record.model_id,
        record.version,
        ciphertext,
        Plaintext(record.size, record.sha256),
        genuine.spec,
        record.training_data,
        record.metrics,
        record.card_sha256,
        keys,
        *life_ms,
    )


class Sizes(NamedTuple):
    """What a bundle takes, in bytes; the manifest's is an estimate."""

    plaintext: int
    ciphertext: int
    manifest: int


def sizes_of(genuine: Genuine, gateways: int) -> Sizes:
    """How large a bundle for so many gateways will be; nobody is asked for anything (pure).

    Raises:
        PublishRefused: ``manifest``: it does not fit.
    """
    size = ciphertext_size(genuine.record.size)
    wrapped = Wrapped(Kem.X25519, bytes(Kem.X25519.enc_bytes), bytes(WRAPPED_BYTES))
    keys = {f"gateway-{number:04}": wrapped for number in range(gateways)}
    stand_in = Ciphertext(f"b{'a' * 58}", size, bytes(32))
    try:
        payload = encode_payload(manifest_of(genuine, stand_in, keys, (1, 1 << 42)))
    except ModelRefused as refused:
        raise PublishRefused(
            PublishRefusal.MANIFEST, f"no gateway would read the manifest: {refused.detail}", "look at spec and card"
        ) from None
    return Sizes(genuine.record.size, size, len(payload) + _ENVELOPE_BYTES)


async def _once(data: bytes) -> AsyncGenerator[bytes, None]:
    yield data


def _by_the_authority(refused: AuthorityRefused) -> PublishRefused:
    return PublishRefused(
        PublishRefusal.AUTHORITY,
        f"the key authority refuses ({refused.reason}): {refused.detail}",
        "its page says what each reason means: docs/operations/authority.md",
    )


def _not_read_back(problem: str) -> PublishRefused:
    return PublishRefused(
        PublishRefusal.NOT_READ_BACK,
        f"what lies in the block store is not what was put there: {problem}",
        "check the disk, and run this again",
    )
