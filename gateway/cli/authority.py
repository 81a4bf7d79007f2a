"""``authority``: CENTAUTH, which makes the keys of models, guards them, and says to whom it gave them."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, ParamSpec, TypeVar

import click

from gateway.cli.chain_link import Target, address_option, on_chain
from gateway.cli.options import write_new
from gateway.cli.output import CliError, emit, facts, json_option, plain, table, to_json, wants_json
from gateway.ops.exitcodes import ExitCode
from gateway.ops.secrets import SecretError, load_log_key, load_passphrase, read_secret
from gateway.vault.authority_disk import StoreRefused
from gateway.vault.authority_words import AuthorityRefused, Refusal

if TYPE_CHECKING:
    from gateway.vault.authority_seal import Unlock

P = ParamSpec("P")
R = TypeVar("R")

DEFAULT_DIRECTORY: Final = Path("/var/lib/securenet/authority")
_ROOT: Final = ("passphrase_file", "root_key")


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


directory_option: Callable[[Callable[P, R]], Callable[P, R]] = click.option(
    "--dir",
    "directory",
    type=click.Path(path_type=Path),
    default=DEFAULT_DIRECTORY,
    show_default=True,
    envvar="SECURENET_AUTHORITY_DIR",
    help="The authority's directory.",
)
_file: Final = click.Path(path_type=Path)


def in_house(command: Callable[..., R]) -> Callable[..., R]:
    """Add the options that open the store; the command gets ``directory`` and ``unlock``, and its errors an exit."""

    @directory_option
    @click.option(
        "--passphrase-file",
        default="",
        envvar="SECURENET_AUTHORITY_PASSPHRASE_FILE",
        show_envvar=True,
        help="What the root key is sealed with: a path or credential:NAME.",
    )
    @click.option(
        "--root-key",
        default="",
        envvar="SECURENET_AUTHORITY_ROOT_KEY",
        show_envvar=True,
        help="Or the root key itself, 32 bytes, likewise.",
    )
    @functools.wraps(command)
    def wrapper(*, passphrase_file: str, root_key: str, **options: Any) -> R:  # noqa: ANN401 -- click's values
        with authority_errors():
            unlock = functools.partial(unlock_of, passphrase_file, root_key, "--passphrase-file or --root-key")
            return command(unlock=unlock, **options)

    return wrapper


def unlock_of(passphrase_file: str, root_key: str, names: str) -> Unlock:
    """What opens the store, read from its file, or end with ``USAGE`` or ``SECRET``."""
    from gateway.vault.authority_seal import Passphrase, root_key_of  # noqa: PLC0415 -- lazy: --help stays fast

    if bool(passphrase_file) == bool(root_key):
        raise CliError(ExitCode.USAGE, f"what opens the store? give {names}, one of them")
    if passphrase_file:
        return Passphrase(load_passphrase(passphrase_file))
    return root_key_of(read_secret(root_key))


@contextmanager
def authority_errors() -> Iterator[None]:
    """Every error of the authority as a named exit."""
    try:
        yield
    except AuthorityRefused as refused:
        detail = {"error": str(refused.reason), "problem": refused.detail}
        code = ExitCode.CHAIN if refused.reason is Refusal.NO_GRANTS else ExitCode.NEGATIVE
        raise CliError(code, f"refused: {refused}", [detail]) from None
    except (StoreRefused, SecretError) as error:
        raise CliError(ExitCode.SECRET, str(error)) from None
    except OSError as error:
        raise CliError(ExitCode.CANNOT_CREATE, f"the authority cannot write: {error.strerror or error}") from None


@click.group()
def authority() -> None:
    """Make and guard the keys of models; give them to publishers, and wrapped to gateways that hold a grant."""


@authority.command("init")
@in_house
@click.option(
    "--tls", "names", multiple=True, metavar="NAME", help="Make certificates: the service's name or address."
)
@json_option
def init(directory: Path, unlock: Callable[[], Unlock], names: tuple[str, ...]) -> None:
    """Make an authority. Its passphrase or root key lies in a file that you made before."""
    from gateway.vault.authority_house import make_house  # noqa: PLC0415 -- lazy: --help stays fast

    public = make_house(directory, unlock(), names, _now_ms())
    told = {"directory": str(directory), "public_key": public.hex(), "tls": list(names)}

    def human() -> None:
        click.echo(f"Made an authority in {plain(directory)}. Keep a copy, and its passphrase elsewhere.")
        click.echo(f"Its public key, for publishers beyond an air gap:\n{public.hex()}")

    emit(told, human)


@authority.command("serve")
@in_house
@click.option("--listen", default="127.0.0.1:8443", show_default=True, metavar="HOST:PORT", help="Where.")
@click.option("--certificate", type=_file, help="The service's, in PEM.  [default: server.crt]")
@click.option("--key", "key_file", type=_file, help="Its key.  [default: server.key]")
@click.option("--client-ca", type=_file, help="Signs the publishers' certificates.  [default: ca.crt]")
@address_option("--model-registry", help_text="With --rpc: the contract ModelRegistry.")
@click.option("--without-grants", is_flag=True, help="Issue data keys alone; ask no chain.")
@click.option("--unsafe-grants", type=_file, help="A signed file in the place of the chain.")
@click.option("--operator-key", default="", metavar="HEX", help="Who signed it: 32 bytes of Ed25519.")
@on_chain
@json_option
def serve(directory: Path, unlock: Callable[[], Unlock], target: Target, **options: Any) -> None:  # noqa: ANN401 -- click's values
    """Serve publishers over HTTPS until SIGTERM or Ctrl-C. The log goes to standard error."""
    from gateway.cli import authority_work as work  # noqa: PLC0415 -- aiohttp, and web3 where a chain is asked

    word = work.Word(
        target,
        options["model_registry"],
        options["unsafe_grants"],
        options["operator_key"],
        without=options["without_grants"],
    )
    paths = (options["certificate"], options["key_file"], options["client_ca"])
    work.serve(directory, unlock(), work.address(options["listen"]), paths, word)


@authority.command("issue")
@click.argument("request", type=_file)
@click.option("--out", type=_file, required=True, help="Where to write the answer.")
@in_house
@json_option
def issue(directory: Path, unlock: Callable[[], Unlock], request: Path, out: Path) -> None:
    """Answer a publisher's request file for a data key, where there is no network between you."""
    from gateway.cli import authority_work as work  # noqa: PLC0415 -- lazy: --help stays fast

    _answered(work.answer_file(directory, unlock(), request, out, None), out)


