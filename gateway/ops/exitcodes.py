"""How ``securenet`` ends: one named code for each kind of end, so that scripts and systemd can tell them apart.

From 64 on they are those of BSD's sysexits.h where one fits. systemd restarts a gateway after ``UNAVAILABLE`` and the
like; after ``CONFIG``, ``REGISTRY`` and ``SECRET`` a restart would not help (``RestartPreventExitStatus``).
"""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """The exit codes, all of them."""

    OK = 0
    """Done; for a question: yes."""
    NEGATIVE = 1
    """Done; the answer is no: a proof is invalid, a log does not hold, nothing was found."""
    USAGE = 2
    """The command line is wrong."""
    UNTRUSTED = 3
    """The proof holds in itself, but no key that you trust says whose it is."""
    REGISTRY = 65
    """The registry file is refused."""
    NO_INPUT = 66
    """A file that was named is not there or cannot be read."""
    NO_GATEWAY = 69
    """No running gateway answers on the control socket."""
    SOFTWARE = 70
    """A fault of the gateway's own."""
    UNAVAILABLE = 71
    """The system failed the gateway: disk, worker process, socket."""
    CANNOT_CREATE = 73
    """An output file cannot be written, or stands already."""
    JOURNAL = 74
    """The journal is damaged, or of a newer version."""
    CHAIN = 75
    """The chain cannot be reached, or takes no transaction just now: come again."""
    SECRET = 77
    """A key or password cannot be read, or its file is open to others."""
    CONFIG = 78
    """The configuration is refused."""
    INTERRUPTED = 130
    """Ended by Ctrl-C."""
