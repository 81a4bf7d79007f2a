"""An authority in a directory, quick to open; and a process that dies at any of its writes."""

import os
from contextlib import contextmanager

import pytest

from gateway.crypto.keystore import ScryptCost
from gateway.vault.authority import Authority, Caller, Recipients, certificate_sha256
from gateway.vault.authority_house import make_house, opened
from gateway.vault.authority_publishers import FILE as PUBLISHERS
from gateway.vault.authority_publishers import load_publishers
from gateway.vault.authority_seal import Passphrase
from gateway.vault.wrap import parse_recipient

NOW_MS = 1_732_165_200_123
CHEAP = ScryptCost(2, 8, 1)
WORDS = Passphrase(b"correct horse", CHEAP)
OTHER_WORDS = Passphrase(b"battery staple", CHEAP)
DIGEST = bytes(range(32))


class Killed(BaseException):
    """What a process feels of SIGKILL: nothing runs any more but what closes its files."""


@contextmanager
def killed_at(step):
    """Die before the write of this number, counted from 1; yields the count so far."""
    done = {"steps": 0}

    def counted(real):
        def call(*arguments, **named):
            done["steps"] += 1
            if done["steps"] == step:
                raise Killed
            return real(*arguments, **named)

        return call

    with pytest.MonkeyPatch.context() as patch:
        for name in ("fsync", "replace", "truncate"):
            patch.setattr(os, name, counted(getattr(os, name)))
        yield done


def made(directory, *tls):
    make_house(directory, WORDS, tls, NOW_MS)
    return directory


def house(directory, unlock=WORDS, why="test"):
    return opened(directory, unlock, NOW_MS, why)


def enlist(directory, name, der, *models):
    listed = ", ".join(f'"{model}"' for model in models)
    with (directory / PUBLISHERS).open("a") as file:
        file.write(
            f'[publishers.{name}]\ncertificate_sha256 = "{certificate_sha256(der).hex()}"\nmodels = [{listed}]\n'
        )


class Told:
    """Grants as a test says."""

    def __init__(self, **keys):
        self.keys = keys

    async def recipients(self, model_id):
        return Recipients(
            "a test", from_chain=False, keys={name: parse_recipient(k) for name, k in self.keys.items()}
        )


def authority(directory, found, grants=None, wall_ms=lambda: NOW_MS):
    return Authority(found.store, found.audit, lambda: load_publishers(directory / PUBLISHERS), grants, wall_ms)


def caller(der):
    return Caller(certificate_sha256(der), "https")
