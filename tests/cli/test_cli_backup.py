"""A backup of a journal that is there, and back again: what is in it, what it refuses, what it never overwrites."""

import contextlib
import hashlib
import io
import json
import shutil
import sqlite3
import stat
import tarfile

import pytest
from cli_world import LOG_KEY, ORIGIN, World, miner_line
from nacl.signing import SigningKey

from gateway.config.model import JournalConfig
from gateway.journal import open_journal, open_reader
from gateway.ops.exitcodes import ExitCode
from gateway.ops.publish import publish
from gateway.tlog.checkpoint import note as signed_note
from gateway.tlog.checkpoint import parse
from gateway.tlog.merkle import root_hash
from gateway.tlog.tiles import root_at

PASSPHRASE = "correct horse battery staple"
MESSAGES = 600
"""More than two tiles."""


@pytest.fixture
def filled(world):
    return with_log_key(world.fill(MESSAGES))


def with_log_key(world):
    """The journal knows which key signed last, as a gateway's does."""
    with contextlib.closing(sqlite3.connect(world.data_dir / "journal.db")) as journal, journal:
        journal.execute("INSERT INTO facts VALUES ('log_key', ?)", (LOG_KEY.public_key.hex(),))
    return world


@pytest.fixture
def backed_up(filled, securenet, tmp_path):
    out = tmp_path / "backup.tar"
    result = securenet("backup", "--out", out, "--config", filled.config, "--json")
    assert result.exit_code == 0, result.output
    return out


@pytest.fixture
def passphrase(tmp_path):
    path = tmp_path / "passphrase"
    path.touch(mode=0o600)
    path.write_text(PASSPHRASE + "\n")
    return path


def contents(data_dir):
    """Everything that a journal says of itself."""
    with open_reader(data_dir) as reader:
        size = reader.size()
        return {
            "size": size,
            "entries": list(reader.entries(0, size)),
            "messages": [reader.message(index) for index in range(0, size, 97)],
            "leaves": reader.leaf_hashes(0, min(size, 256)),
            "checkpoint": reader.latest_checkpoint(),
            "quarantine": reader.quarantine(),
            "gaps": reader.gaps(),
        }


def lose_the_disk(world):
    shutil.rmtree(world.data_dir)


def test_a_restored_journal_is_the_one_that_was_backed_up(filled, backed_up, securenet):
    before = contents(filled.data_dir)
    assert before["size"] == MESSAGES
    lose_the_disk(filled)
    result = securenet("restore", backed_up, "--nothing-since", "--config", filled.config, "--json")
    assert result.exit_code == 0, result.output
    assert result.json["entries"] == MESSAGES
    assert result.json["lost_from"] is None
    assert contents(filled.data_dir) == before
    opened = open_journal(filled.data_dir, JournalConfig(), origin=ORIGIN)
    assert opened[1:] == (None, None, None, (), None, False)
    assert securenet("log", "fsck", "--config", filled.config).exit_code == 0


def test_a_backup_says_how_far_it_goes_and_is_open_to_its_owner_alone(filled, securenet, tmp_path):
    out = tmp_path / "backup.tar"
    result = securenet("backup", "--out", out, "--config", filled.config, "--json")
    assert result.json["entries"] == MESSAGES
    assert result.json["log"] == ORIGIN
    assert result.json["keys"] is False
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"backup.tar", "data", "gateway.toml", "registry.jsonl", "log-key.pem"}
    verified = securenet("backup", "--verify", out, "--json")
    assert verified.exit_code == 0
    assert verified.json["sound"] is True
    assert {**result.json, "sound": True} == {**verified.json, "bytes": out.stat().st_size}


def test_configuration_and_registry_come_back_where_there_are_none(filled, backed_up, securenet):
    config, registry = filled.config.read_bytes(), filled.registry.read_bytes()
    lose_the_disk(filled)
    filled.config.unlink()
    filled.registry.unlink()
    result = securenet("restore", backed_up, "--nothing-since", "--config", filled.config, "--json")
    assert result.exit_code == 0, result.output
    assert (filled.config.read_bytes(), filled.registry.read_bytes()) == (config, registry)
    assert result.json["kept"] == []


def test_what_is_there_stays_as_it_is(filled, backed_up, securenet):
    lose_the_disk(filled)
    filled.write_registry(miner_line())
    mine = filled.registry.read_bytes()
    result = securenet("restore", backed_up, "--nothing-since", "--config", filled.config, "--json")
    assert filled.registry.read_bytes() == mine
    assert result.json["kept"] == [str(filled.config), str(filled.registry)]


