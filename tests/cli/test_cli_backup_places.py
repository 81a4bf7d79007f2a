"""A backup that cannot be written, or lacks what belongs in it, says so in words."""

from gateway.ops.exitcodes import ExitCode


def test_a_disk_that_is_not_mounted_is_told_in_words(world, securenet, tmp_path):
    world.fill(messages=3)
    result = securenet("backup", "--out", tmp_path / "mnt" / "b.tar", "--config", world.config)
    assert result.exit_code == ExitCode.CANNOT_CREATE
    assert str(tmp_path / "mnt") in result.stderr
    assert "mounted" in result.stderr


def test_a_registry_file_that_is_not_there_is_told_in_words(world, securenet, tmp_path):
    world.fill(messages=3)
    world.registry.unlink()
    result = securenet("backup", "--out", tmp_path / "b.tar", "--config", world.config)
    assert result.exit_code == ExitCode.NO_INPUT
    assert f"{world.registry} is not there; nothing was written" in result.stderr


def test_a_folder_that_takes_no_files_is_named_and_not_our_hidden_one(world, securenet):
    world.fill(messages=3)
    result = securenet("backup", "--out", "/proc/self/b.tar", "--config", world.config)
    assert result.exit_code == ExitCode.CANNOT_CREATE
    assert ".b.tar." not in result.stderr
    assert "takes no files" in result.stderr
