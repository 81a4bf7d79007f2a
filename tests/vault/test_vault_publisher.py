"""A bundle is made once: killed anywhere and begun again, it is the same bytes; what is stored opens as it should."""

import hashlib
import os
import tracemalloc

import pytest
from support.ipfs_gateway import IpfsGateway
from support.publisher_kit import (
    DATA_KEY,
    GATEWAY,
    GATEWAY_KEY,
    MODEL_ID,
    PUBLISHER_KEY,
    RECIPIENT,
    SIGNING,
    TRAINER_KEY,
    VERSION,
    Keys,
    packed,
    parts,
    spec_of,
    write_model,
)

from gateway.vault.authority_words import AuthorityRefused, Refusal
from gateway.vault.blocks import BlockStore
from gateway.vault.bundle import Named, open_bundle
from gateway.vault.cid import parse_cid
from gateway.vault.cipher import ciphertext_size
from gateway.vault.genuine import Seen
from gateway.vault.ipfs import FetchTimes, Sources, fetch_file
from gateway.vault.ipfs_sources import StoreSource
from gateway.vault.manifest import manifest_sha256, read_manifest
from gateway.vault.publisher import Bundler, Clock, Shelf, Signing, Step, sizes_of
from gateway.vault.publisher_check import PIECE_BYTES, Genuine, check_genuine
from gateway.vault.publisher_record import Record
from gateway.vault.publisher_state import StateFile
from gateway.vault.publisher_words import PublishRefusal, PublishRefused
from gateway.vault.unixfs import FileLimits

NOW_MS = 1_763_701_200_000
DAY_S = 86400


class Killed(BaseException):
    """The process ended here."""


class Bench:
    """A publisher's desk: one model, its store, its state file; the clock stands where a test puts it."""

    def __init__(self, folder, genuine, keys=None):
        self.folder, self.genuine, self.keys = folder, genuine, keys or Keys()
        self.store = BlockStore(folder / "blocks", 1 << 30)
        self.file = StateFile(folder / "m.tflite.publication")
        self.now_ms = NOW_MS
        self.kubo = ""
        self.seen = []

    def bundler(self, told=None, *, lifetime_s=DAY_S, signing=SIGNING):
        clock = Clock(lambda: self.now_ms, lambda: 0.0)
        return Bundler(
            self.genuine,
            self.keys,
            Shelf(self.store, self.kubo),
            signing,
            self.file,
            lifetime_s=lifetime_s,
            clock=clock,
            told=told or (lambda *step: self.seen.append(step)),
        )

    async def read(self, cid, size):
        sources = Sources([StoreSource(self.store)], store=None, times=FetchTimes(), monotonic_s=lambda: 0.0)
        return b"".join([part async for part in fetch_file(parse_cid(cid), sources, FileLimits(file_bytes=size))])


@pytest.fixture
async def bench(tmp_path):
    return Bench(tmp_path, await check_genuine(write_model(tmp_path)))


async def refusal_of(bundler):
    with pytest.raises(PublishRefused) as refused:
        await bundler.bundle()
    assert refused.value.hint
    return refused.value.reason


async def test_a_gateway_opens_what_was_published(bench):
    state = await bench.bundler().bundle()
    envelope = await bench.read(state.manifest_cid, len(state.envelope))
    ciphertext = await bench.read(state.ciphertext.cid, state.ciphertext.size)
    opened = open_bundle(
        envelope,
        [ciphertext],
        named=Named(MODEL_ID, VERSION, manifest_sha256(state.envelope)),
        publisher=PUBLISHER_KEY,
        private_key=GATEWAY_KEY,
        gateway_id=GATEWAY,
    )
    assert bytes(opened.plaintext) == packed(parts())
    assert opened.manifest.spec == spec_of()
    assert opened.manifest.model_card == bench.genuine.record.card_sha256
    assert (opened.manifest.created_ms, opened.manifest.expires_ms) == (NOW_MS, NOW_MS + 1000 * DAY_S)


