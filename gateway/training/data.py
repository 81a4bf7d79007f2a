"""Raw files in, arrays out: bounded reading, digests of what was trained on, seeds, splits that a seed decides."""

from __future__ import annotations

import gzip
import hashlib
import lzma
import os
import random
from collections.abc import Iterable, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Final, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from gateway.training.libraries import tensorflow

Floats = NDArray[np.float64]
Singles = NDArray[np.float32]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]
Words = NDArray[np.str_]

MAX_BYTES: Final = 512 << 20
"""More than any file of the sets here holds when unpacked: a damaged or hostile archive ends there."""

_STEP: Final = 1 << 20


class DataRefused(ValueError):
    """A file is not what its name promises; the message says what was expected."""


def _open(path: Path) -> IO[bytes]:
    if path.suffix == ".gz":
        return cast("IO[bytes]", gzip.open(path, "rb"))
    return lzma.open(path, "rb") if path.suffix == ".xz" else path.open("rb")


def read_bytes(path: Path, limit: int = MAX_BYTES) -> bytes:
    """Read a plain, ``.gz`` or ``.xz`` file, unpacked.

    Raises:
        DataRefused: it is missing, damaged or longer than ``limit``.
    """
    try:
        with _open(path) as file:
            parts, size = [], 0
            while part := file.read(_STEP):
                size += len(part)
                if size > limit:
                    raise DataRefused(f"{path.name} is longer than {limit} bytes when unpacked")
                parts.append(part)
    except (OSError, EOFError, lzma.LZMAError) as error:
        raise DataRefused(f"{path.name} cannot be read: {error}") from error
    return b"".join(parts)


def find(folder: Path, name: str) -> Path:
    """The file of that name in the folder, packed or not.

    Raises:
        DataRefused: there is none.
    """
    for suffix in ("", ".xz", ".gz"):
        if (path := folder / (name + suffix)).is_file():
            return path
    raise DataRefused(f"{folder} holds no {name} (nor {name}.xz, {name}.gz)")


def rows(path: Path, separator: str = ",") -> Iterator[list[str]]:
    """The lines of a file as lists of texts. None of the sets quotes a separator.

    Raises:
        DataRefused: the file cannot be read or is not UTF-8.
    """
    try:
        text = read_bytes(path).decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataRefused(f"{path.name} is not UTF-8 text") from error
    for line in text.splitlines():
        if line:
            yield line.split(separator)


def digest(paths: Iterable[Path]) -> str:
    """SHA-256 over what the files hold, unpacked: the name, length and SHA-256 of each, by name.

    It goes into the card as the training data's digest and does not depend on how a file is packed.
    """
    whole = hashlib.sha256()
    named = sorted((path.name.removesuffix(".xz").removesuffix(".gz"), path) for path in paths)
    for name, path in named:
        held = read_bytes(path)
        whole.update(f"{name} {len(held)} {hashlib.sha256(held).hexdigest()}\n".encode())
    return whole.hexdigest()


def seed_everything(seed: int) -> np.random.Generator:
    """Seed Python, NumPy and, where it is installed, TensorFlow; ask it for deterministic operations.

    One seed, one machine and one version of the libraries give one model. Across machines the last bits differ.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 -- scikit-learn and Keras layers read the legacy state
    if find_spec("tensorflow") is not None:
        tf = tensorflow()
        tf.keras.utils.set_random_seed(seed)
        tf.config.experimental.enable_op_determinism()
    return np.random.default_rng(seed)


class Part(NamedTuple):
    """Row numbers of a split: what is trained on and what is held out."""

    train: Ints
    held: Ints


def stratified(labels: Sequence[object] | NDArray[np.generic], share: float, seed: int) -> Part:
    """Hold out ``share`` of each label's rows, at least one where there are two."""
    generator = np.random.default_rng(seed)
    names = np.asarray(labels)
    held: list[Ints] = []
    for name in np.unique(names):
        members = generator.permutation(np.flatnonzero(names == name))
        count = max(round(share * len(members)), int(len(members) > 1))
        held.append(members[:count])
    out = np.sort(np.concatenate(held)).astype(np.int64)
    return Part(np.setdiff1d(np.arange(len(names), dtype=np.int64), out), out)


def folds(labels: Sequence[object] | NDArray[np.generic], count: int, seed: int) -> list[Part]:
    """Stratified folds: each row is held out exactly once, each label is spread as evenly as it can be."""
    generator = np.random.default_rng(seed)
    names = np.asarray(labels)
    fold = np.zeros(len(names), dtype=np.int64)
    for number, name in enumerate(np.unique(names)):
        members = generator.permutation(np.flatnonzero(names == name))
        fold[members] = (np.arange(len(members)) + number) % count
    every = np.arange(len(names), dtype=np.int64)
    return [Part(every[fold != held], every[fold == held]) for held in range(count)]
