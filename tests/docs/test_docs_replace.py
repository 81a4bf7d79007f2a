"""The page about replacing a box: the commands of the old box on one folder, those of the new box on another."""

import shutil

import pytest
from docs_page import OPERATIONS, Box, blocks

PAGE = OPERATIONS / "replace.md"


@pytest.mark.slow
def test_the_new_box_goes_on_with_the_log_of_the_old_one(tmp_path):
    old, new = Box(tmp_path / "old"), Box(tmp_path / "new")
    done = old.run("\n".join(blocks(PAGE)))
    assert done.returncode == 0, old.told(done)
    before = old.config.read_text()
    new.config.unlink()
    for carried in ("mnt/backup/move.tar", "root/backup-passphrase"):
        shutil.copy(tmp_path / "old" / carried, tmp_path / "new" / carried)
    move(tmp_path)
    done = new.run("\n".join(blocks(PAGE, "sh new-box")), box=False)
    assert done.returncode == 0, new.told(done)
    assert "The log holds." in done.stdout
    assert "securenet/plant-7/gw-1" in done.stdout
    assert new.config.read_text() == before


def move(tmp_path):
    """The folders stand for two machines with the same paths: what the old one has is out of the way of the new."""
    for place in ("etc/securenet", "etc/credstore", "var/lib/securenet"):
        (tmp_path / "old" / place).rename(tmp_path / "old" / f"{place}.gone")
