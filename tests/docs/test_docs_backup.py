"""Every command of the page about backups is run as it stands there, in its order."""

import pytest
from docs_page import OPERATIONS, Box, blocks

PAGE = OPERATIONS / "backup.md"


@pytest.mark.slow
def test_the_pages_drills_end_with_a_gateway_that_runs_under_its_new_id(tmp_path):
    box = Box(tmp_path)
    done = box.run("\n".join(blocks(PAGE)))
    assert done.returncode == 0, box.told(done)
    assert "The backup is whole" in done.stdout
    assert "The log holds." in done.stdout
    assert "securenet/plant-7/gw-1b" in done.stdout
    assert "Traceback" not in box.told(done)
    copied = tmp_path / "mnt/backup/log-of-gw-1"
    assert (copied / "journal.db").is_file()
    assert '"journal.set_aside"' in box.log.read_text()
    for backup in (tmp_path / "mnt/backup").glob("*.tar"):
        assert backup.stat().st_mode & 0o777 == 0o600


def test_the_page_has_an_answer_to_every_exit_code_that_the_commands_can_give():
    page = PAGE.read_text()
    assert all(f"| {code} |" in page for code in (0, 1, 2, 66, 71, 73, 74, 77))
