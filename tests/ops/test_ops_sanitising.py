"""Text is made harmless also where the machine is at its end."""

import subprocess
import sys

_NO_FILE_OPENS = """
import resource
from gateway.ops.sanitising import sanitise
resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))
print(sanitise("a\\nb\\x1b"))
"""


def test_a_control_character_is_escaped_while_no_file_can_be_opened():
    """Python reads a codec from the disk at its first use: a line that tells of EMFILE met it again, and was lost."""
    done = subprocess.run([sys.executable, "-c", _NO_FILE_OPENS], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("a\\nb\\x1b\n", "")
