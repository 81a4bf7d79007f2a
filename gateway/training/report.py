"""The tables and plots of docs/evaluation.md, computed from the results beside it: no figure there is typed by hand.

The page holds prose and marked blocks, ``<!-- computed: NAME -->`` to ``<!-- end -->``. ``securenet-train report
docs`` fills them anew; a test compares.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from gateway.training.metrics import Roc
from gateway.training.plot import Curve, draw

PAGE: Final = "evaluation.md"
RESULTS: Final = "evaluation"
_BLOCK: Final = re.compile(r"(?<=<!-- computed: )(?P<name>[a-z0-9-]+)(?P<open> -->\n).*?(?=<!-- end -->)", re.DOTALL)
_FAMILIES: Final = ("DoS", "Probe", "R2L", "U2R")

Results = Mapping[str, Any]
Lines = list[str]


def percent(share: float | None) -> str:
    """A share as a percentage of one decimal."""
    return "-" if share is None else f"{100 * share:.1f}"


def table(head: Sequence[str], body: Iterable[Sequence[str]]) -> Lines:
    """A Markdown table; all but the first column to the right."""
    rule = ["---"] + ["--:"] * (len(head) - 1)
    return [f"| {' | '.join(cells)} |" for cells in (head, rule, *body)]


def _named(run: Results) -> str:
    rate = run["rate"]
    return f"{run['model']} @ {'0.5' if rate is None else f'{100 * rate:g} %'}"


def _spread(values: Sequence[float]) -> str:
    return f"{percent(float(np.mean(values)))} ± {percent(float(np.std(values)))}"


def _by_entry(results: Results, file: str) -> dict[str, list[Results]]:
    found: dict[str, list[Results]] = {}
    for run in results["runs"]:
        if run["file"] == file:
            found.setdefault(_named(run), []).append(run)
    return found


def _honest(results: Results, file: str) -> Lines:
    head = ["detector", "accuracy", "worst", "found", "false alarms", "worst", "precision", "macro F1", "AUC"]
    body = []
    for name, runs in _by_entry(results, file).items():
        column = {key: [run[key] for run in runs] for key in runs[0]}
        body.append(
            [
                name,
                _spread(column["accuracy"]),
                percent(min(column["accuracy"])),
                _spread(column["recall"]),
                _spread(column["false_alarms"]),
                percent(max(column["false_alarms"])),
                percent(float(np.mean(column["precision"]))),
                percent(float(np.mean(column["macro_f1"]))),
                percent(float(np.mean(column["auc"]))),
            ]
        )
    return table(head, body)


def honest_test(results: Results) -> Lines:
    """KDDTest+, means and deviations over seeds."""
    return _honest(results, "KDDTest+.txt")


def honest_hard(results: Results) -> Lines:
    """KDDTest-21, the same."""
    return _honest(results, "KDDTest-21.txt")


def honest_families(results: Results) -> Lines:
    """What is found of each family, and what remains without copies of training rows."""
    head = ["detector", *_FAMILIES, "attacks unseen in training", "accuracy without copies"]
    body = []
    for name, runs in _by_entry(results, "KDDTest+.txt").items():
        families = [percent(float(np.mean([run["families"].get(one, 0.0) for run in runs]))) for one in _FAMILIES]
        unseen = percent(float(np.mean([run["unseen"] for run in runs])))
        copies = percent(float(np.mean([run["without_copies"]["accuracy"] for run in runs])))
        body.append([name, *families, unseen, copies])
    return table(head, body)


def honest_seeds(results: Results) -> Lines:
    """The chosen detector, seed by seed, on KDDTest+."""
    runs = next(iter(_by_entry(results, "KDDTest+.txt").values()))
    body = [
        [str(run["seed"]), *(percent(run[key]) for key in ("accuracy", "recall", "false_alarms"))] for run in runs
    ]
    return table(["seed", "accuracy", "found", "false alarms"], body)


def random_split(results: Results) -> Lines:
    """The papers' protocol."""
    head = ["model", "accuracy", "worst of five", "found", "false alarms", "macro F1"]
    body = []
    for name in dict.fromkeys(run["model"] for run in results["runs"]):
        column = {
            key: [run[key] for run in results["runs"] if run["model"] == name]
            for key in ("accuracy", "recall", "false_alarms", "macro_f1")
        }
        means = {key: f"{100 * float(np.mean(values)):.2f}" for key, values in column.items()}
        worst = f"{100 * min(column['accuracy']):.2f}"
        body.append([name, means["accuracy"], worst, means["recall"], means["false_alarms"], means["macro_f1"]])
    return table(head, body)


def choice(results: Results) -> Lines:
    """What the candidates did on KDDTrain+ alone, at 1, 2, 3 and 5 % of false alarms on held-out rows."""
    rates = ("0.01", "0.02", "0.03", "0.05")
    head = ["candidate", "AUC", *(f"{what} @ {float(rate):.0%}" for rate in rates for what in ("unseen", "shifted"))]
    body = [
        [name, percent(one["auc"]), *(percent(one[key][rate]) for rate in rates for key in ("found", "shifted"))]
        for name, one in results["candidates"].items()
    ]
    return table(head, body)


def skab(results: Results) -> Lines:
    """SKAB: pooled over all test rows."""
    head = ["method", "F1", "FAR", "MAR", "alarms on the anomaly-free file"]
    body = [
        [
            one["method"],
            f"{one['figures']['f1']:.3f}",
            percent(one["figures"]["false_alarms"]),
            percent(one["figures"]["missed"]),
            percent(one["alarms_on_free"]),
        ]
        for one in results["methods"]
    ]
    return table(head, body)


