"""`securenet-fleet`: make a fleet's keys, run it against a gateway, or hold a gateway to the formats page.

Exit codes: 0 all as it must be; 1 something came back that must not; 2 wrong usage; 3 a transport did not come up.
"""

import asyncio
import contextlib
import json
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, cast

import click
from rich.console import Console

from firmware_sim import keys as fleet_keys
from firmware_sim import mqtt_packets
from firmware_sim.carriers import CarrierError, MqttOptions, read_passwords
from firmware_sim.coap_link import CoapAddress, CoapAddressError, parse_address
from firmware_sim.conformance import ConformanceOptions, KitError, run_kit
from firmware_sim.display import scenario_table, show_live, sums_line
from firmware_sim.fleet import Fleet, FleetError, RunOptions
from firmware_sim.kit_report import kit_table
from firmware_sim.receipt import ReceiptVerifier
from firmware_sim.report import Recorder
from firmware_sim.scenarios import KIT_ROLES, SCENARIOS

EXIT_WRONG: Final = 1
EXIT_USAGE: Final = 2
EXIT_TRANSPORT: Final = 3
_PORT_MAX: Final = 65_535
_PORT_DIGITS: Final = 5
_PATH: Final = click.Path(path_type=Path)
_FILE: Final = click.Path(path_type=Path, exists=True, dir_okay=False)


class _UsageError(click.ClickException):
    exit_code = EXIT_USAGE


