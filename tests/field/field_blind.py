"""Runs a command that may not ask the kernel for its clock: ``adjtimex`` is refused, as under ``ProtectClock=``.

    python field_blind.py COMMAND…

So a test of a wrong clock does not depend on whether the machine that it runs on keeps the time.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
import sys

PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2
RET_ALLOW, RET_ERRNO = 0x7FFF0000, 0x00050000
LOAD_WORD, JUMP_EQUAL, RETURN = 0x20, 0x15, 0x06
ADJTIMEX = {"x86_64": (159, 305), "aarch64": (171, 266)}
"""``adjtimex`` and ``clock_adjtime``."""


class Program(ctypes.Structure):
    """``struct sock_fprog``."""

    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def refuse(numbers: tuple[int, ...]) -> None:
    """From now on these system calls fail with EPERM, in this process and what it becomes (seccomp(2))."""
    rows = [(LOAD_WORD, 0, 0, 0)]
    for at, number in enumerate(numbers):
        rows.append((JUMP_EQUAL, len(numbers) - at, 0, number))
    rows += [(RETURN, 0, 0, RET_ALLOW), (RETURN, 0, 0, RET_ERRNO | errno.EPERM)]
    program = Program(len(rows), b"".join(struct.pack("HBBI", *row) for row in rows))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or libc.prctl(
        PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(program), 0, 0
    ):
        raise OSError(ctypes.get_errno(), "the system calls cannot be refused")


if __name__ == "__main__":
    refuse(ADJTIMEX[platform.machine()])
    os.execvp(sys.argv[1], sys.argv[1:])
