"""A new configuration: all of it, or what can change live and the rest named, or nothing at all."""

import asyncio
import dataclasses
import socket
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs
from support.mosquitto import Mosquitto

from gateway.config.fault import ConfigError, Fault
from gateway.config.load import parse_config
from gateway.config.model import ClockConfig, Config, GatewayConfig, LimitsConfig, LogConfig
from gateway.ingest.admission import bench
from gateway.ops.last_good import LAST_GOOD, Source, last_good
from gateway.ops.named_files import named_file_faults
from gateway.ops.reload import NotApplied, Reloader, Room
from gateway.ops.reload_keys import HOW, RESTART, changed_keys, plan_of
from gateway.ops.reload_rooms import Page, mqtt_room, page_room, quiet_rooms
from gateway.transport.coap import CoapTransport
from gateway.transport.port import LinkState

sys.path.insert(0, str(Path(__file__).parents[1] / "transport_mqtt"))

import mqtt_world as w

ROOMS = sorted(set(HOW.values()) - {RESTART})
OLD = Config(gateway=GatewayConfig(id="gw-1", fleet="f"))
OTHER = {bool: lambda value: not value, int: lambda value: value + 1, float: lambda value: value * 1.5 + 0.125}


def toml(data_dir, **tables):
    lines = [f'[gateway]\nid = "gw-1"\nfleet = "f"\ndata_dir = "{data_dir}"']
    for table, keys in tables.items():
        lines.append(f"[{table}]")
        lines += [f"{name} = {value}" for name, value in keys.items()]
    return "\n".join(lines) + "\n"


def every_key():
    return [
        f"{table.name}.{field.name}"
        for table in dataclasses.fields(Config)
        for field in dataclasses.fields(getattr(OLD, table.name))
    ]


def changed(config, names):
    """The configuration with other values, sound or not, under these names."""
    tables = {}
    for name in names:
        table, _, key = name.partition(".")
        now = tables.get(table, getattr(config, table))
        value = getattr(now, key)
        tables[table] = dataclasses.replace(now, **{key: OTHER.get(type(value), lambda _: "other")(value)})
    return dataclasses.replace(config, **tables)


def test_every_key_of_the_configuration_says_how_it_comes_into_force():
    assert sorted(HOW) == sorted(every_key())


def test_the_page_says_of_every_key_what_the_table_says():
    page = (Path(__file__).parents[2] / "docs" / "operations" / "reload.md").read_text()
    for table in dataclasses.fields(Config):
        live = [name.partition(".")[2] for name in HOW if name.startswith(f"{table.name}.") and HOW[name] != RESTART]
        (row,) = [line for line in page.splitlines() if line.startswith(f"| `[{table.name}]`")]
        assert row.split("|")[2].strip() == (", ".join(f"`{name}`" for name in live) or "none")


@given(st.sets(st.sampled_from(sorted(HOW))), st.sets(st.sampled_from(ROOMS)))
def test_what_is_planned_is_new_where_it_is_live_and_old_everywhere_else(names, rooms):
    new = changed(OLD, names)
    plan = plan_of(OLD, new, rooms)
    assert set(changed_keys(OLD, new)) == names
    assert set(plan.live) | set(plan.restart) == names
    assert set(changed_keys(OLD, plan.config)) == set(plan.live)
    assert set(changed_keys(plan.config, new)) == set(plan.restart)
    assert {HOW[name] for name in plan.live} <= rooms


def test_what_holds_only_together_waits_together():
    old = dataclasses.replace(OLD, http=dataclasses.replace(OLD.http, enabled=False))
    new = dataclasses.replace(OLD, mqtt=dataclasses.replace(OLD.mqtt, enabled=False, cert_file="c", tls=True))
    assert plan_of(old, new, ROOMS).restart != ()


def test_a_gateway_that_gets_a_chain_or_loses_it_starts_anew():
    chained = dataclasses.replace(OLD, chain=dataclasses.replace(OLD.chain, rpc=("http://127.0.0.1:1",), chain_id=1))
    for old, new in ((OLD, chained), (chained, OLD)):
        assert "chain.rpc" in plan_of(old, new, ROOMS).restart


class Recorder:
    """A room that notes what is applied, and refuses what a test wants."""

    def __init__(self, name, refuses=lambda _: False):
        self.applied = []
        self.room = Room(name, self.apply)
        self.refuses = refuses

    async def apply(self, config):
        if self.refuses(config):
            raise NotApplied("no")
        self.applied.append(config)


@pytest.fixture
def site(tmp_path):
    """A file, what was loaded from it, and its reloader over recording rooms."""

    class Site:
        path = tmp_path / "gateway.toml"
        data = tmp_path / "data"

        def __init__(self):
            self.data.mkdir()
            self.path.write_text(toml(self.data))
            self.limits, self.mqtt, self.logging = (Recorder(name) for name in ("limits", "mqtt", "logging"))

        def reloader(self, check=lambda _: []):
            text = self.path.read_text()
            config = parse_config(text, self.path)
            rooms = [self.mqtt.room, self.limits.room, self.logging.room]
            return Reloader(config, Source(self.path, text), rooms, check_files=check)

    return Site()


