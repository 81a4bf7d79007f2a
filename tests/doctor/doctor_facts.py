"""For every finding that there is, facts that lead to it: a world in which that, and mostly that alone, is wrong."""

from pathlib import Path

from gateway.config.load import parse_config
from gateway.doctor import acl, broker, clock, disk, endpoints, journal, keys, machine, models, unit

NOW_MS = 1_800_000_000_000
DAY_MS = 86_400_000
HOUR_MS = 3_600_000
BASE = '[gateway]\nid = "gw-1"\nfleet = "plant"\n'
ADDRESS, OTHER, THIRD = ("0x" + digit * 40 for digit in "123")
CHAIN = (
    f'[chain]\nrpc = ["http://127.0.0.1:8545"]\nchain_id = 31337\nregistry = "{ADDRESS}"\nanchor_log = "{OTHER}"\n'
    f'model_registry = "{THIRD}"\n'
)


def config(text=""):
    return parse_config(BASE + text, Path("gateway.toml"))


PLAIN = config()
ON_CHAIN = config(CHAIN)
WITH_MODELS = config('hpke_key_file = "hpke.pem"\n' + CHAIN + '[models]\nenabled = ["vibration"]\n')
FAR_BROKER = config('[mqtt]\nhost = "broker.example"\n')


def _broker(settings=PLAIN, version="mosquitto version 2.0.22", kept=True, subscribed=True, days=None, **said):
    facts = broker.Facts(broker.Connack(**said), kept, subscribed, version, days)
    return broker.judge(settings, facts)


def _acl(anonymous=False, wrong=False, gateway=(False, True, True), device=None, refused=""):
    rights = acl.GatewayRights(*gateway) if gateway else None
    return acl.judge(
        acl.Facts(anonymous, wrong, rights, acl.DeviceRights("dev-1", *device) if device else None, refused)
    )


def _clock(settings=PLAIN, **changes):
    facts = clock.Facts(NOW_MS, True, 0.01, "chronyd", (), NOW_MS, True)
    return clock.judge(settings, facts._replace(**changes))


def _disk(settings=PLAIN, **changes):
    return disk.judge(settings, disk.Facts("/var/lib/securenet", device="/dev/mmcblk0p2", **changes))


def _keys(facts=(), miner=None, open_to=(), left_over=()):
    return keys.judge_keys(list(facts), miner, config="g.toml", open_to=list(open_to), left_over=list(left_over))


def _certificate(after_days=300.0, before_days=-30.0, problem="", pair=None):
    fact = keys.Certificate(
        "client certificate", "/c.pem", int(NOW_MS + before_days * DAY_MS), int(NOW_MS + after_days * DAY_MS), problem
    )
    return keys.judge_certificates([fact], pair, NOW_MS)


def _journal(**changes):
    return journal.judge_journal(PLAIN, journal.JournalFacts(**{"log_size": 10, "checkpoint_size": 10} | changes))


def _anchors(settings=ON_CHAIN, final_ago_ms=0, size=10, final_size=5, none=False, first_ago_ms=0):
    facts = journal.AnchorFacts(
        None if final_ago_ms is None else NOW_MS - final_ago_ms,
        final_size,
        size,
        None,
        (),
        None,
        NOW_MS - first_ago_ms,
    )
    return journal.judge_anchors(settings, None if none else facts, NOW_MS)


WELL = endpoints.EndpointFact("http://a", 100, 3.0, 0.2)
SECOND = endpoints.EndpointFact("http://b", 100, 3.0, 0.2)
RICH = endpoints.GatewayFact(
    miner="active", balance_wei=10**20, anchor_wei=10**14, reserve_wei=10**15, account=ADDRESS
)


def _chain(first=None, second=SECOND, about=RICH, **changes):
    asked = [each for each in (WELL if first is None else first, second) if each is not None]
    return endpoints.judge(ON_CHAIN, asked, about._replace(**changes) if about else None)


def _down(words, misconfigured=False):
    return endpoints.EndpointFact("http://a", fault=words, misconfigured=misconfigured)


def _registry(by_chain=False, **changes):
    fact = models.RegistryFact(by_chain, **{"devices": 2, "active": 2} | changes)
    return models.judge_registry(ON_CHAIN if by_chain else PLAIN, fact, NOW_MS)


def _models(settings=WITH_MODELS, **changes):
    facts = models.ModelFacts(**{"ran": {"vibration": 3}, "aside": {}, "refused": {}} | changes)
    return models.judge_models(settings, facts)


def _machine(**changes):
    facts = machine.MachineFacts(files=65536, rmem_max=1 << 22, somaxconn=4096, available_bytes=1 << 30)
    return machine.judge_machine(PLAIN, facts._replace(**changes))


