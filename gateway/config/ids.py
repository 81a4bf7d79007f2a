"""What a name may look like (FORMATS.md §1): one alphabet, two lengths, three reserved words.

Ids are compared bytewise and never become a file name.
"""

from __future__ import annotations

import re
from typing import Final

from gateway.config.model import FLEET, ID

RESERVED: Final = frozenset({".", "..", "gateway"})

_ID: Final = re.compile(ID)
_FLEET: Final = re.compile(FLEET)


def is_id(text: str) -> bool:
    """Whether ``text`` can be a device, gateway or model id: 1-64 characters of the alphabet, not reserved."""
    return _ID.fullmatch(text) is not None and text not in RESERVED


def is_fleet(text: str) -> bool:
    """Whether ``text`` can be a fleet id: 1-32 characters of the alphabet, not reserved."""
    return _FLEET.fullmatch(text) is not None and text not in RESERVED
