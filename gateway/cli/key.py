"""``key``: the gateway's keys, and the lines that make them known."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from gateway.cli.key_files import finish as finish_rotation
from gateway.cli.key_files import is_there, next_of, write_secret
from gateway.cli.key_kinds import (
    HYBRID,
    Facts,
    Kind,
    Made,
    Place,
    make,
    named_places,
    path_of,
    place_of,
    public_facts,
    shown_path,
    tell,
)
from gateway.cli.key_steps import Rotation, next_steps
from gateway.cli.options import config_at, config_option
from gateway.cli.output import CliError, emit, json_option
from gateway.config.model import Config
from gateway.ops.exitcodes import ExitCode
from gateway.ops.secrets import CREDENTIAL, SecretError

_ALL = "all"
_which = click.argument("which", required=False, type=click.Choice([*(kind.value for kind in Kind), _ALL]))
_passphrase_option = click.option(
    "--passphrase-file",
    type=click.Path(path_type=Path),
    help="The anchoring key's passphrase, if not where the configuration says.",
)


@click.group()
def key() -> None:
    """Make the gateway's keys, print their public halves, replace them.

    log signs receipts and checkpoints; anchoring is the account that pays for anchors; models are wrapped for hpke.
    """


@key.command("create")
@_which
@config_option
@click.option(
    "--out", type=click.Path(path_type=Path), help="Where to write one key, if not where the configuration says."
)
@_passphrase_option
@click.option("--hybrid", is_flag=True, help="The HPKE key is MLKEM768-X25519, which withstands a quantum computer.")
@json_option
def create(
    which: str | None, config_path: Path, out: Path | None, passphrase_file: Path | None, *, hybrid: bool
) -> None:
    """Make the keys that the configuration names and that are not there yet, or the one that is named here.

    Each is readable by its owner alone. An existing file is never overwritten.
    """
    config = config_at(config_path)
    places, skipped = _to_be_made(config, which, out, passphrase_file)
    made = [_made(config, place, new_passphrase=True, hybrid=hybrid) for place in places]
    for each in made:
        if each.passphrase is not None:
            write_secret(Path(each.place.passphrase_ref), each.passphrase)
        write_secret(Path(each.place.ref), each.data)
    told = [(each.place.kind, {"file": each.place.ref, **_passphrase_facts(each), **each.facts}) for each in made]

    def human() -> None:
        for kind, facts in told:
            _written(facts)
            tell(kind, facts)
            click.echo()
        for problem in skipped.values():
            click.echo(f"Not made: {shown_path(problem)}.")

    emit({**_shape(told), "skipped": skipped}, human)


@key.command("show")
@_which
@config_option
@click.option("--file", "file", type=click.Path(path_type=Path), help="One key, if not where the configuration says.")
@_passphrase_option
@json_option
def show(which: str | None, config_path: Path, file: Path | None, passphrase_file: Path | None) -> None:
    """Print the public halves: verifier key, the miner's line for the registry, account, HPKE key."""
    config = config_at(config_path)
    told: list[tuple[Kind, Facts]] = []
    faults: list[SecretError] = []
    for place in _to_be_shown(config, which, file, passphrase_file):
        try:
            told.append((place.kind, public_facts(config, place)))
        except SecretError as error:
            faults.append(error)
    if not told:
        raise CliError(ExitCode.SECRET, "\n".join(map(str, faults)), map(_fault, faults))

    def human() -> None:
        for number, (kind, facts) in enumerate(told):
            if number:
                click.echo()
            tell(kind, facts)
        for error in faults:
            click.echo(f"securenet: {shown_path(str(error))}", err=True)

    emit({**_shape(told), **({"faults": list(map(_fault, faults))} if faults else {})}, human)
    if faults:
        click.get_current_context().exit(ExitCode.SECRET)


@key.command("rotate")
@click.argument("which", type=click.Choice([kind.value for kind in Kind]))
@config_option
@click.option("--file", "file", type=click.Path(path_type=Path), help="The key, if not where the configuration says.")
@_passphrase_option
@click.option("--finish", is_flag=True, help="Second step: put the new key in the old one's place.")
@click.option("--hybrid", is_flag=True, help="The new HPKE key is MLKEM768-X25519; one that is hybrid stays so.")
@json_option
def rotate(  # noqa: PLR0913 -- one argument for each option
    which: str, config_path: Path, file: Path | None, passphrase_file: Path | None, *, finish: bool, hybrid: bool
) -> None:
    """Replace a key, in two steps, for the registry has to know the new one before the gateway uses it.

    The first writes it beside the old one, as FILE.next, and says what to do. The second, with --finish, puts it in
    the place of FILE, which becomes FILE.old-<time>. Both may be repeated whenever they were cut short.
    """
    config = config_at(config_path)
    place = place_of(config, Kind(which), file, passphrase_file)
    path = path_of(place, "--file")
    if finish:
        _finish(config, place, path)
    else:
        _begin(Rotation(config, config_path, place.kind, path, file is not None), place, hybrid=hybrid)