def _python(version=(3, 13, 1), kind="aarch64", bits=64, imports=()):
    return machine.judge_python(machine.PythonFacts(version, kind, bits, tuple(imports)))


UP = {
    "LoadState": "loaded",
    "ActiveState": "active",
    "NRestarts": "0",
    "UnitFileState": "enabled",
    "WatchdogUSec": "30s",
    "NeedDaemonReload": "no",
    "DropInPaths": "",
}


def _unit(booted=True, exposure=1.6, **changes):
    return unit.judge_unit(unit.UnitFacts(booted, UP | changes, exposure), "securenet-gateway.service", "g.toml")


def _gateway(**status):
    return unit.judge_gateway({"uptime_s": 5, "accepted": 1} | status, "")


def _page(settings=PLAIN, listening=True, status=200, wide=False, running=True, down=""):
    return unit.judge_page(settings, unit.PageFacts(listening, status, wide, running, down))


def _config(faults=(), writable=False, readable=False, key=False):
    return unit.judge_config(unit.ConfigFacts(faults, writable, readable, key), "g.toml")


FINE = {
    "broker": _broker(),
    "acl": _acl(device=(True, False, False, False)),
    "clock": _clock(),
    "disk": _disk(),
    "keys": _keys([keys.KeyFact("log-key", "log.pem")]),
    "certificates": _certificate(),
    "journal": _journal(),
    "anchors": _anchors(),
    "chain": _chain(),
    "registry": _registry(),
    "models": _models(),
    "ipfs": models.judge_ipfs([models.SourceFact("store", True)]),
    "machine": _machine(),
    "python": _python(),
    "unit": _unit(),
    "gateway": _gateway(),
    "page": _page(),
    "config": _config(),
}

DOWN = models.SourceFact("kubo http://a", False, words="kubo http://a: no connection to it (unreachable)")
UP_SOURCE = models.SourceFact("store", True)