async def test_progress_goes_up_to_the_end_of_each_step(bench):
    await bench.bundler().bundle()
    assert [step for step, done, total in bench.seen if done == total] == [
        Step.ENCRYPT,
        Step.SIGN,
        Step.MANIFEST,
    ]


async def test_a_second_run_asks_nobody_and_makes_nothing(bench):
    first = await bench.bundler().bundle()
    bench.now_ms += 1000
    assert await bench.bundler().bundle() == first
    assert bench.keys.asked == ["data-key", "wraps"]


@pytest.mark.parametrize("kill_at", range(7))
async def test_killed_at_any_report_and_begun_again_it_is_the_same_bundle(bench, kill_at):
    reports = []

    def told(*step):
        reports.append(step)
        if len(reports) == kill_at + 1:
            raise Killed

    try:
        await bench.bundler(told).bundle()
    except Killed:
        killed = True
    else:
        killed = False
    begun = bench.file.load(bench.bundler()._about()) if bench.file.path.exists() else None
    bench.now_ms += 60_000
    state = await bench.bundler().bundle()
    assert killed == (kill_at < len(reports))
    assert state.created_ms == NOW_MS
    if begun is not None:
        assert state.salt == begun.salt
        assert begun.ciphertext in (None, state.ciphertext)
        assert begun.envelope in (None, state.envelope)
    assert read_manifest(state.envelope, PUBLISHER_KEY).ciphertext == state.ciphertext


@pytest.mark.parametrize("kill_at", range(1, 5))
async def test_killed_before_any_write_of_the_state_it_comes_to_the_same_ciphertext(bench, kill_at, monkeypatch):
    saves, save = [], StateFile.save

    def counted(self, state):
        saves.append(state)
        if len(saves) == kill_at:
            raise Killed
        save(self, state)

    monkeypatch.setattr(StateFile, "save", counted)
    with pytest.raises(Killed):
        await bench.bundler().bundle()
    state = await bench.bundler().bundle()
    if kill_at > 1:
        assert state.salt == saves[0].salt
        assert state.ciphertext == saves[-1].ciphertext
    if kill_at > 3:
        assert state.envelope == saves[2].envelope


async def test_blocks_that_went_missing_are_made_again_and_are_the_same(bench):
    first = await bench.bundler().bundle()
    for path in (bench.folder / "blocks").iterdir():
        path.unlink()
    bench.store = BlockStore(bench.folder / "blocks", 1 << 30)
    assert await bench.bundler().bundle() == first
    assert hashlib.sha256(await bench.read(first.ciphertext.cid, first.ciphertext.size)).digest() == (
        first.ciphertext.sha256
    )


@pytest.mark.parametrize("begun", ["ciphertext", "bundle"])
async def test_a_node_that_is_named_later_gets_the_bundle_too(bench, begun):
    if begun == "ciphertext":
        bench.keys.recipients = {}
        assert await refusal_of(bench.bundler()) is PublishRefusal.NO_GRANTS
        bench.keys.recipients = {GATEWAY: RECIPIENT}
    else:
        await bench.bundler().bundle()
    async with IpfsGateway() as node:
        bench.kubo, node.takes = node.url, True
        state = await bench.bundler().bundle()
        for cid in (state.ciphertext.cid, state.manifest_cid):
            assert parse_cid(cid) in node.blocks
        bench.keys.asked.clear()
        assert await bench.bundler().bundle() == state
        assert bench.keys.asked == []


async def test_another_key_of_the_authority_is_found(bench):
    await bench.bundler().bundle()
    for path in (bench.folder / "blocks").iterdir():
        path.unlink()
    bench.store = BlockStore(bench.folder / "blocks", 1 << 30)
    bench.keys.data_key = lambda _model, _version: DATA_KEY
    with pytest.raises(PublishRefused, match=r"remove .*\.publication") as refused:
        await bench.bundler().bundle()
    assert refused.value.reason is PublishRefusal.NOT_READ_BACK


