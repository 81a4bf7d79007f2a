"""Every command of the page about upgrades is run as it stands there, in its order."""

import pytest
from docs_page import OPERATIONS, Box, blocks


@pytest.mark.slow
def test_the_page_ends_with_a_gateway_whose_log_holds(tmp_path):
    box = Box(tmp_path)
    done = box.run("\n".join(blocks(OPERATIONS / "upgrade.md")))
    assert done.returncode == 0, box.told(done)
    assert "The log holds." in done.stdout
    assert (tmp_path / "mnt/backup/before-upgrade.tar").is_file()
