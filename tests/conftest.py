"""What all tests share: the support modules are importable, property tests are never timed."""

import sys
from pathlib import Path

from hypothesis import settings

sys.path.insert(0, str(Path(__file__).parent))

settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")