WRONG = {
    "broker.unreachable": [broker.SHEET.found("unreachable", "away", broker="b:1")],  # made where it is asked
    "broker.tls": [broker.SHEET.found("tls", "untrusted", broker="b:1")],
    "broker.tls-files": [broker.SHEET.found("tls-files", "no such file")],
    "broker.login": [broker.SHEET.found("login", "refused", account="gateway")],
    "broker.password-file": [broker.SHEET.found("password-file", "open to others")],
    "broker.not-mqtt5": [broker.SHEET.found("not-mqtt5", "it does not speak MQTT 5")],
    "broker.certificate-expires": _broker(days=20),
    "broker.certificate-expired-soon": _broker(days=0.5),
    "broker.plain": _broker(FAR_BROKER),
    "broker.no-session": _broker(kept=False),
    "broker.session-short": _broker(session_expiry_s=60),
    "broker.packet-small": _broker(maximum_packet_bytes=1024),
    "broker.qos": _broker(maximum_qos=0),
    "broker.no-retain": _broker(retain_available=False),
    "broker.no-shared": _broker(config('[mqtt]\nshare_group = "g"\n'), shared_available=False),
    "broker.no-wildcard": _broker(wildcard_available=False),
    "broker.keepalive": _broker(keepalive_s=5),
    "broker.receive-maximum": _broker(receive_maximum=10),
    "broker.subscription": _broker(subscribed=False),
    "broker.known-bad": _broker(version="mosquitto version 1.5.7"),
    "broker.known-quirk": _broker(version="mosquitto version 2.0.11"),
    "broker.version-unknown": _broker(version=""),
    "broker.not-persistent": broker.configuration({"max_queued_messages": ["0"]}, "/etc/m.conf"),
    "broker.queue-by-number": broker.configuration({"persistence": ["true"]}, "/etc/m.conf"),
    "acl.anonymous": _acl(anonymous=True),
    "acl.any-password": _acl(wrong=True),
    "acl.gateway-may-publish-up": _acl(gateway=(True, True, True)),
    "acl.gateway-may-not-answer": _acl(gateway=(False, False, True)),
    "acl.gateway-may-not-tell": _acl(gateway=(False, True, False)),
    "acl.device-for-another": _acl(device=(True, True, False, False)),
    "acl.device-not-at-home": _acl(device=(False, False, False, False)),
    "acl.device-answers": _acl(device=(True, False, True, False)),
    "acl.device-reads-others": _acl(device=(True, False, False, True)),
    "acl.device-refused": _acl(refused="dev-1"),
    "acl.no-device": _acl(),
    "acl.not-asked": _acl(gateway=None),
    "clock.behind": _clock(past=(("the newest entry of the log", NOW_MS + HOUR_MS),)),
    "clock.unsynchronised": _clock(synchronised=False),
    "clock.no-source": _clock(synchronised=False, source=""),
    "clock.imprecise": _clock(error_s=8.0),
    "clock.unknown": _clock(synchronised=None),
    "clock.no-rtc": _clock(has_rtc=False, rtc_ms=None),
    "clock.rtc-off": _clock(rtc_ms=NOW_MS - HOUR_MS),
    "disk.missing": _disk(exists=False),
    "disk.not-writable": _disk(writable=False),
    "disk.not-yours": _disk(writable=False, owned=False),
    "disk.read-only": _disk(read_only=True, writable=False),
    "disk.full": _disk(free_bytes=1 << 19),
    "disk.budget-too-large": _disk(free_bytes=1 << 30),
    "disk.inodes": _disk(inodes=100_000, inodes_free=3),
    "disk.slow": _disk(fsync_ms=120.0),
    "disk.very-slow": _disk(fsync_ms=900.0),
    "disk.worn": _disk(life=(0x02, 0x09)),
    "disk.worn-out": _disk(pre_eol=3),
    "disk.errors": _disk(fs_errors=2),
    "disk.fsck-old": _disk(fsck_days=800.0),
    "keys.log-key": _keys([keys.KeyFact("log-key", "log.pem", "log.pem: may be read by others")]),
    "keys.hpke-key": _keys([keys.KeyFact("hpke-key", "hpke.pem", "hpke.pem: is empty")]),
    "keys.anchoring-key": _keys([keys.KeyFact("anchoring-key", "a.json", "a.json: the passphrase does not open it")]),
    "keys.secret": _keys([keys.KeyFact("mqtt.password_file", "p", "p: is empty")]),
    "keys.elsewhere": _keys([keys.KeyFact("log-key", "credential:log-key", elsewhere=True)]),
    "keys.directory-open": _keys(open_to=["/etc/securenet"]),
    "keys.miner-unknown": _keys(miner=keys.MinerFact(None, b"a", known=False)),
    "keys.miner-other-key": _keys(miner=keys.MinerFact(b"a", b"b", known=True)),
    "keys.left-over": _keys(left_over=["log.pem.next"]),
    "certificates.unreadable": _certificate(problem="cannot be read"),
    "certificates.expired": _certificate(after_days=-1),
    "certificates.not-yet": _certificate(before_days=1),
    "certificates.expires-now": _certificate(after_days=3),
    "certificates.expires": _certificate(after_days=20),
    "certificates.key-mismatch": _certificate(pair=keys.Pair("/c.pem", "/k.pem", fits=False)),
    "certificates.key": _certificate(pair=keys.Pair("/c.pem", "/k.pem", None, "/k.pem: may be read by others")),
    "journal.none": _journal(problem=("none", "there is no journal")),
    "journal.unreadable": _journal(problem=("unreadable", "an I/O error")),
    "journal.damaged": _journal(problem=("damaged", "no database")),
    "journal.too-new": _journal(problem=("too-new", "schema 99")),
    "journal.gaps": _journal(damaged_gaps=1),
    "journal.full": _journal(disk_bytes=100, full_at=100),
    "journal.nearly-full": _journal(disk_bytes=95, full_at=100),
    "journal.set-aside": _journal(set_aside=("/var/lib/securenet/set-aside-1",)),
    "journal.no-checkpoint": _journal(checkpoint_size=None),
    "journal.not-published": _journal(not_published="the log is not published: Permission denied"),
    "journal.quarantine": _journal(quarantined=7),
    "anchors.off": _anchors(config(CHAIN + "[anchor]\nenabled = false\n")),
    "anchors.none-final": _anchors(final_ago_ms=None, final_size=0, first_ago_ms=2 * HOUR_MS),
    "anchors.late": _anchors(final_ago_ms=2 * HOUR_MS),
    "anchors.stuck": _anchors(final_ago_ms=48 * HOUR_MS),
    "anchors.not-read": _anchors(none=True),
    "chain.extra-missing": [endpoints.SHEET.found("extra-missing", "no web3")],
    "chain.unreachable": _chain(_down("http://a: no connection to it"), None, None),
    "chain.endpoint-down": _chain(_down("http://a: no connection to it")),
    "chain.misconfigured": _chain(_down("http://a: it serves chain 1", misconfigured=True)),
    "chain.old-head": _chain(_down("http://a: its newest block 5 is old: it has stopped, or the clock"), None, None),
    "chain.clock-behind": _chain(_down("http://a: its block is 9 s ahead of this machine's clock"), None, None),
    "chain.apart": _chain(second=SECOND._replace(head=900)),
    "chain.slow": _chain(WELL._replace(took_s=5.0)),
    "chain.rate-limited": _chain(_down("http://a: it wants fewer requests: slow down")),
    "chain.single": _chain(second=None),
    "chain.contracts": _chain(contracts="chain.registry has no code"),
    "chain.model-registry": _chain(model_registry="chain.model_registry has no code"),
    "chain.miner-unknown": _chain(miner=None),
    "chain.miner-inactive": _chain(miner="suspended"),
    "chain.unfunded": _chain(balance_wei=0),
    "chain.low-funds": _chain(balance_wei=10**15 + 5 * 10**14),
    "chain.no-account": _chain(account="", balance_wei=None),
    "chain.frozen": _chain(frozen=True),
    "registry.file": _registry(problem="registry.jsonl:3: no key"),
    "registry.no-devices": _registry(active=0),
    "registry.other-fleet": _registry(of_fleet=False),
    "registry.stale": _registry(by_chain=True, as_of_ms=NOW_MS - DAY_MS),
    "registry.ageing": _registry(by_chain=True, as_of_ms=NOW_MS - 3 * HOUR_MS),
    "registry.never": _registry(by_chain=True),
    "models.never-ran": _models(ran={}),
    "models.refused": _models(refused={"vibration": "smoke-test"}),
    "models.aside": _models(aside={"vibration": 4}),
    "models.not-granted": _models(running={"vibration": {"newest": 3, "granted": False}}),
    "models.expired": _models(running={"vibration": {"newest": 3, "granted": True, "expired": True}}),
    "models.told": _models(warnings=["no new version is loaded"]),
    "models.no-key": _models(ON_CHAIN),
    "models.extra-missing": _models(interpreter=False),
    "ipfs.down": models.judge_ipfs([UP_SOURCE, DOWN]),
    "ipfs.all-down": models.judge_ipfs([DOWN]),
    "ipfs.wrong": models.judge_ipfs([models.SourceFact("gateway http://a", True, wrong=True, words="other bytes")]),
    "ipfs.extra-missing": [models.IPFS.found("extra-missing", "no aiohttp")],
    "machine.few-files": _machine(files=256),
    "machine.udp-buffer": _machine(rmem_max=212_992),
    "machine.udp-lost": _machine(udp_lost=9),
    "machine.backlog": _machine(somaxconn=16),
    "machine.no-memory": _machine(available_bytes=9 << 20),
    "machine.low-memory": _machine(available_bytes=100 << 20),
    "machine.killed": _machine(oom_kills=1),
    "machine.no-entropy": _machine(random_ready=False),
    "python.old": _python((3, 9, 2)),
    "python.illegal-instruction": _python(imports=[machine.Import("numpy", -4)]),
    "python.missing": _python(imports=[machine.Import("nacl.bindings", None)]),
    "python.broken": _python(imports=[machine.Import("web3", 1, "ImportError: no libssl")]),
    "python.userland": _python(bits=32),
    "python.no-wheels": _python(kind="armv6l", bits=32),
    "python.no-interpreter": _python(imports=[machine.Import("ai_edge_litert.interpreter", None)]),
    "unit.no-systemd": _unit(booted=False),
    "unit.not-installed": _unit(LoadState="not-found"),
    "unit.failed": _unit(ActiveState="failed", Result="exit-code"),
    "unit.inactive": _unit(ActiveState="inactive"),
    "unit.starting": _unit(ActiveState="activating", SubState="auto-restart"),
    "unit.not-enabled": _unit(UnitFileState="disabled"),
    "unit.restarts": _unit(NRestarts="12"),
    "unit.no-watchdog": _unit(WatchdogUSec="0"),
    "unit.reload": _unit(NeedDaemonReload="yes"),
    "unit.drop-ins": _unit(DropInPaths="/etc/systemd/system/securenet-gateway.service.d/x.conf"),
    "unit.exposed": _unit(exposure=6.1),
    "gateway.silent": unit.judge_gateway(None, "no gateway answers"),
    "gateway.problem": _gateway(problems=["mqtt is down: no connection"]),
    "gateway.coap-port": _gateway(transports={"coap": {"state": "down", "detail": "Address already in use"}}),
    "gateway.warning": _gateway(warnings=["the chain is down"]),
    "gateway.restarts": _gateway(transports={"coap": {"restarts": 9}}),
    "gateway.commit-faults": _gateway(commit_faults=2),
    "gateway.refused-much": _gateway(rejected={"bad-signature": 5000}),
    "page.not-served": _page(down="cannot listen on 127.0.0.1:8470: Address already in use", status=404),
    "page.open": _page(config('[http]\nhost = "0.0.0.0"\n')),
    "page.silent": _page(listening=False, status=None),
    "page.stranger": _page(status=404),
    "page.not-well": _page(status=503),
    "page.off": _page(config("[http]\nenabled = false\n")),
    "config.refused": _config(["gateway.id is missing"]),
    "config.writable": _config(writable=True),
    "config.readable-keys": _config(readable=True, key=True),
}