@authority.command("wraps")
@click.argument("request", type=_file)
@click.option("--out", type=_file, required=True, help="Where to write the answer.")
@in_house
@address_option("--model-registry", help_text="With --rpc: the contract ModelRegistry.")
@click.option("--unsafe-grants", type=_file, help="A signed file in the place of the chain.")
@click.option("--operator-key", default="", metavar="HEX", help="Who signed it: 32 bytes of Ed25519.")
@on_chain
@json_option
def wraps(  # noqa: PLR0913 -- one argument an option
    *,
    directory: Path,
    unlock: Callable[[], Unlock],
    target: Target,
    request: Path,
    out: Path,
    model_registry: str,
    unsafe_grants: Path | None,
    operator_key: str,
) -> None:
    """Answer a publisher's request file for wrapped keys: one for each gateway that holds a grant now."""
    from gateway.cli import authority_work as work  # noqa: PLC0415 -- lazy: --help stays fast

    word = work.Word(target, model_registry, unsafe_grants, operator_key)
    _answered(work.answer_file(directory, unlock(), request, out, word), out)


@authority.command("grants")
@click.option("--model", "models", multiple=True, required=True, help="The model; more than one may be named.")
@click.option("--sign-with", required=True, help="The operator's Ed25519 key: PKCS#8 PEM, a path or credential:NAME.")
@click.option("--out", type=_file, required=True, help="Where to write the file.")
@address_option("--model-registry", help_text="With --rpc: the contract ModelRegistry.")
@on_chain
@json_option
def grants(target: Target, models: tuple[str, ...], sign_with: str, out: Path, model_registry: str) -> None:
    """Write what the chain says of grants into a signed file, for an authority that reaches no chain."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey  # noqa: PLC0415 -- lazy

    from gateway.cli import authority_work as work  # noqa: PLC0415 -- lazy: --help stays fast
    from gateway.vault.authority_told import write_grants  # noqa: PLC0415 -- likewise

    with authority_errors():
        key = Ed25519PrivateKey.from_private_bytes(load_log_key(sign_with))
        found = work.chain_says(work.Word(target, model_registry, None, ""), models)
        write_new(out, write_grants(found, _now_ms(), key.sign))
    public = key.public_key().public_bytes_raw().hex()
    held = {model_id: sorted(each.keys) for model_id, each in found.items()}
    left_out = {model_id: dict(each.left_out) for model_id, each in found.items()}
    told = {"file": str(out), "operator_key": public, "grants": held, "left_out": left_out}

    def human() -> None:
        table(("model", "gateways"), [(model_id, ", ".join(ids)) for model_id, ids in held.items()])
        click.echo(f"Written to {plain(out)}; the authority is told --operator-key {public}")

    emit(told, human)


@authority.command("rotate")
@in_house
@click.option("--new-passphrase-file", default="", help="A new passphrase too: a path or credential:NAME.")
@click.option("--new-root-key", default="", help="A new root key that lies elsewhere, likewise.")
@json_option
def rotate(directory: Path, unlock: Callable[[], Unlock], new_passphrase_file: str, new_root_key: str) -> None:
    """Seal everything under a new root key. Data keys stay what they are; stop the service first."""
    from gateway.vault.authority_house import opened  # noqa: PLC0415 -- lazy: --help stays fast
    from gateway.vault.authority_house import rotate as rotated  # noqa: PLC0415 -- likewise
    from gateway.vault.authority_seal import Passphrase  # noqa: PLC0415 -- likewise

    old = unlock()
    if new_passphrase_file or new_root_key:
        new = unlock_of(new_passphrase_file, new_root_key, "--new-passphrase-file or --new-root-key")
    elif isinstance(old, Passphrase):
        new = old
    else:
        raise CliError(ExitCode.USAGE, "the root key lies elsewhere: give another with --new-root-key")
    with opened(directory, old, _now_ms(), "rotate") as house:
        number = rotated(house, new, _now_ms())
        keys = len(house.store.rows)
    emit({"root_key": number, "keys": keys}, lambda: click.echo(f"{keys} keys are sealed under root key {number}."))


@authority.command("audit")
@in_house
@click.option(
    "--limit", type=click.IntRange(0), default=20, show_default=True, help="Print the newest so many lines."
)
@click.option("--begin-anew", is_flag=True, help="Put an audit that does not hold aside, and begin another.")
@json_option
def audit(directory: Path, unlock: Callable[[], Unlock], limit: int, begin_anew: bool) -> None:  # noqa: FBT001 -- click's flag
    """Check that no line of the audit was altered, cut out or cut off; print it. Exit code 1 when one was.

    Stop the service first, or run it on a copy of the directory.
    """
    from gateway.cli import authority_work as work  # noqa: PLC0415 -- lazy: --help stays fast

    if begin_anew:
        old = work.begin_anew(directory, unlock(), _now_ms())
        emit({"old": str(old)}, lambda: click.echo(f"The old audit lies in {plain(old)}: keep it. A new one begins."))
        return
    found = work.audited(directory, unlock(), limit)
    if wants_json():
        click.echo(to_json(found))
    else:
        work.tell_audit(found)
    if found["findings"]:
        raise click.exceptions.Exit(int(ExitCode.NEGATIVE))


@authority.group("publishers")
def publishers() -> None:
    """Who may publish which models."""


@publishers.command("list")
@directory_option
@json_option
def list_publishers(directory: Path) -> None:
    """Print the list, or say what is wrong with it."""
    from gateway.vault.authority_publishers import FILE, load_publishers  # noqa: PLC0415 -- lazy: --help stays fast

    with authority_errors():
        found = load_publishers(directory / FILE).by_name.values()
    rows = [
        {
            "name": each.name,
            "certificate_sha256": [one.hex() for one in each.certificates],
            "models": sorted(each.models),
        }
        for each in found
    ]
    columns = ("name", "certificates", "models")
    emit(
        {"publishers": rows},
        lambda: table(columns, [[" ".join(v) if isinstance(v, list) else v for v in row.values()] for row in rows]),
    )


@publishers.command("add")
@click.argument("name")
@click.option("--certificate", type=_file, help="Its certificate, in PEM.")
@click.option("--csr", type=_file, help="Or its signing request, to be signed by this authority's CA.")
@click.option("--out", type=_file, help="With --csr: where to write the certificate.")
@click.option("--model", "models", multiple=True, required=True, help='A model that it may publish; "*" is any.')
@in_house
@json_option
def add(  # noqa: PLR0913 -- one argument an option
    *,
    directory: Path,
    unlock: Callable[[], Unlock],
    name: str,
    certificate: Path | None,
    csr: Path | None,
    out: Path | None,
    models: tuple[str, ...],
) -> None:
    """Put a publisher on the list, by its certificate; or make it one."""
    from gateway.cli import authority_work as work  # noqa: PLC0415 -- lazy: --help stays fast

    if (certificate is None) == (csr is None) or (csr is None) != (out is None):
        raise CliError(ExitCode.USAGE, "give --certificate, or --csr with --out")
    lines = work.add(directory, unlock(), name, certificate, csr, models, out)
    emit({"name": name, "toml": lines}, lambda: click.echo(lines, nl=False))


def _answered(done: dict[str, Any], out: Path) -> None:
    emit(
        done | {"file": str(out)},
        lambda: facts([*((name, value) for name, value in done.items()), ("answer", out)]),
    )
