"""The wall clock: is it kept by something, and can it be right (pure)."""

from __future__ import annotations

from typing import Final, NamedTuple

from gateway.config.model import Config
from gateway.doctor.finding import Finding, Sheet, error, note, warning

SLACK_MS: Final = 10_000
RTC_OFF_S: Final = 60.0
OFF_S: Final = 5.0

SHEET: Final = Sheet(
    "clock",
    {
        "behind": error(
            "The clock is wrong: let the network set it, `timedatectl set-ntp true`, or set it by hand, "
            "`timedatectl set-time 'YYYY-MM-DD hh:mm:ss'`. Until then messages are taken by their sequence."
        ),
        "unsynchronised": warning(
            "Let something keep it: `timedatectl set-ntp true`; where there is no network time, a GPS clock or an "
            "RTC with a battery, and `clock.trust`."
        ),
        "no-source": warning("Install one: `apt-get install systemd-timesyncd`, then `timedatectl set-ntp true`."),
        "imprecise": warning(
            "See what it follows, and how well: `timedatectl timesync-status`, or `chronyc tracking`."
        ),
        "unknown": note("Ask the kernel as root, or outside of the container: `timedatectl`."),
        "no-rtc": note(
            "Without a battery-backed clock the time is wrong after each power cut until the network sets it: fit an "
            "RTC, then `timedatectl` shows it."
        ),
        "rtc-off": warning(
            "Write the time to it: `hwclock --systohc`; if it is off again after a power cut, change its battery."
        ),
    },
)


class Facts(NamedTuple):
    """What was learned. Times in ms since 1970, None where nothing was learned."""

    now_ms: int
    synchronised: bool | None
    error_s: float | None
    source: str
    past: tuple[tuple[str, int], ...]
    """Moments that are past for certain, each with what they are."""
    rtc_ms: int | None
    has_rtc: bool
    virtual: bool = False


def judge(config: Config | None, facts: Facts) -> list[Finding]:
    """Whether the clock can be believed."""
    found = []
    for what, at_ms in facts.past:
        if facts.now_ms + SLACK_MS < at_ms:
            behind_s = (at_ms - facts.now_ms) / 1000
            found.append(SHEET.found("behind", f"it is {behind_s:.0f} s before {what}", behind_s=behind_s))
            break
    found += _keeping(config, facts)
    if not facts.has_rtc and not facts.virtual:
        found.append(SHEET.found("no-rtc", "this machine has no real-time clock"))
    if facts.rtc_ms is not None and abs(facts.rtc_ms - facts.now_ms) > RTC_OFF_S * 1000:
        off_s = (facts.rtc_ms - facts.now_ms) / 1000
        found.append(SHEET.found("rtc-off", f"the real-time clock is off by {off_s:+.0f} s", off_s=off_s))
    return found or [SHEET.fine(f"kept by {facts.source or 'the host'}", error_s=facts.error_s)]


def _keeping(config: Config | None, facts: Facts) -> list[Finding]:
    if facts.synchronised is None:
        return [SHEET.found("unknown", "the kernel does not say whether the clock is synchronised")]
    if not facts.synchronised:
        trusted = config is not None and config.clock.trust == "always"
        what = "the kernel says that nothing synchronises the clock" + (
            ", and clock.trust is always" if trusted else ""
        )
        return [SHEET.found("unsynchronised" if facts.source else "no-source", what)]
    if facts.error_s is not None and facts.error_s > OFF_S:
        return [SHEET.found("imprecise", f"the clock may be off by {facts.error_s:.1f} s", error_s=facts.error_s)]
    return []
