"""Keys and certificates: can they be read, by nobody else, do they fit together, and how long do they hold (pure)."""

from __future__ import annotations

from typing import Final, NamedTuple

from gateway.doctor.finding import Finding, Sheet, error, note, warning

SOON_DAYS: Final = 30.0
NOW_DAYS: Final = 7.0

KEYS: Final = Sheet(
    "keys",
    {
        "log-key": error(
            "Make it, or name yours in `gateway.log_key_file`: `securenet key create log --out {ref}`; "
            "one that others may read: `chmod 600 {ref}`."
        ),
        "hpke-key": error(
            "Make it, or name the one that you have in `gateway.hpke_key_file`: "
            "`securenet key create hpke --out {ref}`; one that others may read: `chmod 600 {ref}`."
        ),
        "anchoring-key": error(
            "Name the keystore in `anchor.key_file` and its passphrase in `anchor.passphrase_file`, or make one: "
            "`securenet key create anchoring --help`; files that others may read: `chmod 600 {ref}`."
        ),
        "secret": error("Check the path, the owner and the mode: `chmod 600 {ref}`, `securenet check-config`."),
        "elsewhere": note(
            "systemd passes it to the unit alone. Ask as root while it runs: `sudo securenet doctor --only keys`."
        ),
        "directory-open": warning("Close it: `chmod go-w {path}`."),
        "miner-unknown": error(
            "Register this gateway: on a chain `securenet miner register`; in a registry file the line that "
            "`securenet key show --config {config}` prints."
        ),
        "miner-other-key": error(
            "Nothing is accepted until both agree: on a chain `securenet miner renew`; in a registry file "
            "the line that `securenet key show --config {config}` prints."
        ),
        "left-over": note("A key rotation was begun and not finished: `securenet key rotate log --finish`."),
    },
)

CERTIFICATES: Final = Sheet(
    "certificates",
    {
        "unreadable": error("Check path and owner of {ref}: `securenet check-config`."),
        "expired": error(
            "Renew it, put the new one in the place of {ref}; then `systemctl reload securenet-gateway`."
        ),
        "not-yet": error("Its time has not begun, or the clock is wrong: `securenet doctor --only clock`."),
        "expires-now": error("Renew it, put it in the place of {ref}; then `systemctl reload securenet-gateway`."),
        "expires": warning("Renew it, put it in the place of {ref}; then `systemctl reload securenet-gateway`."),
        "key-mismatch": error(
            "`mqtt.cert_file` and `mqtt.key_file` are not of one pair: compare "
            "`openssl x509 -noout -pubkey -in {ref}` with `openssl pkey -pubout -in {key}`."
        ),
        "key": error("Check path, owner and mode of `mqtt.key_file`: `chmod 600 {ref}`, `securenet check-config`."),
    },
)


class KeyFact(NamedTuple):
    """A secret that was tried. ``problem`` is empty when it can be used; ``elsewhere``: it lies with systemd."""

    role: str
    ref: str
    problem: str = ""
    elsewhere: bool = False


class MinerFact(NamedTuple):
    """The gateway in its registry: ``registered`` and ``ours`` are public keys, None when not known."""

    registered: bytes | None
    ours: bytes | None
    known: bool
    bound: bool = True


class Certificate(NamedTuple):
    """A certificate file: what it is for, and its times in ms; ``problem``: why it cannot be used."""

    role: str
    ref: str
    not_before_ms: int = 0
    not_after_ms: int = 0
    problem: str = ""
    subject: str = ""


class Pair(NamedTuple):
    """Certificate and private key of ours. ``fits`` None: not known."""

    certificate: str
    key: str
    fits: bool | None
    problem: str = ""


def judge_keys(
    facts: list[KeyFact], miner: MinerFact | None, *, config: str, open_to: list[str], left_over: list[str]
) -> list[Finding]:
    """Whether the gateway can use its keys, and nobody else can."""
    found = []
    for fact in facts:
        if fact.elsewhere:
            found.append(KEYS.found("elsewhere", f"{fact.ref} ({fact.role}) cannot be seen from here"))
        elif fact.problem:
            kind = fact.role if fact.role in KEYS.kinds else "secret"
            found.append(KEYS.found(kind, fact.problem, ref=fact.ref))
    found += [KEYS.found("directory-open", f"others may replace files in {path}", path=path) for path in open_to]
    found += [KEYS.found("left-over", f"{path} waits to be put in place") for path in left_over]
    if miner is not None:
        found += _miner(miner, config)
    return found or [KEYS.fine(f"{len(facts)} can be used, and by nobody else")]


def _miner(miner: MinerFact, config: str) -> list[Finding]:
    if not miner.known:
        what = "the registry does not know this gateway: nothing is accepted"
        return [KEYS.found("miner-unknown", what, config=config)]
    if not miner.bound:
        what = "the registry binds this gateway's id to another fleet or log: nothing is accepted"
        return [KEYS.found("miner-other-key", what, config=config)]
    if miner.ours is not None and miner.registered is not None and miner.ours != miner.registered:
        what = "the log key is not the one that the registry has of this gateway: nothing is accepted"
        return [KEYS.found("miner-other-key", what, config=config)]
    return []


def judge_certificates(facts: list[Certificate], pair: Pair | None, now_ms: int) -> list[Finding]:
    """How long the certificates hold."""
    found = []
    for fact in facts:
        found += _certificate(fact, now_ms)
    if pair is not None and pair.problem:
        found.append(CERTIFICATES.found("key", pair.problem, ref=pair.key))
    if pair is not None and pair.fits is False:
        what = f"{pair.key} is not the key of {pair.certificate}"
        found.append(CERTIFICATES.found("key-mismatch", what, ref=pair.certificate, key=pair.key))
    if found:
        return found
    days = min((fact.not_after_ms - now_ms for fact in facts), default=0) / 86_400_000
    return [CERTIFICATES.fine(f"{len(facts)} hold for {days:.0f} days" if facts else "none is configured", days=days)]


def _certificate(fact: Certificate, now_ms: int) -> list[Finding]:
    if fact.problem:
        return [CERTIFICATES.found("unreadable", f"{fact.role} {fact.ref}: {fact.problem}", ref=fact.ref)]
    name = f"the {fact.role} {fact.ref} ({fact.subject})"
    days = (fact.not_after_ms - now_ms) / 86_400_000
    if now_ms < fact.not_before_ms:
        return [CERTIFICATES.found("not-yet", f"{name} is not valid yet", ref=fact.ref)]
    if days < 0:
        return [CERTIFICATES.found("expired", f"{name} ended {-days:.1f} days ago", ref=fact.ref, days=days)]
    if days < SOON_DAYS:
        kind = "expires-now" if days < NOW_DAYS else "expires"
        return [CERTIFICATES.found(kind, f"{name} ends in {days:.1f} days", ref=fact.ref, days=days)]
    return []
