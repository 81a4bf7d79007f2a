"""``securenet-train``: one command a data set, from raw files to figures and models. Nothing is fetched."""

from __future__ import annotations

import importlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import click

from gateway import __version__
from gateway.training.data import DataRefused
from gateway.training.libraries import TrainExtraMissing

DATA = click.Path(exists=True, file_okay=False, path_type=Path)
FILE = click.Path(dir_okay=False, path_type=Path)
FOLDER = click.Path(file_okay=False, path_type=Path)

MORE: Final[Mapping[str, str]] = {
    "mnist": "gateway.training.mnist",
    "nab": "gateway.training.nab",
    "mqttset": "gateway.training.mqttset",
}
"""Sets whose module brings a click command named ``command``: imported when called."""


class Commands(click.Group):
    """The commands here and those of ``MORE``; what is missing or refused is one line, not a traceback."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Every name."""
        return [*super().list_commands(ctx), *MORE]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the module of one of ``MORE``; None when it brings no command."""
        if cmd_name not in MORE:
            return super().get_command(ctx, cmd_name)
        try:
            found = getattr(importlib.import_module(MORE[cmd_name]), "command", None)
        except ModuleNotFoundError:
            return None
        return found if isinstance(found, click.Command) else None

    def invoke(self, ctx: click.Context) -> Any:  # noqa: ANN401 -- click's signature
        """Run the command."""
        try:
            return super().invoke(ctx)
        except (DataRefused, TrainExtraMissing) as error:
            raise click.ClickException(str(error)) from error


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="securenet-train", message="%(prog)s %(version)s")
def cli() -> None:
    """Train and evaluate detection models, reproducible by seed. Data sets are paths: nothing is fetched."""


def keep(path: Path, found: Mapping[str, Any]) -> None:
    """Write results, never over others: an evaluation that is to happen once cannot be repeated unnoticed.

    Raises:
        ClickException: the file is there.
    """
    refuse_existing(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(found, indent=1, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")
    click.echo(f"wrote {path.name}")


def refuse_existing(path: Path) -> None:
    """Say before hours of work that the results would have no place.

    Raises:
        ClickException: the file is there.
    """
    if path.exists():
        raise click.ClickException(f"{path} holds results; name another file to compare with them")


@cli.command("choose")
@click.argument("data", type=DATA)
@click.option("--out", type=FILE, required=True, help="Where the results go; must not exist.")
@click.option("--only", multiple=True, help="This candidate alone; may be repeated.")
@click.option("--seed", default=1, show_default=True)
def choose(data: Path, out: Path, only: tuple[str, ...], seed: int) -> None:
    """Compare the candidates for NSL-KDD on KDDTrain+ alone: unseen attacks, unseen services."""
    from gateway.training import nslkdd, nslkdd_choose, nslkdd_models  # noqa: PLC0415 -- imported when called

    refuse_existing(out)
    train = nslkdd.read(data, nslkdd.TRAIN)
    found: dict[str, Any] = {}
    for name, recipe in nslkdd_models.CANDIDATES.items():
        if only and name not in only:
            continue
        outcome = nslkdd_choose.measure(recipe, train, seed)
        found[name] = outcome._asdict()
        told = "  ".join(
            f"{rate:.3f}: {outcome.found[rate]:.3f} {outcome.alarms[rate]:.3f} {outcome.shifted[rate]:.3f}"
            for rate in nslkdd_choose.RATES
        )
        click.echo(f"{name:44} AUC {outcome.auc:.4f}  {told}")
        out.write_text(json.dumps({"seed": seed, "candidates": found}, indent=1) + "\n", encoding="utf-8")


@cli.group("evaluate")
def evaluate() -> None:
    """Figures for docs/evaluation.md, as JSON."""


@evaluate.command("nsl-kdd")
@click.argument("data", type=DATA)
@click.option("--out", type=FILE, required=True, help="Where the results go; must not exist.")
def evaluate_nslkdd(data: Path, out: Path) -> None:
    """The frozen protocol: fit on KDDTrain+, then look at KDDTest+ and KDDTest-21."""
    from gateway.training import nslkdd_evaluate  # noqa: PLC0415 -- imported when called

    refuse_existing(out)
    keep(out, nslkdd_evaluate.honest(data))


@evaluate.command("nsl-kdd-random")
@click.argument("data", type=DATA)
@click.option("--out", type=FILE, required=True, help="Where the results go; must not exist.")
def evaluate_random(data: Path, out: Path) -> None:
    """The papers' random split of KDDTrain+."""
    from gateway.training import nslkdd_evaluate  # noqa: PLC0415 -- imported when called

    refuse_existing(out)
    keep(out, {"runs": nslkdd_evaluate.random_split(data)})