def _begin(rotation: Rotation, place: Place, *, hybrid: bool) -> None:
    config, path = rotation.config, rotation.path
    following = place._replace(ref=str(next_of(path)))
    old = _public(config, place)
    begun = is_there(Path(following.ref))
    if begun:
        facts = _public(config, following)
    else:
        hybrid = hybrid or old.get("kem") == HYBRID
        made = _made(config, following, new_passphrase=False, hybrid=hybrid)
        write_secret(Path(following.ref), made.data, like=path)
        facts = made.facts
    steps = next_steps(rotation, facts)

    def human() -> None:
        written = "was written before" if begun else "is written"
        click.echo(f"The new key {written} to {shown_path(following.ref)}. The gateway still uses the old one.\n")
        tell(place.kind, facts)
        click.echo("\nWhat to do next:")
        for number, step in enumerate(steps, 1):
            click.echo(f"{number}. {shown_path(step)}")

    emit(
        {"file": str(path), "next_file": following.ref, "begun_before": begun, "old": old, **facts, "next": steps},
        human,
    )


def _finish(config: Config, place: Place, path: Path) -> None:
    following = next_of(path)
    if is_there(following):
        _public(config, place._replace(ref=str(following)))  # what cannot be read is not put in place
    finished = finish_rotation(path, datetime.now(UTC).strftime("%Y%m%d-%H%M%S"))
    facts = _public(config, place)

    def human() -> None:
        if finished.now:
            click.echo(f"{shown_path(path)} is the new key now.")
        else:
            click.echo(f"Nothing was left to do: {shown_path(path)} is the new key.")
        if finished.old is not None:
            click.echo(f"The old one is {shown_path(finished.old)}.")
        click.echo("Restart the gateway: it reads its keys when it starts.\n")
        tell(place.kind, facts)

    old = None if finished.old is None else str(finished.old)
    emit({"file": str(path), "old_file": old, "finished_now": finished.now, **facts}, human)


def _to_be_made(
    config: Config, which: str | None, out: Path | None, passphrase_file: Path | None
) -> tuple[list[Place], dict[str, str]]:
    """The keys to make, and those that are not made with the reason."""
    if which not in {None, _ALL} or (which is None and out is not None):
        place = place_of(config, Kind(which or Kind.LOG), out, passphrase_file)
        path = path_of(place, "--out")
        if is_there(path):
            raise CliError(ExitCode.CANNOT_CREATE, f"{path} is there already; nothing was written")
        return [place], {}
    if out is not None:
        raise CliError(ExitCode.USAGE, "--out is for one key: say which, as in: securenet key create log --out FILE")
    places: list[Place] = []
    skipped: dict[str, str] = {}
    code = ExitCode.USAGE
    for place in named_places(config, passphrase_file):
        if place.ref.startswith(CREDENTIAL):
            skipped[place.kind.value] = (
                f"the {place.kind} key is {place.ref}: "
                f"name the file behind that credential: securenet key create {place.kind} --out FILE"
            )
        elif is_there(Path(place.ref)):
            skipped[place.kind.value] = f"{place.ref} is there already"
            code = ExitCode.CANNOT_CREATE
        else:
            places.append(place)
    if config.chain.rpc and not config.gateway.hpke_key_file:
        skipped[Kind.HPKE.value] = (
            "gateway.hpke_key_file is empty, and a miner on the chain has an HPKE key: name one"
        )
    if not places:
        raise CliError(code, f"{'; '.join(skipped.values())}; nothing was written")
    return places, skipped


def _to_be_shown(config: Config, which: str | None, file: Path | None, passphrase_file: Path | None) -> list[Place]:
    if which in {None, _ALL} and file is None:
        return named_places(config, passphrase_file)
    if which == _ALL:
        raise CliError(ExitCode.USAGE, "--file is for one key: say which, as in: securenet key show log --file FILE")
    place = place_of(config, Kind(which or Kind.LOG), file, passphrase_file)
    if not place.ref:
        raise CliError(ExitCode.USAGE, f"the configuration names no {place.kind} key: name its file with --file")
    return [place]


def _made(config: Config, place: Place, *, new_passphrase: bool, hybrid: bool) -> Made:
    try:
        return make(config, place, new_passphrase=new_passphrase, hybrid=hybrid)
    except SecretError as error:
        raise CliError(ExitCode.SECRET, str(error), [_fault(error)]) from None


def _public(config: Config, place: Place) -> Facts:
    try:
        return public_facts(config, place)
    except SecretError as error:
        raise CliError(ExitCode.SECRET, str(error), [_fault(error)]) from None


def _shape(told: Iterable[tuple[Kind, Facts]]) -> Facts:
    """The log key's facts stand at the top, where they always stood; the others by their kind."""
    shaped: Facts = {}
    for kind, facts in told:
        shaped |= facts if kind is Kind.LOG else {kind.value: facts}
    return shaped


def _passphrase_facts(made: Made) -> Facts:
    if made.place.kind is not Kind.ANCHORING:
        return {}
    return {"passphrase_file": made.place.passphrase_ref, "passphrase_made": made.passphrase is not None}


def _written(facts: Mapping[str, Any]) -> None:
    click.echo(f"Written to {shown_path(facts['file'])}. Keep a copy where the gateway is not.")
    if facts.get("passphrase_made"):
        click.echo(f"Its passphrase was made too: {shown_path(facts['passphrase_file'])}. Keep that copy elsewhere.")
    click.echo()


def _fault(error: SecretError) -> Facts:
    return {"ref": error.ref, "problem": error.problem, "hint": error.hint}
