"""The machine: limits of the kernel, memory, random numbers, and whether what is installed runs here (pure)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from gateway.config.model import Config
from gateway.doctor.finding import Finding, Sheet, error, note, warning

FEW_FILES: Final = 1024
UDP_BYTES: Final = 1 << 20
UDP_BUSY_PER_S: Final = 100.0
BACKLOG: Final = 128
LITTLE_MEMORY: Final = 48 << 20
LOW_MEMORY: Final = 128 << 20
MODEL_MEMORY: Final = 160 << 20
OLDEST: Final = (3, 11)
SIGILL: Final = 4

MACHINE: Final = Sheet(
    "machine",
    {
        "few-files": warning(
            "Raise it in the unit: `systemctl edit securenet-gateway`, LimitNOFILE=65536, then "
            "`systemctl restart securenet-gateway`."
        ),
        "udp-buffer": note(
            "CoAP bursts are lost above it: `sysctl -w net.core.rmem_max=4194304`, and the same line in "
            "/etc/sysctl.d."
        ),
        "udp-lost": warning(
            "Datagrams were dropped because nobody read them in time: `sysctl -w net.core.rmem_max=4194304`; "
            "`nstat -az UdpRcvbufErrors` shows whether it goes on."
        ),
        "backlog": note("Raise it: `sysctl -w net.core.somaxconn=1024`."),
        "no-memory": error(
            "The kernel will end a process soon: see who takes it, `ps --sort=-rss -eo rss,comm`; lower "
            "`ingest.queue_bytes` and `models.max_bytes`."
        ),
        "low-memory": warning("See who takes it: `ps --sort=-rss -eo rss,comm`."),
        "killed": warning("The kernel ended processes for want of memory: `journalctl -k --grep oom`."),
        "no-entropy": error(
            "Keys and nonces wait for the kernel's random numbers: `apt-get install rng-tools5`, "
            "`dmesg --level=warn`."
        ),
    },
)

PYTHON: Final = Sheet(
    "python",
    {
        "old": error(
            "The gateway needs Python 3.11: install our package, which brings it, "
            "`apt-get install securenet-gateway`."
        ),
        "illegal-instruction": error(
            "This processor is older than the installed wheel of {module}. Install the build of the distribution, "
            "`apt-get install {package}`, or run without it."
        ),
        "missing": error("Install it again: `pip install securenet-gateway`."),
        "broken": error("Install it again for this machine: `pip install --force-reinstall {package}`."),
        "userland": warning(
            "A 64-bit kernel with a 32-bit system: most wheels are not built for it. Install a 64-bit system; "
            "`dpkg --print-architecture` says what this is."
        ),
        "no-wheels": warning(
            "There are no wheels for this processor: everything is built from source, or not there: "
            "`pip download --only-binary :all: securenet-gateway`."
        ),
        "no-interpreter": note(
            "No models run here: `pip install 'securenet-gateway[litert]'` where they are wanted."
        ),
    },
)

WHEELS: Final = {"x86_64", "aarch64"}
"""Machines for which every dependency has a wheel."""
DEBIAN: Final[Mapping[str, str]] = {
    "numpy": "python3-numpy",
    "nacl": "python3-nacl",
    "cryptography": "python3-cryptography",
    "cbor2": "python3-cbor2",
    "aiohttp": "python3-aiohttp",
}
REQUIRED: Final = ("nacl.bindings", "cryptography.hazmat.bindings._rust", "cbor2", "aiocoap", "mqttium", "structlog")
OPTIONAL: Final = ("numpy", "ai_edge_litert.interpreter", "web3", "aiohttp")


class MachineFacts(NamedTuple):
    """What the kernel says; None where it is mute."""

    files: int | None = None
    rmem_max: int | None = None
    udp_lost: int = 0
    somaxconn: int | None = None
    available_bytes: int | None = None
    total_bytes: int | None = None
    swap_bytes: int = 0
    gateway_bytes: int | None = None
    oom_kills: int = 0
    random_ready: bool = True


class Import(NamedTuple):
    """How a module's import ended in a process of its own: exit code, negative for a signal. None: not installed."""

    module: str
    code: int | None
    words: str = ""


