"""The parts of a backup for any input: keys open by their passphrase alone, and what is no backup is told as such."""

import contextlib
import hashlib
import io
import json
import tarfile
import threading

import pytest
from cli_world import ORIGIN, World
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.cli.backup_file import BackupFile
from gateway.cli.backup_keys import PASSPHRASE_BYTES_MIN, open_keys, seal_keys
from gateway.cli.output import CliError
from gateway.config.model import JournalConfig
from gateway.crypto.keystore import ScryptCost
from gateway.journal import CheckpointRow, EntryRow, Group, JournalDamaged, open_journal, open_reader
from gateway.journal.backup import append_tail, copy_journal
from gateway.journal.leaves import LeavesFile, LeavesState
from gateway.journal.schema import LEAVES
from gateway.tlog.merkle import leaf_hash, root_hash

CHEAP = ScryptCost(16, 1, 1)
passphrases = st.binary(min_size=PASSPHRASE_BYTES_MIN, max_size=40)
keys = st.dictionaries(st.text(min_size=1, max_size=40), st.binary(max_size=200), max_size=6)


@given(keys=keys, passphrase=passphrases, backup_id=st.text(max_size=16))
@settings(max_examples=60)
def test_keys_open_as_they_were_sealed(keys, passphrase, backup_id):
    assert open_keys(seal_keys(keys, passphrase, backup_id, cost=CHEAP), passphrase, backup_id) == keys


@given(keys=keys, passphrase=passphrases, other=passphrases, data=st.data())
@settings(max_examples=60)
def test_keys_open_by_nothing_else(keys, passphrase, other, data):
    sealed = seal_keys(keys, passphrase, "one", cost=CHEAP)
    if other != passphrase:
        with pytest.raises(CliError):
            open_keys(sealed, other, "one")
    with pytest.raises(CliError):
        open_keys(sealed, passphrase, "two")
    at = data.draw(st.integers(0, len(sealed) - 2))
    flipped = bytearray(sealed)
    flipped[at] ^= 1 << data.draw(st.integers(0, 7))
    try:
        assert open_keys(bytes(flipped), passphrase, "one") == keys, "an altered key came through"
    except CliError:
        pass
    else:
        assert json.loads(flipped) == json.loads(sealed) or flipped.lower() == sealed.lower()


@given(
    n=st.integers(-4, 1 << 40),
    r=st.integers(-2, 1 << 20),
    p=st.integers(-2, 1 << 20),
    more=st.sampled_from(["", "x"]),
)
@settings(max_examples=60)
def test_what_asks_scrypt_for_too_much_is_refused_before_it_is_asked(n, r, p, more):
    members = {"format": "securenet.backup-keys/1", "n": n, "r": r, "p": p, "salt": "00" * 32, "nonce": "00" * 12}
    with pytest.raises(CliError):
        open_keys(json.dumps(members | {"sealed": "00" * 16 + more}).encode(), b"x" * 16, "one")


@given(data=st.binary(max_size=3000))
@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_file_that_is_no_backup_is_told_as_such(tmp_path, data):
    path = tmp_path / "any.tar"
    path.write_bytes(data)
    with pytest.raises(CliError), BackupFile.open(path):
        pass


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)
NAMES = ("format", "id", "made_ms", "made_by", "origin", "log_size", "root", "last_entry_ms", "checkpoint_size")
NAMES = (*NAMES, "checkpoint", "log_key", "schema", "members")


@given(fields=st.dictionaries(st.sampled_from(NAMES), json_values), well=st.booleans())
@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_manifest_that_is_none_is_refused(tmp_path, fields, well):
    if well:
        fields["format"] = "securenet.backup/1"
    text = json.dumps(fields).encode()
    path = tmp_path / "any.tar"
    with tarfile.open(path, "w") as tar:
        for name, data in (("manifest.json", text), ("manifest.sha256", hashlib.sha256(text).hexdigest().encode())):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    with pytest.raises(CliError), BackupFile.open(path):
        pass


# --- the tail ---


def leaf(number):
    return hashlib.sha256(b"%d" % number).digest()


def leaves_file(directory, size):
    file = LeavesFile.open(directory / LEAVES)
    file.start(ORIGIN)
    file.reserve(size)
    file.write_at(0, b"".join(map(leaf, range(size))))
    file.record(LeavesState.CLOSED)
    file.close()


@given(size=st.integers(0, 700), more=st.integers(0, 700), bad=st.booleans(), data=st.data())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_tail_is_taken_if_and_only_if_it_leads_to_the_root_that_was_signed(tmp_path, size, more, bad, data):
    leaves_file(tmp_path, size)
    tail = [leaf(number) for number in range(size, size + more)]
    note = CheckpointRow(size + more, root_hash(map(leaf, range(size + more))), "", 0)
    if bad and tail:
        tail[data.draw(st.integers(0, more - 1))] = leaf(-1)
        with pytest.raises(JournalDamaged):
            append_tail(tmp_path, note, tail)
        more = 0
    else:
        assert append_tail(tmp_path, note, tail) == more
    file = LeavesFile.open_read_only(tmp_path / LEAVES)
    assert file.size == size + more
    file.close()


# --- the cut ---

GROUP = 7


async def test_a_copy_made_beside_a_writer_holds_whole_groups_and_opens_as_if_it_had_been_closed(tmp_path):
    opened = open_journal(tmp_path / "data", JournalConfig(), origin=ORIGIN)
    stop, cuts = threading.Event(), []

    def copy():
        for number in range(12):
            target = tmp_path / f"copy-{number}"
            target.mkdir()
            cuts.append((target, copy_journal(tmp_path / "data", target)))
        stop.set()

    copying = threading.Thread(target=copy)
    size = 0
    try:
        copying.start()
        while not stop.is_set():
            entries = [EntryRow(index, b"entry %d" % index) for index in range(size, size + GROUP)]
            await opened.journal.commit(Group(entries, (), (), (), (), None))
            size += GROUP
    finally:
        copying.join()
        await opened.journal.close()
    sizes = [cut.log_size for _, cut in cuts]
    assert sizes == sorted(sizes)
    assert sizes[-1] > sizes[0], "nothing was written meanwhile"
    for target, cut in cuts:
        assert cut.log_size % GROUP == 0
        assert cut.root == root_hash(leaf_hash(b"entry %d" % index) for index in range(cut.log_size))
        again = open_journal(target, JournalConfig(), origin=ORIGIN)
        assert again[1:] == (None, None, None, (), None, False)
        assert again.journal.size() == cut.log_size
        await again.journal.close()


def test_a_database_that_is_not_sound_is_not_backed_up_as_if_it_were(tmp_path):
    world = World(tmp_path).fill(600)
    database = world.data_dir / "journal.db"
    data = bytearray(database.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 4096] = bytes(4096)
    database.write_bytes(data)
    (tmp_path / "copy").mkdir()
    with pytest.raises(JournalDamaged):
        copy_journal(world.data_dir, tmp_path / "copy")


def test_hashes_that_lack_the_signed_root_are_not_backed_up(tmp_path):
    world = World(tmp_path).fill(600)
    with contextlib.closing(open_reader(world.data_dir)) as reader:
        entry = reader.entry(5)
    database = world.data_dir / "journal.db"
    data = database.read_bytes()
    assert data.count(leaf_hash(entry)) == 1, "its place in the tile"
    database.write_bytes(data.replace(leaf_hash(entry), bytes(31) + b"\x01"))
    (tmp_path / "copy").mkdir()
    with pytest.raises(JournalDamaged, match="root that was signed"):
        copy_journal(world.data_dir, tmp_path / "copy")
