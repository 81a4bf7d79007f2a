"""The systemd unit, the running gateway, its page and its configuration (pure)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from gateway.config.model import Config
from gateway.doctor.broker import is_loopback
from gateway.doctor.finding import Finding, Sheet, error, note, warning
from gateway.transport.port import LinkState

EXPOSED: Final = 2.0
RESTARTS: Final = 3
MAX_TOLD: Final = 20

UNIT: Final = Sheet(
    "unit",
    {
        "no-systemd": note(
            "Where systemd is not the first process, something else has to start the gateway: "
            "`securenet run --config {config}`."
        ),
        "not-installed": note(
            "Make it a service: `securenet install`; without one it runs by `securenet run --config {config}`."
        ),
        "failed": error(
            "See why, then start it: `journalctl -u {unit} -n 50`, `systemctl reset-failed {unit}`, "
            "`systemctl start {unit}`."
        ),
        "inactive": warning("Start it: `systemctl start {unit}`; see why it stopped: `journalctl -u {unit} -n 50`."),
        "starting": warning("It is not ready yet: `systemctl status {unit}`, `securenet status`."),
        "not-enabled": warning("It will not come back after a restart of the machine: `systemctl enable {unit}`."),
        "restarts": warning("Something ends it: `journalctl -u {unit} -p warning -n 100`."),
        "no-watchdog": warning(
            "A gateway that hangs is not restarted: `systemctl revert {unit}`, then `systemctl restart {unit}`."
        ),
        "reload": warning(
            "The unit's file is newer than what systemd knows: `systemctl daemon-reload`, then "
            "`systemctl restart {unit}`."
        ),
        "drop-ins": note("Somebody changed the unit on this machine: `systemctl cat {unit}`."),
        "exposed": warning(
            "The sandbox is weaker than ours: `systemd-analyze security {unit}`, `systemctl cat {unit}`."
        ),
    },
)

GATEWAY: Final = Sheet(
    "gateway",
    {
        "silent": warning(
            "Start it, `systemctl start securenet-gateway`; if it runs, ask as its user, "
            "`sudo -u securenet securenet doctor`."
        ),
        "problem": error(
            "`securenet status` has the whole picture; the check that it names has the remedy: `securenet doctor`."
        ),
        "coap-port": error(
            "Another program has the port: see which, `ss -lunp`, and stop it; or change `coap.port`, then "
            "`systemctl restart securenet-gateway`. The gateway tries again by itself."
        ),
        "warning": warning("`securenet status` has the whole picture."),
        "restarts": warning(
            "A part of it fails again and again: `journalctl -u securenet-gateway -p warning -n 100`."
        ),
        "commit-faults": error("The disk refused what was to be stored: `securenet doctor --only disk`."),
        "refused-much": warning("Most of what comes is refused: `securenet quarantine list` says why."),
    },
)

PAGE: Final = Sheet(
    "page",
    {
        "open": warning(
            "Others see devices and figures. Set `http.host` to 127.0.0.1, and put a reverse proxy with a "
            "login before it: `securenet show-config`."
        ),
        "not-served": warning(
            "Another program has the port: see which, `ss -ltnp`, and stop it; or change `http.port`, then "
            "`systemctl reload securenet-gateway`."
        ),
        "silent": warning(
            "Another program may have the port: `ss -ltnp`; or the gateway does not run: "
            "`securenet status`. Then change `http.port`."
        ),
        "stranger": warning("What answers there is no gateway: `ss -ltnp`; change `http.port`."),
        "not-well": error("It says why: `securenet status`."),
        "off": note("Nothing serves metrics and page: `http.enabled`, `securenet show-config`."),
    },
)

CONFIG: Final = Sheet(
    "config",
    {
        "refused": error(
            "Correct the line that it names: `securenet check-config --config {config}`; a file to start "
            "from: `securenet example-config`."
        ),
        "writable": error("Others may change it: `chmod go-w {config}`."),
        "readable-keys": warning(
            "A URL in it has a key, and others may read it: move the URL into a credential, "
            "`chain.rpc` = credential:NAME, or `chmod 640 {config}`."
        ),
    },
)


class UnitFacts(NamedTuple):
    """``booted``: systemd is the first process. ``shown``: what ``systemctl show`` says."""

    booted: bool
    shown: Mapping[str, str]
    exposure: float | None = None


class PageFacts(NamedTuple):
    """What listens where the configuration says. ``status``: of HTTP on /healthz; None: no answer.

    ``down``: why the running gateway does not serve it, in its own words; empty when it does.
    """

    listening: bool
    status: int | None
    bound_open: bool = False
    """Whether it is bound to more than loopback, as the kernel has it."""
    running: bool = True
    down: str = ""


class ConfigFacts(NamedTuple):
    """The file itself."""

    faults: Sequence[str]
    writable_by_others: bool = False
    readable_by_others: bool = False
    has_key_in_url: bool = False


def judge_unit(facts: UnitFacts, unit: str, config: str) -> list[Finding]:
    """Whether systemd keeps the gateway."""
    shown = facts.shown
    if not facts.booted:
        return [UNIT.found("no-systemd", "systemd does not run here", config=config)]
    if shown.get("LoadState") != "loaded":
        return [UNIT.found("not-installed", f"systemd has no {unit}", config=config)]
    found, state = [], shown.get("ActiveState", "")
    if state == "failed":
        found.append(UNIT.found("failed", f"it failed ({shown.get('Result', 'unknown')})", unit=unit))
    elif state in {"activating", "reloading", "deactivating"}:
        found.append(UNIT.found("starting", f"it is {state} ({shown.get('SubState', '')})", unit=unit))
    elif state != "active":
        found.append(UNIT.found("inactive", "it does not run", unit=unit))
    restarts = int(shown["NRestarts"]) if shown.get("NRestarts", "").isdigit() else 0
    if restarts >= RESTARTS:
        found.append(UNIT.found("restarts", f"systemd restarted it {restarts} times", unit=unit, restarts=restarts))
    if shown.get("UnitFileState") == "disabled":
        found.append(UNIT.found("not-enabled", "it is not enabled", unit=unit))
    if shown.get("WatchdogUSec", "0") in {"0", "infinity", ""}:
        found.append(UNIT.found("no-watchdog", "no watchdog is set", unit=unit))
    if shown.get("NeedDaemonReload") == "yes":
        found.append(UNIT.found("reload", "its file was changed", unit=unit))
    if facts.exposure is not None and facts.exposure > EXPOSED:
        found.append(UNIT.found("exposed", f"systemd-analyze scores it {facts.exposure}, ours has 2.0", unit=unit))
    drop_ins = shown.get("DropInPaths", "").split()
    notes = [UNIT.found("drop-ins", f"it has drop-ins: {', '.join(drop_ins)}", unit=unit)] if drop_ins else []
    return [*found, *notes] if found else [UNIT.fine(f"{state}, restarted {restarts} times"), *notes]


def judge_gateway(status: Mapping[str, Any] | None, silence: str) -> list[Finding]:
    """What the running gateway says of itself."""
    if status is None:
        return [GATEWAY.found("silent", silence or "no gateway answers")]
    found = [GATEWAY.found("problem", str(each)) for each in list(status.get("problems", ()))[:MAX_TOLD]]
    found += [GATEWAY.found("warning", str(each)) for each in list(status.get("warnings", ()))[:MAX_TOLD]]
    links = {name: each for name, each in dict(status.get("transports", {})).items() if isinstance(each, Mapping)}
    if links.get("coap", {}).get("state") == LinkState.DOWN.value:
        found.append(GATEWAY.found("coap-port", f"CoAP is not served: {links['coap'].get('detail')}"))
    for name, link in links.items():
        restarts = link.get("restarts", 0)
        if restarts >= RESTARTS:
            found.append(GATEWAY.found("restarts", f"{name} was restarted {restarts} times"))
    if status.get("commit_faults"):
        found.append(GATEWAY.found("commit-faults", f"{status['commit_faults']} commits failed since it started"))
    rejected = sum(count for count in dict(status.get("rejected", {})).values() if isinstance(count, int))
    accepted = status.get("accepted", 0)
    if rejected > 100 and isinstance(accepted, int) and rejected > accepted:  # noqa: PLR2004 -- not a handful
        found.append(GATEWAY.found("refused-much", f"{rejected} messages were refused, {accepted} accepted"))
    up = f"up for {status.get('uptime_s', 0)} s, {accepted} messages accepted"
    return found or [GATEWAY.fine(up, uptime_s=status.get("uptime_s"))]


def judge_page(config: Config, facts: PageFacts) -> list[Finding]:
    """Whether page and metrics answer, and to whom."""
    http = config.http
    if not http.enabled:
        return [PAGE.found("off", "http.enabled is false")]
    found = []
    if facts.bound_open or not is_loopback(http.host):
        found.append(PAGE.found("open", f"the page is bound to {http.host}, beyond this machine"))
    where = f"{http.host}:{http.port}"
    if facts.down:
        found.append(PAGE.found("not-served", facts.down))
    elif facts.running and http.port and not facts.listening:
        found.append(PAGE.found("silent", f"nothing listens on {where}"))
    elif facts.status is not None and facts.status >= 500:  # noqa: PLR2004 -- the server's errors of HTTP
        found.append(PAGE.found("not-well", f"/healthz answers {facts.status}"))
    elif facts.status is not None and facts.status != 200:  # noqa: PLR2004 -- OK of HTTP
        found.append(PAGE.found("stranger", f"/healthz on {where} answers {facts.status}"))
    return found or [PAGE.fine(f"bound to {where}")]


def judge_config(facts: ConfigFacts, path: str) -> list[Finding]:
    """Whether the file can be used, and who may change it."""
    found = [CONFIG.found("refused", fault, config=path) for fault in facts.faults[:MAX_TOLD]]
    if facts.writable_by_others:
        found.append(CONFIG.found("writable", f"others may write to {path}", config=path))
    if facts.readable_by_others and facts.has_key_in_url:
        found.append(CONFIG.found("readable-keys", f"a URL in {path} seems to hold a key", config=path))
    return found or [CONFIG.fine(f"{path} holds")]