def test_a_journal_that_is_there_is_never_overwritten(filled, backed_up, securenet):
    before = contents(filled.data_dir)
    result = securenet("restore", backed_up, "--nothing-since", "--config", filled.config)
    assert result.exit_code == ExitCode.CANNOT_CREATE
    assert "holds a journal" in result.stderr
    assert contents(filled.data_dir) == before


def test_a_directory_that_a_gateway_has_open_is_not_touched(filled, backed_up, securenet):
    lose_the_disk(filled)
    open_journal(filled.data_dir, JournalConfig(), origin=ORIGIN)
    for name in ("journal.db", "journal.leaves"):
        (filled.data_dir / name).unlink()
    result = securenet("restore", backed_up, "--nothing-since", "--config", filled.config)
    assert result.exit_code == ExitCode.UNAVAILABLE
    assert "stop it first" in result.stderr


def test_nothing_is_restored_before_somebody_says_what_came_after(filled, backed_up, securenet):
    lose_the_disk(filled)
    for said in ((), ("--nothing-since", "--new-id", "gw-2")):
        result = securenet("restore", backed_up, *said, "--config", filled.config)
        assert result.exit_code == ExitCode.USAGE
        assert "--new-id ID if anything may have" in result.stderr
    assert not filled.data_dir.exists()


def test_a_backup_is_never_written_over_another_file(filled, backed_up, securenet):
    before = backed_up.read_bytes()
    result = securenet("backup", "--out", backed_up, "--config", filled.config)
    assert result.exit_code == ExitCode.CANNOT_CREATE
    assert backed_up.read_bytes() == before


def test_a_backup_does_not_lie_on_what_it_backs_up(filled, securenet):
    result = securenet("backup", "--out", filled.data_dir / "b.tar", "--config", filled.config)
    assert result.exit_code == ExitCode.USAGE


def test_without_a_journal_there_is_nothing_to_back_up(world, securenet, tmp_path):
    result = securenet("backup", "--out", tmp_path / "b.tar", "--config", world.config)
    assert result.exit_code == ExitCode.NO_INPUT
    assert not (tmp_path / "b.tar").exists()


# --- damage ---


@pytest.mark.parametrize("place", [0.001, 0.2, 0.5, 0.9, 0.99])
def test_a_flipped_bit_is_found_and_nothing_is_restored(filled, backed_up, securenet, place):
    data = bytearray(backed_up.read_bytes())
    with tarfile.open(backed_up) as tar:  # the padding of a tar has no meaning and no sum
        at = int(len(data) * place)
        inside = [m for m in tar.getmembers() if m.offset_data <= at < m.offset_data + m.size]
        member = inside[0] if inside else max(tar.getmembers(), key=lambda m: m.size)
    if not inside:
        at = member.offset_data + member.size // 2
    data[at] ^= 0x10
    backed_up.write_bytes(data)
    assert securenet("backup", "--verify", backed_up).exit_code == ExitCode.NO_INPUT
    lose_the_disk(filled)
    result = securenet("restore", backed_up, "--nothing-since", "--config", filled.config)
    assert result.exit_code == ExitCode.NO_INPUT
    assert {path.name for path in filled.data_dir.iterdir()} <= {"journal.lock"}


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.95])
def test_a_backup_that_was_cut_short_is_found(filled, backed_up, securenet, share):
    data = backed_up.read_bytes()
    backed_up.write_bytes(data[: int(len(data) * share)])
    result = securenet("backup", "--verify", backed_up)
    assert result.exit_code == ExitCode.NO_INPUT
    assert "no sound backup" in result.stderr


