"""The store: sealed, replaced in one step, and closed to everything but what opens it."""

import json
import os

import pytest
from authority_kit import CHEAP, NOW_MS, OTHER_WORDS, WORDS, Killed, house, killed_at, made

from gateway.vault.authority_audit import verify
from gateway.vault.authority_disk import StoreRefused
from gateway.vault.authority_house import audit_key, make_house, public_key, rotate
from gateway.vault.authority_seal import Passphrase, RootKey, root_key_of
from gateway.vault.authority_store import FILE, open_store
from gateway.vault.authority_words import AuthorityRefused, Refusal


def issue(store, model="kdd", version=1, publisher="acme"):
    return store.issue(model, version, publisher, NOW_MS)[0]


@pytest.fixture
def directory(tmp_path):
    return made(tmp_path / "authority")


def test_a_key_once_made_is_the_same_one_for_ever(directory):
    with house(directory) as found:
        key = issue(found.store)
        assert len(key) == 32
        assert found.store.issue("kdd", 1, "acme", NOW_MS) == (key, False)
        assert issue(found.store, version=2) != key
        assert issue(found.store, "mnist") != key
    with house(directory) as found:
        assert found.store.issue("kdd", 1, "acme", NOW_MS) == (key, False)
        assert found.store.key("kdd", 1, "acme") == key


def test_versions_rise_and_an_older_one_that_has_a_key_keeps_it(directory):
    with house(directory) as found:
        key = issue(found.store, version=3)
        issue(found.store, version=7)
        for version in (1, 2, 4, 6):
            with pytest.raises(AuthorityRefused) as refused:
                issue(found.store, version=version)
            assert refused.value.reason is Refusal.VERSION_NOT_RISING
        assert issue(found.store, version=3) == key


def test_a_key_is_its_publishers_alone(directory):
    with house(directory) as found:
        issue(found.store)
        for ask in (found.store.key, lambda *asked: found.store.issue(*asked, NOW_MS)):
            with pytest.raises(AuthorityRefused) as refused:
                ask("kdd", 1, "other")
            assert refused.value.reason is Refusal.OF_ANOTHER_PUBLISHER
        with pytest.raises(AuthorityRefused) as refused:
            found.store.key("kdd", 2, "acme")
        assert refused.value.reason is Refusal.NO_KEY


def test_nothing_on_the_disk_holds_a_key_or_the_passphrase(directory):
    with house(directory) as found:
        secrets = [issue(found.store, version=number) for number in range(1, 5)]
        secrets += [bytes(found.store._root), found.store.secret("signing"), audit_key(found.store), WORDS.words]
    for path in directory.rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            assert path.stat().st_mode & 0o077 == 0
            for secret in secrets:
                assert secret not in data
                assert secret.hex().encode() not in data


def test_nothing_that_is_shown_holds_a_key(directory):
    with house(directory) as found:
        key = issue(found.store)
        shown = [repr(found), repr(found.store.rows), repr(WORDS), repr(RootKey(key)), str(found.store.rows[0])]
        with pytest.raises(TypeError):
            found.store.__reduce__()
        assert all(key.hex() not in text and repr(key)[2:-1] not in text for text in shown)


def test_the_root_key_is_overwritten_when_the_store_is_closed(directory):
    store = open_store(directory, WORDS)
    root = store._root
    assert any(root)
    store.close()
    assert not any(root)


def test_another_passphrase_opens_nothing(directory):
    with pytest.raises(StoreRefused, match="not opened by this passphrase"):
        open_store(directory, OTHER_WORDS)
    with pytest.raises(StoreRefused, match="by a passphrase"):
        open_store(directory, RootKey(bytes(32)))


def test_every_change_of_the_file_is_refused(directory):
    with house(directory) as found:
        issue(found.store)
    path = directory / FILE
    whole = path.read_bytes()
    for at in range(len(whole) - 1):
        changed = bytearray(whole)
        changed[at] ^= 0x01
        path.write_bytes(changed)
        with pytest.raises(StoreRefused):
            open_store(directory, WORDS)
    for data in (b"", whole[:-3], b"[" * 100_000, b"{}", b"\xff" * 10):
        path.write_bytes(data)
        with pytest.raises(StoreRefused):
            open_store(directory, WORDS)
    path.write_bytes(whole)
    open_store(directory, WORDS).close()


def test_rows_cannot_be_taken_out_or_exchanged(directory):
    with house(directory) as found:
        issue(found.store, version=1)
        issue(found.store, version=2)
    path = directory / FILE
    whole = json.loads(path.read_bytes())
    one, two = whole["keys"]
    for rows in ([one], [two, one], [[*one[:-1], two[-1]], [*two[:-1], one[-1]]]):
        path.write_text(json.dumps(whole | {"keys": rows}, separators=(",", ":")) + "\n")
        with pytest.raises(StoreRefused):
            open_store(directory, WORDS)


@pytest.mark.parametrize("changes", [{"n": 1 << 30}, {"n": 3}, {"n": 0}, {"r": 1 << 29}, {"p": 1 << 29}, {"n": True}])
def test_what_scrypt_is_told_by_a_file_is_bounded_before_it_begins(directory, changes):
    path = directory / FILE
    whole = json.loads(path.read_bytes())
    whole["root"] |= changes
    path.write_text(json.dumps(whole))
    with pytest.raises(StoreRefused, match="damaged"):
        open_store(directory, WORDS)


@pytest.mark.parametrize("sealed", ["", "00" * 7, "00" * 27])
def test_a_root_key_that_is_cut_short_is_a_damaged_store(directory, sealed):
    path = directory / FILE
    whole = json.loads(path.read_bytes())
    whole["root"]["sealed"] = sealed
    path.write_text(json.dumps(whole))
    with pytest.raises(StoreRefused, match="damaged"):
        open_store(directory, WORDS)


