"""A key command that is killed at any moment leaves whole files, and finishes when it is called again."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.cli.key_files import Finished, finish, is_there, next_of, write_secret
from gateway.cli.output import CliError
from gateway.ops.exitcodes import ExitCode

OLD, NEW = b"old key", b"new key"
STEPS_OF_FINISH = 10
STEPS_OF_WRITE = 12


class Killed(BaseException):
    pass


class Killer:
    """Counts what is asked of the disk, before and after each call, and kills at one of the counts."""

    def __init__(self, monkeypatch, at):
        self.at, self.count = at, 0
        for owner, name in ((os, "link"), (os, "fsync"), (Path, "replace"), (Path, "unlink"), (os, "open")):
            monkeypatch.setattr(owner, name, self.around(getattr(owner, name)))

    def around(self, call):
        def counted(*arguments, **named):
            self.step()
            answer = call(*arguments, **named)
            self.step()
            return answer

        return counted

    def step(self):
        self.count += 1
        if self.count >= self.at:  # the dead clean nothing up
            raise Killed


def killed_at(at, call):
    with pytest.MonkeyPatch.context() as patch:
        killer = Killer(patch, at)
        try:
            call()
        except Killed:
            return True
    assert killer.count < at
    return False


def begun(folder):
    path = folder / "key.pem"
    write_secret(path, OLD)
    write_secret(next_of(path), NEW, like=path)
    return path


def olds(path):
    return [each.read_bytes() for each in path.parent.iterdir() if ".old-" in each.name]


def test_a_secret_is_closed_to_others_and_never_written_over_another(tmp_path):
    path = tmp_path / "key"
    write_secret(path, OLD)
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.stat().st_nlink == 1
    with pytest.raises(CliError, match="there already; nothing was written"):
        write_secret(path, NEW)
    assert path.read_bytes() == OLD
    assert [each.name for each in tmp_path.iterdir()] == ["key"]


@pytest.mark.parametrize("name", ["none/key", "file/key", "a\0b", "x" * 300])
def test_what_cannot_be_written_is_told_by_its_code(tmp_path, name):
    (tmp_path / "file").touch()
    with pytest.raises(CliError, match="cannot be written") as caught:
        write_secret(tmp_path / name, NEW)
    assert caught.value.exit_code == ExitCode.CANNOT_CREATE


def test_a_link_that_leads_nowhere_is_not_written_through(tmp_path):
    (tmp_path / "key").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(CliError, match="there already"):
        write_secret(tmp_path / "key", NEW)
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_the_next_key_belongs_to_the_owner_of_the_one_before(tmp_path):
    path = tmp_path / "key"
    write_secret(path, OLD)
    os.chown(path, 12345, 12345)
    write_secret(next_of(path), NEW, like=path)
    status = next_of(path).stat()
    assert (status.st_uid, status.st_gid, status.st_mode & 0o777) == (12345, 12345, 0o600)


def test_a_finished_rotation_keeps_the_old_key_and_says_so_again(tmp_path):
    path = begun(tmp_path)
    old = tmp_path / "key.pem.old-20260101-000000"
    assert finish(path, "20260101-000000") == Finished(old, now=True)
    assert (path.read_bytes(), old.read_bytes(), is_there(next_of(path))) == (NEW, OLD, False)
    assert path.stat().st_nlink == old.stat().st_nlink == 1
    assert finish(path, "20260202-000000") == Finished(old, now=False)


@pytest.mark.parametrize("at", range(1, STEPS_OF_WRITE + 3))
def test_a_write_that_is_killed_leaves_all_or_nothing(tmp_path, at):
    path = tmp_path / "key"
    killed = killed_at(at, lambda: write_secret(path, NEW))
    assert killed or at > STEPS_OF_WRITE
    if is_there(path):
        assert path.read_bytes() == NEW
    else:
        write_secret(path, NEW)
        assert [each.name for each in tmp_path.iterdir()] == ["key"]
    assert path.read_bytes() == NEW


@given(st.lists(st.integers(1, STEPS_OF_FINISH + 2), max_size=6))
def test_a_rotation_killed_again_and_again_never_lacks_a_key_and_ends_as_one(tmp_path_factory, kills):
    path = begun(tmp_path_factory.mktemp("rotation"))
    for number, at in enumerate(kills):
        killed_at(at, lambda: finish(path, f"20260101-{number:06}"))  # noqa: B023 -- called at once
        assert path.read_bytes() in {OLD, NEW}
        assert {OLD, NEW} <= {path.read_bytes(), *olds(path), *([NEW] if is_there(next_of(path)) else [])}
    assert finish(path, "20270101-000000").old is not None
    assert (path.read_bytes(), olds(path), is_there(next_of(path))) == (NEW, [OLD], False)


@pytest.mark.parametrize("at", range(1, STEPS_OF_FINISH + 1))
def test_every_single_kill_is_one_of_the_three_states(tmp_path, at):
    path = begun(tmp_path)
    assert killed_at(at, lambda: finish(path, "20260101-000000"))
    state = (path.read_bytes(), olds(path), is_there(next_of(path)))
    assert state in [(OLD, [], True), (OLD, [OLD], True), (NEW, [OLD], False)]
    finish(path, "20260102-000000")
    assert (path.read_bytes(), olds(path), is_there(next_of(path))) == (NEW, [OLD], False)


def test_a_key_that_someone_moved_away_does_not_stop_the_rotation(tmp_path):
    path = begun(tmp_path)
    path.rename(tmp_path / "aside")
    assert finish(path, "20260101-000000") == Finished(None, now=True)
    assert path.read_bytes() == NEW


def test_a_rotation_that_never_began_or_was_given_up_is_not_finished(tmp_path):
    path = begun(tmp_path)
    os.link(path, tmp_path / "key.pem.old-20260101-000000")  # an earlier call came as far as this
    next_of(path).unlink()
    for _ in range(2):
        with pytest.raises(CliError, match="has begun") as caught:
            finish(path, "20260102-000000")
        assert caught.value.exit_code == ExitCode.NEGATIVE
    assert path.read_bytes() == OLD


def test_an_old_key_of_the_same_second_is_not_overwritten(tmp_path):
    path = begun(tmp_path)
    (tmp_path / "key.pem.old-20260101-000000").write_bytes(b"older")
    with pytest.raises(CliError, match="there already; try again"):
        finish(path, "20260101-000000")
    assert path.read_bytes() == OLD


def test_a_directory_that_is_not_there_is_told_by_its_code(tmp_path):
    with pytest.raises(CliError, match="cannot be finished") as caught:
        finish(tmp_path / "none" / "key", "20260101-000000")
    assert caught.value.exit_code == ExitCode.CANNOT_CREATE


def test_a_file_system_without_hard_links_changes_nothing(tmp_path, monkeypatch):
    path = begun(tmp_path)

    def refuse(*_names):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    with pytest.raises(CliError, match="Operation not permitted; nothing is lost"):
        finish(path, "20260101-000000")
    with pytest.raises(CliError, match="cannot be written: Operation not permitted"):
        write_secret(tmp_path / "other", NEW)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["key.pem", "key.pem.next"]
    assert path.read_bytes() == OLD