def rewritten(path, change):
    """A backup with other members: what is changed is hashed anew, as a forger would."""
    with tarfile.open(path) as tar:
        members = {info.name: tar.extractfile(info).read() for info in tar.getmembers()}
    manifest = json.loads(members.pop("manifest.json"))
    members.pop("manifest.sha256")
    members, manifest = change(members, manifest)
    manifest["members"] = [
        {"name": name, "size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        for name, data in members.items()
    ]
    text = json.dumps(manifest).encode()
    with tarfile.open(path, "w") as tar:
        for name, data in {
            "manifest.json": text,
            "manifest.sha256": hashlib.sha256(text).hexdigest().encode(),
            **members,
        }.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


def test_a_member_with_a_path_of_its_own_is_refused(filled, backed_up, securenet, tmp_path):
    rewritten(backed_up, lambda members, manifest: (members | {"../evil": b"x"}, manifest))
    lose_the_disk(filled)
    result = securenet("restore", backed_up, "--nothing-since", "--config", filled.config)
    assert result.exit_code == ExitCode.NO_INPUT
    assert "names other files" in result.stderr
    assert not (tmp_path / "evil").exists()


def test_a_forged_log_lacks_the_signature_of_the_log_key(filled, backed_up, securenet):
    def forge(members, manifest):
        other = SigningKey(b"\x66" * 32)
        return members, manifest | {"log_key": bytes(other.verify_key).hex()}

    rewritten(backed_up, forge)
    assert securenet("backup", "--verify", backed_up).exit_code == ExitCode.NEGATIVE


@pytest.mark.parametrize("thorough", [False, True])
def test_leaves_that_were_exchanged_have_another_root(filled, backed_up, securenet, thorough):
    def exchange(members, manifest):
        leaves = bytearray(members["journal.leaves"])
        leaves[4096:4128], leaves[4128:4160] = leaves[4128:4160], leaves[4096:4128]
        if thorough:  # the forger states the root that comes out; the log key did not sign it
            hashes = [bytes(leaves[4096 + 32 * at : 4128 + 32 * at]) for at in range(MESSAGES)]
            manifest["root"] = root_hash(hashes).hex()
        return members | {"journal.leaves": bytes(leaves)}, manifest

    rewritten(backed_up, exchange)
    result = securenet("backup", "--verify", backed_up)
    assert result.exit_code == ExitCode.NEGATIVE
    assert ("that was signed" in result.stderr) == thorough


def test_a_manifest_of_a_later_version_is_refused_by_its_name(filled, backed_up, securenet):
    rewritten(backed_up, lambda members, manifest: (members, manifest | {"format": "securenet.backup/2"}))
    result = securenet("backup", "--verify", backed_up)
    assert result.exit_code == ExitCode.NO_INPUT
    assert "securenet.backup/1" in result.stderr


# --- keys ---


def test_keys_come_back_by_the_passphrase_alone(filled, securenet, tmp_path, passphrase):
    out, pem = tmp_path / "backup.tar", filled.log_key_file.read_bytes()
    made = securenet(
        "backup", "--out", out, "--with-keys", "--passphrase-file", passphrase, "--config", filled.config, "--json"
    )
    assert made.exit_code == 0, made.output
    assert made.json["keys"] is True
    assert pem.splitlines()[1] not in out.read_bytes(), "the key lies open"
    lose_the_disk(filled)
    filled.log_key_file.unlink()
    passphrase.write_text("another passphrase\n")
    words = ("restore", out, "--nothing-since", "--passphrase-file", passphrase, "--config", filled.config, "--json")
    assert securenet(*words).exit_code == ExitCode.SECRET
    assert not filled.log_key_file.exists()
    passphrase.write_text(PASSPHRASE)
    result = securenet(*words)
    assert result.exit_code == 0, result.output
    assert result.json["keys_restored"] == 1
    assert filled.log_key_file.read_bytes() == pem
    assert stat.S_IMODE(filled.log_key_file.stat().st_mode) == 0o600


def test_a_key_behind_a_credential_comes_from_the_folder_that_systemd_reads(filled, securenet, tmp_path, passphrase):
    store = tmp_path / "credstore"
    store.mkdir()
    shutil.move(filled.log_key_file, store / "securenet.log-key")
    filled.config.write_text(filled.config.read_text().replace(str(filled.log_key_file), "credential:log-key"))
    out = tmp_path / "backup.tar"
    words = ("--passphrase-file", passphrase, "--credentials", store, "--config", filled.config)
    assert securenet("backup", "--out", out, "--with-keys", *words).exit_code == 0
    pem = (store / "securenet.log-key").read_bytes()
    shutil.rmtree(store)
    lose_the_disk(filled)
    assert securenet("restore", out, "--nothing-since", *words).exit_code == 0
    assert (store / "securenet.log-key").read_bytes() == pem


def test_keys_are_not_put_in_without_a_passphrase_worth_the_name(filled, securenet, tmp_path, passphrase):
    out = tmp_path / "b.tar"
    assert securenet("backup", "--out", out, "--with-keys", "--config", filled.config).exit_code == ExitCode.USAGE
    passphrase.write_text("short")
    result = securenet(
        "backup", "--out", out, "--with-keys", "--passphrase-file", passphrase, "--config", filled.config
    )
    assert result.exit_code == ExitCode.SECRET
    assert not out.exists()


# --- what came after ---


def test_a_new_id_ends_the_old_log_and_begins_another(filled, backed_up, securenet):
    lose_the_disk(filled)
    words = ("restore", backed_up, "--new-id", "gw-1b", "--config", filled.config, "--json")
    assert securenet(*words).exit_code == ExitCode.USAGE, "the configuration still has the old id"
    filled.config.unlink()
    result = securenet(*words)
    assert result.exit_code == 0, result.output
    assert result.json["lost_from"] == MESSAGES
    assert result.json["goes_on_as"] == "securenet/plant/gw-1b"
    assert 'id = "gw-1b"' in filled.config.read_text()
    opened = open_journal(filled.data_dir, JournalConfig(), origin="securenet/plant/gw-1b")
    assert opened.reason == "other-log"
    assert opened.journal.size() == 0
    with open_reader(opened.set_aside) as old:
        assert old.size() == MESSAGES


def test_the_new_id_is_not_that_of_the_old_log(filled, backed_up, securenet):
    lose_the_disk(filled)
    result = securenet("restore", backed_up, "--new-id", "gw-1", "--config", filled.config)
    assert result.exit_code == ExitCode.USAGE
    assert "needs another" in result.stderr


def grown(tmp_path, messages):
    """The same log some time later, published."""
    later = World(tmp_path / "later")
    return later.fill(messages)


@pytest.fixture
def mirror(tmp_path):
    (tmp_path / "later").mkdir()
    later = grown(tmp_path, MESSAGES + 500)
    with later_reader(later) as reader:
        checkpoint = reader.latest_checkpoint()
        publish(reader, checkpoint, tmp_path / "www")
    return tmp_path / "www"


def later_reader(world):
    return open_reader(world.data_dir)


def test_the_places_of_what_was_published_are_kept(filled, backed_up, mirror, securenet):
    lose_the_disk(filled)
    result = securenet("restore", backed_up, "--tail", mirror, "--config", filled.config, "--json")
    assert result.exit_code == 0, result.output
    assert result.json["entries_without_bytes"] == 500
    opened = open_journal(filled.data_dir, JournalConfig(), origin=ORIGIN)
    assert [tuple(gap) for gap in opened.lost] == [(MESSAGES, MESSAGES + 500, "damage")]
    assert opened.journal.size() == MESSAGES + 500
    assert not opened.log_damaged
    with open_reader(filled.data_dir) as reader:
        note = parse((mirror / "checkpoint").read_bytes())
        assert root_at(reader, note.size) == note.root


def test_a_mirror_of_another_history_is_refused(filled, backed_up, mirror, securenet):
    tile = mirror / "tile" / "0" / "003"
    data = bytearray(tile.read_bytes())
    data[7] ^= 1
    tile.write_bytes(data)
    lose_the_disk(filled)
    result = securenet("restore", backed_up, "--tail", mirror, "--config", filled.config)
    assert result.exit_code == ExitCode.NEGATIVE
    assert "another history" in result.stderr
    assert not (filled.data_dir / "journal.db").exists()


def test_a_mirror_that_ends_before_the_backup_tells_nothing(filled, tmp_path, mirror, securenet):
    (tmp_path / "latest").mkdir()
    latest = with_log_key(World(tmp_path / "latest").fill(MESSAGES + 900))
    out = tmp_path / "latest.tar"
    assert securenet("backup", "--out", out, "--config", latest.config).exit_code == 0
    lose_the_disk(latest)
    result = securenet("restore", out, "--tail", mirror, "--config", latest.config)
    assert result.exit_code == ExitCode.NEGATIVE
    assert "before the backup" in result.stderr


def test_a_mirror_under_another_key_is_refused(filled, backed_up, mirror, securenet):
    body = parse((mirror / "checkpoint").read_bytes()).body
    other = SigningKey(b"\x66" * 32)
    (mirror / "checkpoint").write_bytes(
        signed_note(body, ORIGIN, other.sign(body).signature, bytes(other.verify_key))
    )
    lose_the_disk(filled)
    result = securenet("restore", backed_up, "--tail", mirror, "--config", filled.config)
    assert result.exit_code == ExitCode.NEGATIVE
    assert "not signed" in result.stderr


def test_the_backup_of_another_gateway_is_told_apart(filled, backed_up, securenet):
    lose_the_disk(filled)
    filled.config.write_text(filled.config.read_text().replace('"gw-1"', '"gw-9"'))
    result = securenet("restore", backed_up, "--nothing-since", "--config", filled.config)
    assert result.exit_code == ExitCode.USAGE
    assert "securenet/plant/gw-1" in result.stderr
