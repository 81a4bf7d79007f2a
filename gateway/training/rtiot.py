"""RT-IoT2022: flows of a small IoT network, nine attacks and three kinds of normal traffic.

The index is dropped, for the file is ordered by class; so are the ports, which name the class, and 5,195 rows that
occur before. DOS_SYN_Hping is 77 % of what is left: accuracy says little, macro F1 and balanced accuracy do.

Without ports only 18,272 of the 117,922 rows differ, and DOS_SYN_Hping has 57: a fold drawn by row tests on vectors
that it was trained on. ``vector`` numbers the distinct ones, so that a fold can be drawn by vector.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from gateway.detection.spec import Column, ColumnKind
from gateway.training.data import DataRefused, Flags, Ints, Part, find, folds, rows
from gateway.training.export import fit_column

FILE: Final = "RT_IOT2022.csv"
NORMAL: Final = frozenset({"Thing_Speak", "MQTT_Publish", "Wipro_bulb"})
DROPPED: Final = frozenset({"", "id.orig_p", "id.resp_p"})
CATEGORIES: Final = ("proto", "service")
LABEL: Final = "Attack_type"
_COLUMNS: Final = 85


@dataclass(frozen=True, slots=True)
class Flows:
    """Flows: raw features by name, the class by number, which distinct vector a row is, which rows are attacks."""

    features: Mapping[str, NDArray[Any]]
    kind: Ints
    vector: Ints
    kinds: tuple[str, ...]
    attack: Flags
    dropped: int

    def __len__(self) -> int:
        """How many rows."""
        return len(self.kind)

    def take(self, which: NDArray[Any]) -> Flows:
        """Some of the rows, by number or by flag."""
        features = {name: values[which] for name, values in self.features.items()}
        kind, vector, attack = self.kind[which], self.vector[which], self.attack[which]
        return replace(self, features=features, kind=kind, vector=vector, attack=attack)


def read(folder: Path) -> Flows:
    """Read the set; rows that occur before are dropped (``dropped`` says how many).

    Raises:
        DataRefused: it is missing, or is not the file that it should be.
    """
    path = find(folder, FILE)
    lines = rows(path)
    head = next(lines, [])
    if len(head) != _COLUMNS or head[-1] != LABEL:
        raise DataRefused(f"{path.name}: {_COLUMNS} columns, the last of them {LABEL}, were expected")
    seen: dict[tuple[str, ...], None] = {}
    count = 0
    for row in lines:
        if len(row) != _COLUMNS:
            raise DataRefused(f"{path.name}: a row has {len(row)} columns, {_COLUMNS} were expected")
        seen[tuple(row[1:])] = None
        count += 1
    columns = np.array(list(seen), dtype=np.str_).T
    features: dict[str, NDArray[Any]] = {}
    for name, values in zip(head[1:-1], columns, strict=False):
        if name in DROPPED:
            continue
        try:
            features[name] = values if name in CATEGORIES else values.astype(np.float64)
        except ValueError as error:
            raise DataRefused(f"{path.name}: {name} holds what is no number: {error}") from error
    kinds, kind = np.unique(columns[-1], return_inverse=True)
    names = tuple(str(name) for name in kinds)
    normal = np.array([name in NORMAL for name in names])
    return Flows(features, kind.astype(np.int64), _vectors(features), names, ~normal[kind], count - len(seen))


def columns_of(train: Flows) -> tuple[Column, ...]:
    """The pipeline, fitted on training rows: numbers here span decades, so their logarithms are normalised."""
    made: list[Column] = []
    for name, values in train.features.items():
        if name in CATEGORIES:
            words = tuple(str(word) for word in np.unique(values))
            made.append(Column(name, ColumnKind.CATEGORY, vocabulary=words))
        elif values.min() != values.max():
            made.append(fit_column(name, values, log1p=bool(values.min() >= 0)))
    return tuple(made)


def _vectors(features: Mapping[str, NDArray[Any]]) -> Ints:
    numbers: dict[tuple[object, ...], int] = {}
    every = zip(*(values.tolist() for values in features.values()), strict=True)
    return np.array([numbers.setdefault(vector, len(numbers)) for vector in every], dtype=np.int64)


def firsts(flows: Flows) -> Ints:
    """The row numbers at which each distinct vector is seen first."""
    return np.unique(flows.vector, return_index=True)[1].astype(np.int64)


def folds_by_row(flows: Flows, count: int, seed: int) -> list[Part]:
    """Stratified folds of the rows as they are: equal vectors fall on both sides."""
    return folds(flows.kind, count, seed)


def folds_by_vector(flows: Flows, count: int, seed: int) -> list[Part]:
    """Stratified folds of the distinct vectors: no row is tested whose vector was trained on."""
    return [
        Part(
            np.flatnonzero(np.isin(flows.vector, part.train)).astype(np.int64),
            np.flatnonzero(np.isin(flows.vector, part.held)).astype(np.int64),
        )
        for part in folds(flows.kind[firsts(flows)], count, seed)
    ]


def thinned(flows: Flows, among: Ints, most: int, seed: int) -> Ints:
    """Of some rows, at most ``most`` of each class: 90,000 flows of one flood teach no more than a few thousand."""
    generator = np.random.default_rng(seed)
    shuffled = generator.permutation(among)
    kept = [shuffled[flows.kind[shuffled] == number][:most] for number in range(len(flows.kinds))]
    return np.sort(np.concatenate(kept)).astype(np.int64)