def rtiot_networks(results: Results) -> Lines:
    """Both networks under both kinds of folds, over all rows and over distinct ones."""
    head = ["network", "folds by", "rows", "accuracy", "sensitivity", "specificity", "kappa", "macro F1"]
    head += ["attacks found", "false alarms"]
    keys = ("accuracy", "sensitivity", "specificity", "kappa", "macro_f1")
    body = [
        [
            run["network"].upper(),
            run["folds_by"],
            run["rows"],
            *(percent(run["classes"][key]) for key in keys),
            percent(run["detection"]["recall"]),
            percent(run["detection"]["false_alarms"]),
        ]
        for run in results["networks"]
    ]
    return table(head, body)


def rtiot_normal(results: Results) -> Lines:
    """Normal-only detectors."""
    head = ["detector", "AUROC", "found at 1 % false alarms", "found at its threshold", "false alarms there"]
    head += ["AUROC, all rows", "found at 1 %, all rows"]
    body = [
        [
            run["detector"],
            f"{run['auc']:.4f}",
            percent(run["found"]),
            percent(run["at_threshold"]["recall"]),
            percent(run["at_threshold"]["false_alarms"]),
            f"{run['auc_all']:.4f}",
            percent(run["found_all"]),
        ]
        for run in results["novelty"]
    ]
    return table(head, body)


def rtiot_attacks(results: Results) -> Lines:
    """What each normal-only detector finds of each attack."""
    runs = results["novelty"]
    body = [[name, *(percent(run["by_attack"][name]) for run in runs)] for name in runs[0]["by_attack"]]
    return table(["attack", *(run["detector"] for run in runs)], body)


def rtiot_classes(results: Results) -> Lines:
    """How many rows and how many distinct vectors each class has."""
    body = [
        [name, f"{rows:,}", f"{results['distinct_by_class'][name]:,}"] for name, rows in results["by_class"].items()
    ]
    return table(["class", "rows", "distinct vectors"], body)


TABLES: Final[Mapping[str, tuple[str, Callable[[Results], Lines]]]] = {
    "nsl-kdd-choice": ("nsl-kdd-choice.json", choice),
    "nsl-kdd-random": ("nsl-kdd-random.json", random_split),
    "nsl-kdd-test": ("nsl-kdd.json", honest_test),
    "nsl-kdd-test-21": ("nsl-kdd.json", honest_hard),
    "nsl-kdd-families": ("nsl-kdd.json", honest_families),
    "nsl-kdd-seeds": ("nsl-kdd.json", honest_seeds),
    "skab": ("skab.json", skab),
    "rt-iot2022-classes": ("rt-iot2022-normal.json", rtiot_classes),
    "rt-iot2022-networks": ("rt-iot2022-networks.json", rtiot_networks),
    "rt-iot2022-normal": ("rt-iot2022-normal.json", rtiot_normal),
    "rt-iot2022-attacks": ("rt-iot2022-normal.json", rtiot_attacks),
}
"""Blocks of the page: the results they come from, and how."""


def _curve(points: Sequence[Sequence[float]]) -> Roc:
    across, up = np.array(points, dtype=np.float64).T
    return Roc(across, up)


def nslkdd_plot(results: Results) -> str:
    """ROC curves on KDDTest+, first seed."""
    curves = [
        Curve(name, _curve(one["points"]), (one["works_at"][0], one["works_at"][1]))
        for name, one in list(results["curves"].items())[:6]
    ]
    told = "; ".join(
        f"{one.name} finds {one.works_at[1]:.0%} at {one.works_at[0]:.1%} false alarms" for one in curves
    )
    return draw("KDDTest+: found against false alarms", f"Seed 1, dots where each threshold lies: {told}.", curves)


def rtiot_plot(results: Results) -> str:
    """ROC curves of the normal-only detectors, first fold."""
    curves = [
        Curve(
            run["detector"],
            _curve(run["curve"]),
            (run["at_threshold"]["false_alarms"], run["at_threshold"]["recall"]),
        )
        for run in results["novelty"]
    ]
    told = "; ".join(f"{run['detector']} has AUROC {run['auc']:.3f}" for run in results["novelty"])
    return draw("RT-IoT2022: found against false alarms", f"Normal-only detectors, first fold: {told}.", curves)


PLOTS: Final[Mapping[str, tuple[str, Callable[[Results], str]]]] = {
    "nsl-kdd-roc.svg": ("nsl-kdd.json", nslkdd_plot),
    "rt-iot2022-roc.svg": ("rt-iot2022-normal.json", rtiot_plot),
}


def documents(docs: Path) -> dict[Path, str]:
    """What the page and its plots should hold; a block whose results are not there stays as it is.

    Raises:
        KeyError: the page has a block that no table has.
    """

    def load(name: str) -> Results | None:
        path = docs / RESULTS / name
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None

    def block(match: re.Match[str]) -> str:
        file, lines = TABLES[match["name"]]
        results = load(file)
        if results is None:
            return match[0]
        return match["name"] + match["open"] + "\n" + "\n".join(lines(results)) + "\n\n"

    page = docs / PAGE
    made = {page: _BLOCK.sub(block, page.read_text(encoding="utf-8"))}
    for name, (file, plot) in PLOTS.items():
        if (results := load(file)) is not None:
            made[docs / RESULTS / name] = plot(results)
    return made