@evaluate.command("skab")
@click.argument("data", type=DATA)
@click.option("--out", type=FILE, required=True, help="Where the results go; must not exist.")
def evaluate_skab(data: Path, out: Path) -> None:
    """SKAB by its own protocol, causal and with its look-ahead, and baselines that see no sensor."""
    from gateway.training import skab  # noqa: PLC0415 -- imported when called

    refuse_existing(out)
    found = skab.evaluate(skab.read(data), skab.free_of_anomalies(data))
    keep(out, {"methods": [{**one._asdict(), "figures": one.figures._asdict()} for one in found]})


@evaluate.command("rt-iot2022-normal")
@click.argument("data", type=DATA)
@click.option("--out", type=FILE, required=True, help="Where the results go; must not exist.")
def evaluate_rtiot_normal(data: Path, out: Path) -> None:
    """RT-IoT2022: detectors that know normal flows alone."""
    from gateway.training import rtiot, rtiot_evaluate  # noqa: PLC0415 -- imported when called

    refuse_existing(out)
    keep(out, rtiot_evaluate.normal_only(rtiot.read(data)))


@evaluate.command("rt-iot2022-networks")
@click.argument("data", type=DATA)
@click.option("--out", type=FILE, required=True, help="Where the results go; must not exist.")
def evaluate_rtiot_networks(data: Path, out: Path) -> None:
    """RT-IoT2022: a CNN and a CNN-LSTM, in folds by row and by vector. Takes many minutes."""
    from gateway.training import rtiot, rtiot_evaluate  # noqa: PLC0415 -- imported when called

    refuse_existing(out)
    flows = rtiot.read(data)
    found = rtiot_evaluate.networks(flows, lambda one: click.echo(f"{one.network} by {one.folds_by}: {one.classes}"))
    keep(out, found)


@cli.command("nsl-kdd")
@click.argument("data", type=DATA)
@click.option("--results", type=click.Path(exists=True, dir_okay=False, path_type=Path), required=True)
@click.option("--out", type=FOLDER, required=True, help="Folder for the model, its spec and its card.")
@click.option("--seed", default=1, show_default=True)
def nslkdd_model(data: Path, results: Path, out: Path, seed: int) -> None:
    """The chosen detector of NSL-KDD as a model; its card takes the figures of an evaluation's results."""
    from gateway.training import nslkdd_ship  # noqa: PLC0415 -- imported when called

    click.echo(nslkdd_ship.ship(data, json.loads(results.read_text(encoding="utf-8")), out, seed))


@cli.command("rt-iot2022")
@click.argument("data", type=DATA)
@click.option("--results", type=DATA, required=True, help="Folder of the results of both evaluations.")
@click.option("--out", type=FOLDER, required=True, help="Folder for the models, their specs and their cards.")
@click.option("--seed", default=1, show_default=True)
def rtiot_models(data: Path, results: Path, out: Path, seed: int) -> None:
    """A network and a normal-only detector of RT-IoT2022 as models."""
    from gateway.training import rtiot_ship  # noqa: PLC0415 -- imported when called

    held: dict[str, Any] = {}
    for name in ("rt-iot2022-normal.json", "rt-iot2022-networks.json"):
        if (results / name).exists():
            held |= json.loads((results / name).read_text(encoding="utf-8"))
    click.echo(rtiot_ship.ship(data, held, out, seed))


@cli.command("report")
@click.argument("docs", type=DATA)
def report(docs: Path) -> None:
    """Fill the tables of DOCS/evaluation.md and draw its plots, from the results in DOCS/evaluation."""
    from gateway.training import report as made  # noqa: PLC0415 -- imported when called

    for path, text in made.documents(docs).items():
        path.write_text(text, encoding="utf-8")
        click.echo(f"wrote {path.name}")


def main() -> None:
    """Run the command line of the process."""
    cli(prog_name="securenet-train")


if __name__ == "__main__":
    main()