async def test_live_keys_are_applied_once_and_the_others_are_named(site):
    reloader = site.reloader()
    site.path.write_text(
        toml(
            site.data,
            limits={"device_burst": 7, "message_bytes": 1024},
            mqtt={"username": '"gateway"', "password_file": '"/secret-name"'},
        )
    )
    with capture_logs() as logs:
        outcome = await reloader.reload()
    assert outcome.changed == ("mqtt.username", "mqtt.password_file", "limits.device_burst")
    assert outcome.restart == ("limits.message_bytes",)
    assert [len(each.applied) for each in (site.limits, site.mqtt, site.logging)] == [1, 1, 0]
    assert (reloader.config.limits.device_burst, reloader.config.limits.message_bytes) == (7, 65536)
    assert "restart" in reloader.warnings()[0]
    (told,) = logs
    assert told["event"] == "config.reloaded"
    assert "secret-name" not in str(told)
    assert not (site.data / LAST_GOOD).exists()  # it does not run as a whole yet
    assert (await reloader.reload()).changed == ()
    assert len(site.limits.applied) == 1


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("not toml", "is not TOML"),
        ('[gateway]\nid = "gw 1"\nfleet = "f"\n[limits]\ndevice_burst = 0\n', "device_burst"),
        ("\udcff", "UTF-8"),
        (None, "cannot be read"),
        ("#" * (1 << 20) + "#", "larger"),
    ],
)
async def test_a_file_with_faults_changes_nothing_and_all_of_them_are_told(site, text, says):
    reloader = site.reloader()
    before = reloader.config
    if text is None:
        site.path.unlink()
    else:
        site.path.write_bytes(text.encode(errors="surrogateescape"))
    with capture_logs() as logs:
        outcome = await reloader.reload()
    assert says in "; ".join(outcome.faults)
    assert [each["event"] for each in logs] == ["config.refused"]
    assert reloader.config is before
    assert not any(each.applied for each in (site.limits, site.mqtt, site.logging))
    assert reloader.status()["refused"] == list(outcome.faults)
    site.path.write_text(toml(site.data))
    assert (await reloader.reload()).faults == ()
    assert reloader.warnings() == []


async def test_what_the_file_names_is_looked_at_before_anything_changes(site):
    reloader = site.reloader(check=lambda config: [Fault(0, "mqtt.password_file", "is missing", "write it")])
    site.path.write_text(toml(site.data, limits={"device_burst": 7}))
    assert (await reloader.reload()).faults == ("mqtt.password_file: is missing; write it",)
    assert site.limits.applied == []


async def test_a_room_that_cannot_follow_takes_the_others_back(site):
    reloader = site.reloader()
    site.logging.refuses = lambda config: config.logging.level == "debug"
    site.path.write_text(toml(site.data, limits={"device_burst": 7}, logging={"level": '"debug"'}))
    outcome = await reloader.reload()
    assert outcome.faults == ("[logging] no",)
    assert [each.limits.device_burst for each in site.limits.applied] == [7, 200]
    assert reloader.config.limits.device_burst == 200
    assert not (site.data / LAST_GOOD).exists()


async def test_a_reload_by_the_socket_is_answered_or_goes_on(site):
    reloader = site.reloader()
    release = asyncio.Event()

    async def slow(config):
        await release.wait()

    reloader._rooms = (Room("limits", slow),)
    site.path.write_text(toml(site.data, limits={"device_burst": 7}))
    assert await reloader.asked(0.05) == {"ok": True, "under_way": True}
    release.set()
    answer = await reloader.asked()
    assert answer == {"ok": True, "changed": ["limits.device_burst"], "restart": [], "faults": []}


async def test_what_ran_is_kept_and_found_again_when_the_file_is_broken(site):
    reloader = site.reloader()
    await reloader.became_ready()
    text = site.path.read_text()
    assert (site.data / LAST_GOOD).read_text() == text
    assert (site.data / LAST_GOOD).stat().st_mode & 0o777 == 0o600
    for broken in (text + "[limits]\ndevice_burst = 0\n", text + "nonsense"):
        config, found = last_good(broken, {})
        assert (found, config.gateway.id) == (text, "gw-1")
    config, found = last_good("", {"STATE_DIRECTORY": str(site.data)})
    assert found == text
    site.path.write_text(toml(site.data, limits={"device_burst": 7}))
    await reloader.reload()
    assert (site.data / LAST_GOOD).read_text() == site.path.read_text()


async def test_a_start_with_the_last_good_one_is_no_last_good_one_and_is_told(site):
    text = site.path.read_text()
    broken = ConfigError(site.path, [Fault(3, "a.b", "is bad", "mend it")])
    source = Source(site.path, text, broken)
    reloader = Reloader(parse_config(text, site.path), source, [])
    await reloader.became_ready()
    assert not (site.data / LAST_GOOD).exists()
    assert "last good" in reloader.warnings()[0]
    assert reloader.status()["fallback"]