class PythonFacts(NamedTuple):
    """The interpreter, and what it can load."""

    version: tuple[int, int, int]
    machine: str
    bits: int
    imports: tuple[Import, ...] = ()


def judge_machine(config: Config | None, facts: MachineFacts) -> list[Finding]:
    """Whether the kernel gives what a gateway needs."""
    found = []
    if not facts.random_ready:
        found.append(MACHINE.found("no-entropy", "the kernel has no random numbers yet"))
    if facts.files is not None and facts.files < FEW_FILES:
        found.append(MACHINE.found("few-files", f"a process may open {facts.files} files", files=facts.files))
    found += _memory(config, facts)
    if facts.udp_lost:
        what = f"{facts.udp_lost} UDP datagrams were lost since the machine started"
        found.append(MACHINE.found("udp-lost", what, lost=facts.udp_lost))
    coap = config is None or config.coap.enabled
    if coap and facts.rmem_max is not None and facts.rmem_max < UDP_BYTES:
        what = f"a socket may buffer {facts.rmem_max >> 10} KiB of UDP"
        found.append(MACHINE.found("udp-buffer", what, rmem_max=facts.rmem_max))
    if facts.somaxconn is not None and facts.somaxconn < BACKLOG:
        found.append(MACHINE.found("backlog", f"{facts.somaxconn} connections may wait to be taken"))
    memory = "" if facts.available_bytes is None else f"{facts.available_bytes >> 20} MiB of memory available"
    fine = MACHINE.fine(memory or "nothing is short", available_bytes=facts.available_bytes, files=facts.files)
    return found if any(each.name != "machine.udp-buffer" for each in found) else [fine, *found]


def _memory(config: Config | None, facts: MachineFacts) -> list[Finding]:
    found = []
    if facts.available_bytes is not None:
        wanted = MODEL_MEMORY if config is not None and config.models.enabled else LOW_MEMORY
        details = {"available_bytes": facts.available_bytes, "gateway_bytes": facts.gateway_bytes}
        what = f"{facts.available_bytes >> 20} MiB of memory are available"
        if facts.available_bytes < LITTLE_MEMORY:
            found.append(MACHINE.found("no-memory", what, **details))
        elif facts.available_bytes < wanted:
            found.append(MACHINE.found("low-memory", what, **details))
    if facts.oom_kills:
        found.append(MACHINE.found("killed", f"{facts.oom_kills} processes were ended since the machine started"))
    return found


def judge_python(facts: PythonFacts) -> list[Finding]:
    """Whether this interpreter can run the gateway."""
    found = []
    shown = ".".join(map(str, facts.version))
    if facts.version[:2] < OLDEST:
        found.append(PYTHON.found("old", f"this is Python {shown}"))
    if facts.machine in WHEELS and facts.bits == 32:  # noqa: PLR2004 -- bits of a pointer
        found.append(PYTHON.found("userland", f"the kernel is {facts.machine}, and Python has 32 bits"))
    elif facts.machine not in WHEELS:
        found.append(PYTHON.found("no-wheels", f"the processor is {facts.machine}"))
    for each in facts.imports:
        found += _import(each)
    return found or [PYTHON.fine(f"Python {shown} on {facts.machine}; everything that is installed loads")]


def _import(fact: Import) -> list[Finding]:
    name = fact.module.partition(".")[0]
    package = DEBIAN.get(name, f"python3-{name}")
    if fact.code is None:
        if fact.module in REQUIRED:
            return [PYTHON.found("missing", f"{name} is not installed")]
        wanted = name == "ai_edge_litert"
        return [PYTHON.found("no-interpreter", "the interpreter of models is not installed")] if wanted else []
    if fact.code == -SIGILL:
        what = f"{name} ends with an illegal instruction on this processor"
        return [PYTHON.found("illegal-instruction", what, module=name, package=package)]
    if fact.code:
        how = f"by signal {-fact.code}" if fact.code < 0 else fact.words or f"with code {fact.code}"
        return [PYTHON.found("broken", f"{name} cannot be loaded: {how}", module=name, package=name)]
    return []