def test_one_process_at_a_time_has_the_store(directory):
    with house(directory), pytest.raises(StoreRefused, match="in use"):
        open_store(directory, WORDS)
    open_store(directory, WORDS).close()


def test_a_store_that_others_may_read_is_refused_with_the_command_that_closes_it(directory):
    directory.chmod(0o750)
    with pytest.raises(StoreRefused, match="chmod 700"):
        open_store(directory, WORDS)
    directory.chmod(0o700)
    (directory / FILE).chmod(0o640)
    with pytest.raises(StoreRefused, match="chmod 600"):
        open_store(directory, WORDS)


def test_a_store_is_made_once_and_there_is_none_before(tmp_path, directory):
    with pytest.raises(StoreRefused, match="holds a store already"):
        make_house(directory, WORDS, (), NOW_MS)
    (tmp_path / "empty").mkdir(mode=0o700)
    with pytest.raises(StoreRefused, match="no store"):
        open_store(tmp_path / "empty", WORDS)
    with pytest.raises(StoreRefused, match="cannot be opened"):
        open_store(tmp_path / "nowhere", WORDS)


def test_a_root_key_may_lie_elsewhere_and_move_in_and_out(tmp_path):
    first, second = RootKey(b"\x01" * 32), root_key_of(b"02" * 32 + b"\n")
    directory = tmp_path / "authority"
    make_house(directory, first, (), NOW_MS)
    assert json.loads((directory / FILE).read_bytes())["root"] == {"kind": "external"}
    with house(directory, first) as found:
        key = issue(found.store)
        with pytest.raises(StoreRefused, match="is the old one"):
            rotate(found, first, NOW_MS)
        assert rotate(found, second, NOW_MS) == 2
    with pytest.raises(StoreRefused, match="number 2"):
        open_store(directory, first)
    with house(directory, second) as found:
        rotate(found, WORDS, NOW_MS)
    with house(directory) as found:
        assert found.store.key("kdd", 1, "acme") == key
        assert found.store.by_passphrase
        assert found.store.generation == 3
    with pytest.raises(StoreRefused, match="32 bytes"):
        root_key_of(b"short")


def test_a_rotation_changes_every_seal_and_no_key(directory):
    with house(directory) as found:
        keys = [issue(found.store, version=number) for number in range(1, 6)]
        sealed = {row.sealed for row in found.store.rows}
        public, root = public_key(found.store), bytes(found.store._root)
        rotate(found, OTHER_WORDS, NOW_MS)
        assert bytes(found.store._root) != root
        assert sealed.isdisjoint(row.sealed for row in found.store.rows)
        assert [found.store.key("kdd", number, "acme") for number in range(1, 6)] == keys
    with pytest.raises(StoreRefused):
        open_store(directory, WORDS)
    with house(directory, OTHER_WORDS) as found:
        assert [found.store.key("kdd", number, "acme") for number in range(1, 6)] == keys
        assert public_key(found.store) == public


def steps_of(work):
    with killed_at(0) as done:
        work()
    return done["steps"]


def test_a_process_that_dies_anywhere_in_a_rotation_leaves_the_old_store_or_the_new_one(tmp_path):
    step, ends = 0, set()
    while True:
        step += 1
        directory = made(tmp_path / f"authority-{step}")
        with house(directory) as found:
            keys = [issue(found.store, version=number) for number in (1, 2, 3)]
        finished = False
        with house(directory) as found:
            try:
                with killed_at(step):
                    rotate(found, OTHER_WORDS, NOW_MS)
                finished = True
            except Killed:
                pass
        opening = []
        for unlock in (WORDS, OTHER_WORDS):
            try:
                with house(directory, unlock, "after") as found:
                    assert [found.store.key("kdd", number, "acme") for number in (1, 2, 3)] == keys
                    issue(found.store, version=3 + step)
                    report = verify(directory, audit_key(found.store))
                    assert not report.findings
                    opening.append(unlock)
            except StoreRefused:
                pass
        assert len(opening) == 1
        ends.add((opening[0] is OTHER_WORDS, finished))
        assert not list(directory.glob(".*"))
        if finished:
            break
    assert step > 10
    assert ends == {(False, False), (True, False), (True, True)}


def test_a_process_that_dies_in_issuing_gave_nobody_a_key(tmp_path):
    directory = made(tmp_path / "authority")
    for step in range(1, 4):
        with house(directory) as found, pytest.raises(Killed), killed_at(step):
            issue(found.store, version=step)
        with house(directory) as found:
            first = issue(found.store, version=step)
            assert issue(found.store, version=step) == first


def test_a_process_that_dies_in_the_making_can_make_it_again(tmp_path):
    step = 0
    while True:
        step += 1
        directory = tmp_path / f"authority-{step}"
        try:
            with killed_at(step):
                make_house(directory, WORDS, ("localhost",), NOW_MS)
            break
        except Killed:
            if not (directory / FILE).exists():
                make_house(directory, WORDS, ("localhost",), NOW_MS)
        with house(directory) as found:
            issue(found.store)
    assert step > 10


def test_a_disk_that_is_full_gives_no_key_and_the_store_goes_on(directory, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    with house(directory) as found:
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", full)
            with pytest.raises(OSError, match="No space"):
                issue(found.store)
        assert not found.store.rows
        issue(found.store)
        assert not list(directory.glob(".*"))


def test_the_default_cost_is_that_of_keystores():
    assert Passphrase(b"x").cost.n == 1 << 15
    assert CHEAP.n == 2