class _TransportError(click.ClickException):
    exit_code = EXIT_TRANSPORT


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Simulated devices for SecureNet Gateway."""


@main.command("keys")
@click.option("--devices", type=click.IntRange(1, 10_000), required=True, help="How many honest devices.")
@click.option("--fleet", required=True, help="The fleet id.")
@click.option("--out", type=_PATH, required=True, help="The registry file to write (public).")
@click.option("--private", type=_PATH, required=True, help="The key file to write (secret).")
@click.option("--gateway-id", help="Add a registry line for this gateway.")
@click.option("--log-key", help="The gateway's log key: name+hash+base64, or the base64 of 32 bytes.")
@click.option("--log-key-file", type=_FILE, help="A file that holds the log key.")
@click.option("--hostile", type=click.IntRange(0, 100), default=4, show_default=True, help="Devices a scenario.")
@click.option("--first", type=click.IntRange(0, 10**6), default=0, help="Number of the first device.")
@click.option("--seed", help="Derive all keys from this text. For tests only: whoever knows it has the keys.")
def make_keys(  # noqa: PLR0913 - one argument an option
    *,
    devices: int,
    fleet: str,
    out: Path,
    private: Path,
    gateway_id: str | None,
    log_key: str | None,
    log_key_file: Path | None,
    hostile: int,
    first: int,
    seed: str | None,
) -> None:
    """Make the keys of a fleet, and the registry file that introduces it to the gateway."""
    if seed is not None:
        click.echo("Keys from a seed are for tests only.", err=True)
    made = fleet_keys.generate(
        fleet, devices, (*SCENARIOS, *KIT_ROLES), hostile, None if seed is None else seed.encode(), first=first
    )
    lines = list(fleet_keys.registry_lines(made))
    key = _log_key(log_key, log_key_file)
    if (gateway_id is None) != (key is None):
        raise _UsageError("--gateway-id and --log-key (or --log-key-file) belong together")
    if gateway_id is not None and key is not None:
        lines.append(fleet_keys.miner_line(fleet, gateway_id, key.public_key))
    try:
        fleet_keys.write_private(private, fleet_keys.dump(made))
        out.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    except OSError as fault:
        raise _UsageError(f"cannot write {fault.filename}: {fault.strerror}") from fault
    click.echo(f"{len(made.devices)} devices: {devices} honest, the rest for {len(SCENARIOS)} scenarios and the kit.")
    click.echo(f"{out}: {len(lines)} registry lines. {private}: their secrets, readable by you only.")


@main.command("scenarios")
def list_scenarios() -> None:
    """List the hostile scenarios."""
    for name, scenario in SCENARIOS.items():
        click.echo(f"{name:16} {scenario.about}")


def _transport_options(command: Callable[..., None]) -> Callable[..., None]:
    options = (
        click.option("--mqtt", help="The broker: host[:port]."),
        click.option("--coap", help="The gateway's CoAP: coap://host[:port]."),
        click.option("--log-key", help="The gateway's log key: name+hash+base64, or the base64 of 32 bytes."),
        click.option("--log-key-file", type=_FILE, help="A file that holds the log key."),
        click.option("--fleet", help="The fleet id; the key file's is the default, and another is refused."),
        click.option("--mqtt-connections", type=click.Choice(["shared", "device"]), default="shared"),
        click.option("--mqtt-version", type=click.Choice(["5", "3.1.1"]), default="5"),
        click.option("--mqtt-username", help="May hold {device}."),
        click.option("--mqtt-password-file", type=_FILE, help="One password for all connections."),
        click.option("--mqtt-passwords", type=_FILE, help='JSON: {"device": "password"}.'),
        click.option("--mqtt-client-id", default="{device}", help="May hold {device}.", show_default=True),
        click.option("--mqtt-ca", type=_FILE, help="PEM of the broker's authority; turns TLS on."),
        click.option("--mqtt-cert", help="Client certificate (PEM); may hold {device}."),
        click.option("--mqtt-key", help="Its private key (PEM); may hold {device}."),
        click.option("--message-bytes", type=int, default=65_536, help="The gateway's limits.message_bytes."),
        click.option("--report", type=_PATH, help="Write the JSON report here."),
        click.option("--json", "as_json", is_flag=True, help="Print the JSON report."),
    )
    for option in reversed(options):
        command = option(command)
    return command


@main.command("run")
@click.option("--keys", "--registry-keys", "key_file", type=_PATH, required=True, help="The key file.")
@_transport_options
@click.option("--devices", type=click.IntRange(1, 10_000), help="Honest devices; all of the key file by default.")
@click.option("--rate", type=click.FloatRange(min=0, min_open=True), default=50.0, show_default=True)
@click.option("--duration", type=click.FloatRange(min=0), default=30.0, show_default=True, help="Seconds.")
@click.option("--seed", type=int, default=1, show_default=True, help="Of the signals.")
@click.option("--coap-share", type=click.FloatRange(0, 1), default=0.2, show_default=True)
@click.option("--scenario", "scenarios", multiple=True, help="A scenario, a list with commas, or `all`.")
@click.option("--hostile-share", type=click.FloatRange(0, 1), default=0.1, show_default=True)
@click.option("--drain", type=click.FloatRange(min=0), default=10.0, show_default=True, help="Seconds.")
@click.option("--resend-after", type=click.FloatRange(min=0.1), default=10.0, show_default=True, help="Seconds.")
@click.option("--until", type=click.Choice(["receipt", "puback"]), default="receipt", show_default=True)
@click.option("--record", type=_PATH, help="One JSON line a message: what was sent and what came back.")
@click.option("--live/--no-live", default=None, help="The live table; on in a terminal.")
def run_fleet(  # noqa: PLR0913 - one argument an option
    *,
    key_file: Path,
    devices: int | None,
    rate: float,
    duration: float,
    seed: int,
    coap_share: float,
    scenarios: tuple[str, ...],
    hostile_share: float,
    drain: float,
    resend_after: float,
    until: str,
    record: Path | None,
    live: bool | None,
    **transport: Any,  # noqa: ANN401 - the shared options, typed where they are read
) -> None:
    """Run the fleet against a gateway."""
    keys = _load_keys(key_file, transport["fleet"])
    options = RunOptions(
        rate=rate,
        duration_s=duration,
        seed=seed,
        devices=devices,
        coap_share=coap_share,
        scenarios=_scenarios(scenarios),
        hostile_share=hostile_share,
        drain_s=drain,
        resend_after_s=resend_after,
        until_receipt=until == "receipt",
        message_bytes=transport["message_bytes"],
        mqtt=_mqtt_options(transport),
        coap=_coap_address(transport["coap"]),
    )
    console = Console(stderr=transport["as_json"])
    verifier = _verifier(transport)
    try:
        with Recorder(record) as recorder:
            fleet = Fleet(options, keys, verifier, recorder)
            asyncio.run(_run(fleet, console, live=console.is_terminal if live is None else live))
    except FleetError as fault:
        raise _UsageError(str(fault)) from fault
    except CarrierError as fault:
        raise _TransportError(str(fault)) from fault
    except OSError as fault:
        raise _UsageError(f"{fault.filename or 'a file'}: {fault.strerror}") from fault
    report = fleet.report()
    console.print(scenario_table(report))
    console.print(sums_line(report), soft_wrap=True)
    _write_report(report, transport["report"], as_json=transport["as_json"])
    wrong = ("honest_rejected", "hostile_accepted", "receipts_bad")
    if any(report[name] for name in wrong):
        sys.exit(EXIT_WRONG)


@main.command("conformance")
@click.option("--registry-keys", "--keys", "key_file", type=_PATH, required=True, help="The key file.")
@_transport_options
@click.option("--only", help="Only the cases whose name holds this text.")
@click.option("--list", "list_only", is_flag=True, help="Print the cases and stop.")
@click.option("--quiet-s", type=click.FloatRange(min=0.1), default=3.0, help="How long silence must last.")
def conformance(
    *,
    key_file: Path,
    only: str | None,
    list_only: bool,
    quiet_s: float,
    **transport: Any,  # noqa: ANN401 - the shared options, typed where they are read
) -> None:
    """Hold a gateway to every MUST of the formats page."""
    keys = _load_keys(key_file, transport["fleet"])
    options = ConformanceOptions(
        mqtt=_mqtt_options(transport),
        coap=_coap_address(transport["coap"]),
        only=only,
        quiet_s=quiet_s,
        message_bytes=transport["message_bytes"],
    )
    try:
        report = asyncio.run(
            run_kit(
                options, keys, None if list_only else _verifier(transport), lambda text: click.echo(text, err=True)
            )
        )
    except KitError as fault:
        raise _UsageError(str(fault)) from fault
    except CarrierError as fault:
        raise _TransportError(str(fault)) from fault
    if list_only:
        for row in cast("list[dict[str, str]]", report["cases"]):
            click.echo(f"{row['name']:70} {row['expected']}")
        return
    console = Console(stderr=transport["as_json"])
    console.print(kit_table(report))
    _write_report(report, transport["report"], as_json=transport["as_json"])
    if report["failed"]:
        sys.exit(EXIT_WRONG)


async def _run(fleet: Fleet, console: Console, *, live: bool) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, fleet.stop)
    table = asyncio.create_task(show_live(console, fleet.report, lambda: fleet.state)) if live else None
    try:
        await fleet.run()
    finally:
        if table is not None:
            table.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await table


def _load_keys(path: Path, fleet: str | None) -> fleet_keys.FleetKeys:
    try:
        keys = fleet_keys.load(path)
    except fleet_keys.KeyFileError as fault:
        raise _UsageError(str(fault)) from fault
    if fleet is not None and fleet != keys.fleet:
        raise _UsageError(f"the key file is of the fleet {keys.fleet!r}, not {fleet!r}")
    return keys


def _log_key(text: str | None, path: Path | None) -> fleet_keys.LogKey | None:
    if text is None and path is None:
        return None
    try:
        return fleet_keys.parse_log_key(text if text is not None else cast("Path", path).read_text(encoding="utf-8"))
    except (fleet_keys.KeyFileError, OSError, UnicodeDecodeError) as fault:
        raise _UsageError(str(fault)) from fault


def _verifier(transport: dict[str, Any]) -> ReceiptVerifier:
    key = _log_key(transport["log_key"], transport["log_key_file"])
    if key is None:
        raise _UsageError("give the gateway's log key by --log-key or --log-key-file: receipts are verified with it")
    return ReceiptVerifier(key)


def _mqtt_options(transport: dict[str, Any]) -> MqttOptions | None:
    if transport["mqtt"] is None:
        return None
    if transport["mqtt"].startswith("mqtts://") and transport["mqtt_ca"] is None:
        raise _UsageError("mqtts:// needs --mqtt-ca: without the broker's authority nothing would be encrypted")
    host, _, port = transport["mqtt"].removeprefix("mqtt://").removeprefix("mqtts://").rpartition(":")
    if not host:
        host, port = port, "8883" if transport["mqtt_ca"] else "1883"
    if not (port.isdecimal() and len(port) <= _PORT_DIGITS and 0 < int(port) <= _PORT_MAX):
        raise _UsageError(f"--mqtt {transport['mqtt']!r} is no host[:port]")
    password_file = transport["mqtt_password_file"]
    passwords = transport["mqtt_passwords"]
    options = MqttOptions(
        host=host.strip("[]"),
        port=int(port),
        connections=transport["mqtt_connections"],
        username=transport["mqtt_username"],
        password=None if password_file is None else _read_password(password_file),
        passwords=None if passwords is None else _read_passwords(passwords),
        ca=transport["mqtt_ca"],
        cert=transport["mqtt_cert"],
        key=transport["mqtt_key"],
        version=mqtt_packets.V5 if transport["mqtt_version"] == "5" else mqtt_packets.V311,
        client_id=transport["mqtt_client_id"],
    )
    try:
        options.check()
    except CarrierError as fault:
        raise _UsageError(str(fault)) from fault
    return options


def _read_password(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as fault:
        raise _UsageError(f"cannot read the password in {path}: {fault}") from fault


def _read_passwords(path: Path) -> dict[str, str]:
    try:
        return read_passwords(path)
    except CarrierError as fault:
        raise _UsageError(str(fault)) from fault


def _coap_address(text: str | None) -> CoapAddress | None:
    try:
        return None if text is None else parse_address(text)
    except CoapAddressError as fault:
        raise _UsageError(str(fault)) from fault


def _scenarios(given: tuple[str, ...]) -> tuple[str, ...]:
    names = [name for part in given for name in part.split(",") if name]
    if "all" in names:
        return tuple(SCENARIOS)
    unknown = [name for name in names if name not in SCENARIOS]
    if unknown:
        raise _UsageError(f"unknown scenario {unknown[0]!r}; known are: {', '.join(SCENARIOS)}")
    return tuple(dict.fromkeys(names))


def _write_report(report: dict[str, Any], path: Path | None, *, as_json: bool) -> None:
    text = json.dumps(report, indent=2)
    if as_json:
        click.echo(text)
    if path is not None:
        try:
            path.write_text(text + "\n", encoding="utf-8")
        except OSError as fault:
            raise _UsageError(f"cannot write {path}: {fault.strerror}") from fault


if __name__ == "__main__":
    main()
