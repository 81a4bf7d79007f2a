"""NSL-KDD is read without its difficulty; the choice and the frozen protocol run on rows made here."""

from __future__ import annotations

from dataclasses import replace

import pytest

np = pytest.importorskip("numpy")

from gateway.training import nslkdd, nslkdd_choose, nslkdd_evaluate  # noqa: E402 -- after the skip
from gateway.training.data import DataRefused  # noqa: E402 -- likewise
from gateway.training.export import rows_of  # noqa: E402 -- likewise

SERVICES = ("http", "smtp", "domain_u", "ftp_data", "telnet", "finger", "auth", "ntp_u")
ATTACKS = (
    *("neptune", "smurf", "back", "teardrop", "satan", "ipsweep", "nmap", "portsweep"),
    *("guess_passwd", "warezclient", "imap", "phf", "rootkit", "perl", "loadmodule", "buffer_overflow"),
)


def line(generator, label, number):
    attack = label != "normal"
    numbers = {name: generator.integers(0, 3) for name in nslkdd.FEATURES}
    numbers |= {"count": generator.integers(1, 9) + 200 * attack, "serror_rate": 0.9 * attack}
    numbers |= {"protocol_type": "tcp", "flag": "S0" if attack else "SF", "service": SERVICES[number % 8]}
    return ",".join(str(numbers[name]) for name in nslkdd.FEATURES) + f",{label},{generator.integers(0, 22)}\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    generator, place = np.random.default_rng(1), tmp_path_factory.mktemp("nsl")
    for name, extra in (("KDDTrain+.txt", ()), ("KDDTest+.txt", ("mscan", "worm")), ("KDDTest-21.txt", ("mscan",))):
        labels = ["normal"] * 160 + [*ATTACKS, *extra] * 6
        (place / name).write_text("".join(line(generator, label, at) for at, label in enumerate(labels)))
    return place


def test_the_difficulty_is_dropped_and_families_are_told(folder):
    train = nslkdd.read(folder, nslkdd.TRAIN)
    assert len(train) == 256
    assert set(train.features) == set(nslkdd.FEATURES)
    assert set(train.family) == {"normal", "DoS", "Probe", "R2L", "U2R"}
    assert (train.attack == (train.label != "normal")).all()


def test_every_attack_of_the_set_belongs_to_one_family():
    assert len(nslkdd.FAMILIES) == 1 + 11 + 6 + 15 + 7


def test_the_pipeline_has_no_column_that_never_varies(folder):
    train = nslkdd.read(folder, nslkdd.TRAIN)
    columns = nslkdd.columns_of(train, without=frozenset({"service"}))
    assert not {"num_outbound_cmds", "service", "difficulty"} & {column.name for column in columns}
    inputs = rows_of(columns, train.features)
    assert inputs.shape == (256, sum(column.width for column in columns))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("1,2,3\n", "41 features"),
        (
            ",".join(["0", "tcp", "http", "SF", *["0"] * 37, "martian", "3"]) + "\n",
            "belong to no family here: martian",
        ),
        (",".join(["x", "tcp", "http", "SF", *["0"] * 37, "normal", "3"]) + "\n", "duration holds what is no number"),
    ],
)
def test_another_file_is_refused(tmp_path, text, message):
    (tmp_path / "KDDTrain+.txt").write_text(text)
    with pytest.raises(DataRefused, match=message):
        nslkdd.read(tmp_path, nslkdd.TRAIN)


def test_rows_that_training_holds_too_are_counted(folder):
    train = nslkdd.read(folder, nslkdd.TRAIN)
    assert nslkdd.also_in(train.take(np.arange(9)), train).all()
    changed = {**train.features, "duration": train.features["duration"] + 1e6}
    assert not nslkdd.also_in(replace(train, features=changed), train).any()


def test_folds_leave_types_and_services_out_once_and_train_on_none_of_them(folder):
    train = nslkdd.read(folder, nslkdd.TRAIN)
    unseen, gone = [], []
    for fold in nslkdd_choose.folds_of(train, seed=1):
        assert not set(fold.unseen.label) & set(fold.train.label)
        assert not fold.shifted.attack.any()
        quiet = fold.train.take(~fold.train.attack)
        assert not set(fold.shifted.features["service"]) & set(quiet.features["service"])
        unseen += sorted(set(fold.unseen.label))
        gone += sorted(set(fold.shifted.features["service"]))
    assert sorted(unseen) == sorted(ATTACKS)
    assert len(gone) == len(set(gone)) == len(SERVICES) - nslkdd_choose.COMMON


def test_the_protocol_is_frozen():
    assert nslkdd_evaluate.SEEDS == (1, 2, 3, 4, 5)
    assert nslkdd_evaluate.PROTOCOL[0] == nslkdd_evaluate.CHOSEN
    assert all(nslkdd_evaluate.recipe_of(entry.model) for entry in nslkdd_evaluate.PROTOCOL)


def test_the_protocol_runs_from_files_to_figures(folder):
    entry = nslkdd_evaluate.Entry("PCA residual, 8", 0.05)
    found = nslkdd_evaluate.honest(folder, [entry], seeds=(1, 2))
    assert [(run["seed"], run["file"]) for run in found["runs"]] == [
        (seed, file) for file in nslkdd.TESTS for seed in (1, 2)
    ]
    first = found["runs"][0]
    assert set(first["families"]) == {"DoS", "Probe", "R2L", "U2R"}
    assert 0 <= first["false_alarms"] <= 1
    assert first["unseen"] is not None
    assert found["files"]["KDDTest+.txt"]["normal"] == 160
    assert found["curves"][entry.model]["points"][0][0] == 0.0