async def test_nothing_secret_is_in_the_state_file(bench):
    await bench.bundler().bundle()
    written = bench.file.path.read_bytes()
    key = bench.keys.data_key(MODEL_ID, VERSION)
    for secret in (key, packed(parts())[:32], SIGNING.sign.__self__.private_bytes_raw()):
        assert secret not in written
        assert secret.hex().encode() not in written


async def test_the_state_is_of_one_model_one_key_and_one_lifetime(bench):
    await bench.bundler().bundle()
    assert await refusal_of(bench.bundler(lifetime_s=DAY_S + 1)) is PublishRefusal.STATE_FILE
    other = Signing(TRAINER_KEY, SIGNING.sign)
    assert await refusal_of(bench.bundler(signing=other)) is PublishRefusal.STATE_FILE


async def test_a_publication_that_expired_meanwhile_is_not_gone_on_with(bench):
    await bench.bundler().bundle()
    bench.now_ms += 1000 * DAY_S
    assert await refusal_of(bench.bundler()) is PublishRefusal.EXPIRES


async def test_a_model_that_changed_after_the_check_is_never_encrypted(bench):
    path = bench.genuine.path
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    assert await refusal_of(bench.bundler()) is PublishRefusal.MODEL_CHANGED
    assert bench.store.digests() == []
    path.unlink()
    assert await refusal_of(bench.bundler()) is PublishRefusal.MODEL_CHANGED


async def test_a_model_that_nobody_may_open_is_not_signed(bench):
    bench.keys.recipients = {}
    assert await refusal_of(bench.bundler()) is PublishRefusal.NO_GRANTS
    bench.keys.recipients = {GATEWAY: RECIPIENT}
    assert (await bench.bundler().bundle()).manifest_cid


async def test_the_authoritys_no_is_told_with_its_reason(bench):
    def no(*_about):
        raise AuthorityRefused(Refusal.MODEL_NOT_ALLOWED, "you are not on the list")

    bench.keys.data_key = no
    with pytest.raises(PublishRefused, match="model-not-allowed") as refused:
        await bench.bundler().bundle()
    assert refused.value.reason is PublishRefusal.AUTHORITY


async def test_a_signature_that_gateways_would_refuse_is_refused_here(bench):
    wrong = Signing(PUBLISHER_KEY, lambda _data: bytes(64))
    assert await refusal_of(bench.bundler(signing=wrong)) is PublishRefusal.MANIFEST


async def test_a_store_that_is_too_small_is_refused_with_what_to_do(bench):
    bench.store = BlockStore(bench.folder / "small", 100)
    assert await refusal_of(bench.bundler()) is PublishRefusal.NOT_ADDED


async def test_the_sizes_of_a_dry_run_are_those_of_the_bundle(bench):
    state = await bench.bundler().bundle()
    sizes = sizes_of(bench.genuine, 1)
    assert sizes.plaintext == len(packed(parts()))
    assert sizes.ciphertext == state.ciphertext.size == ciphertext_size(sizes.plaintext)
    assert len(state.envelope) <= sizes.manifest <= len(state.envelope) + 128


async def test_a_large_model_is_encrypted_in_little_memory(tmp_path):
    size = 24 * PIECE_BYTES + 5
    path = tmp_path / "large.tflite"
    data = os.urandom(PIECE_BYTES) * 24 + b"-tail"
    path.write_bytes(data)
    pieces = tuple(hashlib.sha256(data[at : at + PIECE_BYTES]).digest() for at in range(0, size, PIECE_BYTES))
    record = Record(
        "large", 1, size, hashlib.sha256(data).digest(), bytes(32), bytes(32), {"accuracy": 1.0}, bytes(32)
    )
    del data
    bench = Bench(tmp_path, Genuine(path, record, spec_of(), Seen((), (), (), 0), pieces))
    tracemalloc.start()
    try:
        state = await bench.bundler().bundle()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert state.ciphertext.size == ciphertext_size(size)
    assert peak < 12 * PIECE_BYTES