async def test_a_disk_that_does_not_keep_it_is_told_and_stops_nothing(site):
    reloader = site.reloader()
    (site.data / f"{LAST_GOOD}.new").mkdir()
    with capture_logs() as logs:
        await reloader.became_ready()
    assert [each["event"] for each in logs] == ["config.not_kept"]


async def test_the_quiet_rooms_do_what_they_say():
    measured, told = bench(OLD), []
    for _ in range(200):
        assert measured.devices.take("d", 0.0) == 0.0
    assert measured.devices.take("d", 0.0) > 0

    class Told:
        def retune(self, config):
            told.append(config)

        apply = change = retune

    coap = CoapTransport(OLD.coap, OLD.limits)
    rooms = quiet_rooms(measured, Told(), Told(), Told(), coap)
    new = dataclasses.replace(
        OLD,
        limits=LimitsConfig(device_rate_per_s=1000.0, device_burst=1000, max_age_s=5, coap_peer_burst=10),
        log=LogConfig(checkpoint_interval_s=1.0),
        clock=ClockConfig(trust="always"),
    )
    for room in rooms:
        await room.apply(new)
    assert {room.name for room in rooms} == {"limits", "log", "clock", "logging"}
    assert told == [new.log, new.clock, new.logging]
    assert measured.devices.take("d", 0.0) == 0.0
    assert measured.max_age_s == 5
    assert coap._site._load._burst == 10


class Listener:
    """A server as the page's is: it listens on a port until it is cancelled."""

    def __init__(self, port):
        self.port = port
        self.state, self.detail = "off", ""

    def status(self):
        return self

    async def run(self):
        try:
            server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", self.port)
        except OSError as error:
            self.state, self.detail = "down", f"cannot listen: {error.strerror}"
            await asyncio.sleep(3600)
            return
        self.state = "up"
        try:
            async with server:
                await server.serve_forever()
        finally:
            self.state = "off"


async def listens(port):
    with socket.socket() as probe:
        answers = probe.connect_ex(("127.0.0.1", port)) == 0
    await asyncio.sleep(0.05)  # the other side sees that it is over
    return answers


async def test_the_page_moves_to_another_port_or_stays_where_it_was():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ports = []
        for _ in range(2):
            with socket.create_server(("127.0.0.1", 0)) as free:
                ports.append(free.getsockname()[1])

        def at(port):
            return dataclasses.replace(OLD, http=dataclasses.replace(OLD.http, port=port))

        page = Page(lambda config: Listener(config.http.port), at(ports[0]))
        serving = asyncio.create_task(page.run())
        await w.until(lambda: page.server.state == "up")
        assert await listens(ports[0])
        room = page_room(page)
        await room.apply(at(ports[1]))
        assert [await listens(port) for port in ports] == [False, True]
        with pytest.raises(NotApplied, match="cannot listen"):
            await room.apply(at(taken.getsockname()[1]))
        assert await listens(ports[1])
        serving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await serving
        assert not await listens(ports[1])


@pytest.mark.broker
async def test_a_link_follows_its_configuration_and_stays_when_it_cannot(tmp_path):
    broker = Mosquitto(tmp_path / "mosquitto", accounts=w.DEVICES).start()
    try:
        secret = tmp_path / "password"
        secret.touch(0o600)
        secret.write_text(w.ACCOUNTS["gateway"])
        intake = w.FakeIntake()
        transport = w.transport_to(broker, tmp_path)
        room = mqtt_room(transport)
        async with w.running(transport, intake):
            mqtt = dataclasses.replace(transport._config, password_file=str(secret), receive_maximum=7)
            await room.apply(dataclasses.replace(OLD, mqtt=mqtt))
            assert transport.status().state is LinkState.UP
            await w.publish(broker, 50)
            await w.until(lambda: len(intake.taken) == 50)
            no_password = {"password_file": str(tmp_path / "none")}
            for bad in (no_password, {"port": 1}, {"tls": True}, {"host": "broker..local"}):
                with pytest.raises(NotApplied):
                    await room.apply(dataclasses.replace(OLD, mqtt=dataclasses.replace(mqtt, **bad)))
                assert transport.status().state is LinkState.UP
                assert transport._config == mqtt
    finally:
        broker.kill()


def test_the_files_that_a_configuration_names_are_all_looked_at(tmp_path):
    missing = '"/nowhere/x"'
    text = toml(
        tmp_path,
        mqtt={
            "tls": "true",
            "username": '"gateway"',
            **{f"{name}_file": missing for name in ("ca", "cert", "key", "password")},
        },
        registry={"file": missing},
        http={"token_file": missing},
        coap={"oscore_file": missing},
    ).replace('fleet = "f"', f'fleet = "f"\nlog_key_file = {missing}\nhpke_key_file = {missing}')
    faults = named_file_faults(parse_config(text, tmp_path))
    assert sorted(fault.key for fault in faults) == sorted(
        [
            "registry.file",
            "gateway.log_key_file",
            "gateway.hpke_key_file",
            "http.token_file",
            "coap.oscore_file",
            *(f"mqtt.{name}_file" for name in ("password", "key", "ca", "cert")),
        ]
    )
    assert not any(tmp_path.iterdir())
