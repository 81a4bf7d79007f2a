"""NSL-KDD: reading it, its families of attacks, and the columns that a model of it takes.

41 features, a label and a ``difficulty`` that was made by running classifiers over these very rows: it is dropped at
once, for a model that sees it sees the answer. KDDTest+ and KDDTest-21 are read by ``nslkdd_evaluate`` alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from gateway.detection.spec import Column, ColumnKind
from gateway.training.data import DataRefused, Flags, Words, find, rows
from gateway.training.export import fit_column

TRAIN: Final = "KDDTrain+.txt"
TESTS: Final = ("KDDTest+.txt", "KDDTest-21.txt")

FEATURES: Final = (
    *("duration", "protocol_type", "service", "flag", "src_bytes", "dst_bytes", "land", "wrong_fragment", "urgent"),
    *("hot", "num_failed_logins", "logged_in", "num_compromised", "root_shell", "su_attempted", "num_root"),
    *("num_file_creations", "num_shells", "num_access_files", "num_outbound_cmds", "is_host_login"),
    *("is_guest_login", "count", "srv_count", "serror_rate", "srv_serror_rate", "rerror_rate", "srv_rerror_rate"),
    *("same_srv_rate", "diff_srv_rate", "srv_diff_host_rate", "dst_host_count", "dst_host_srv_count"),
    *("dst_host_same_srv_rate", "dst_host_diff_srv_rate", "dst_host_same_src_port_rate"),
    *("dst_host_srv_diff_host_rate", "dst_host_serror_rate", "dst_host_srv_serror_rate", "dst_host_rerror_rate"),
    "dst_host_srv_rerror_rate",
)
CATEGORIES: Final = ("protocol_type", "service", "flag")
NEVER_VARIES: Final = frozenset({"num_outbound_cmds"})
COUNTS: Final = frozenset(
    {
        *("duration", "src_bytes", "dst_bytes", "wrong_fragment", "urgent", "hot", "num_failed_logins"),
        *("num_compromised", "su_attempted", "num_root", "num_file_creations", "num_shells", "num_access_files"),
        *("count", "srv_count", "dst_host_count", "dst_host_srv_count"),
    }
)
"""Numbers without an upper end: the pipeline takes their logarithm."""

FAMILIES: Final[Mapping[str, str]] = {
    name: family
    for family, names in {
        "normal": "normal",
        "DoS": "apache2 back land mailbomb neptune pod processtable smurf teardrop udpstorm",
        "Probe": "ipsweep mscan nmap portsweep saint satan",
        "R2L": "ftp_write guess_passwd httptunnel imap multihop named phf sendmail snmpgetattack snmpguess spy "
        "warezclient warezmaster worm xlock xsnoop",
        "U2R": "buffer_overflow loadmodule perl ps rootkit sqlattack xterm",
    }.items()
    for name in names.split()
}
"""Papers differ over snmpgetattack, httptunnel and worm; here they are R2L, as in most."""

_MAX_ROWS: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Connections:
    """Rows of one file: raw features by name, the label, its family, and whether it is an attack."""

    features: Mapping[str, NDArray[Any]]
    label: Words
    family: Words
    attack: Flags

    def __len__(self) -> int:
        """How many rows."""
        return len(self.label)

    def take(self, which: NDArray[Any]) -> Connections:
        """Some of the rows, by number or by flag."""
        return Connections(
            {name: values[which] for name, values in self.features.items()},
            *(values[which] for values in (self.label, self.family, self.attack)),
        )


def read(folder: Path, name: str) -> Connections:
    """Read one file of the set, without its ``difficulty``.

    Raises:
        DataRefused: it is missing, or a row has other columns, a strange label or no number where one belongs.
    """
    path = find(folder, name)
    table: list[list[str]] = []
    for number, row in enumerate(rows(path), start=1):
        if number > _MAX_ROWS or len(row) not in {len(FEATURES) + 1, len(FEATURES) + 2}:
            raise DataRefused(f"{path.name} line {number}: 41 features, a label and a difficulty were expected")
        table.append(row[: len(FEATURES) + 1])
    if not table:
        raise DataRefused(f"{path.name} is empty")
    columns = np.array(table, dtype=np.str_).T
    label = columns[-1]
    if strange := sorted(set(label.tolist()) - set(FAMILIES)):
        raise DataRefused(f"{path.name} has labels that belong to no family here: {', '.join(strange[:5])}")
    features: dict[str, NDArray[Any]] = {}
    for feature, values in zip(FEATURES, columns, strict=False):
        try:
            features[feature] = values if feature in CATEGORIES else values.astype(np.float64)
        except ValueError as error:
            raise DataRefused(f"{path.name}: {feature} holds what is no number: {error}") from error
    family = np.array([FAMILIES[name] for name in label.tolist()], dtype=np.str_)
    return Connections(features, label, family, family != "normal")


def columns_of(train: Connections, *, without: frozenset[str] = frozenset()) -> tuple[Column, ...]:
    """The pipeline, fitted on training rows: logarithms of counts, normalisation, one number for each word seen."""
    made: list[Column] = []
    for name in FEATURES:
        if name in NEVER_VARIES | without:
            continue
        values = train.features[name]
        if name in CATEGORIES:
            words = tuple(str(word) for word in np.unique(values))
            made.append(Column(name, ColumnKind.CATEGORY, vocabulary=words))
        else:
            made.append(fit_column(name, values, log1p=name in COUNTS))
    return tuple(made)


def also_in(connections: Connections, train: Connections) -> Flags:
    """Which rows have a feature vector that also occurs in training: 664 of KDDTest+ have."""

    def keys(held: Connections) -> list[tuple[object, ...]]:
        return list(zip(*(held.features[name].tolist() for name in FEATURES), strict=True))

    known = set(keys(train))
    return np.array([key in known for key in keys(connections)], dtype=np.bool_)
