"""Who may publish where on the broker (FORMATS.md §3): a device at its own topic, and nobody for another (pure).

Bucket A of the rate limit is charged to the device in the topic: whoever may publish there may spend its budget.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from gateway.doctor.finding import Finding, Sheet, error, note, warning

_MEND = "install our gateway.acl as its acl_file (config/mosquitto), then `systemctl reload mosquitto`."

SHEET: Final = Sheet(
    "acl",
    {
        "anonymous": error(
            "Anybody may say to be any device. Set allow_anonymous false in mosquitto.conf, name a password_file, "
            "then `systemctl restart mosquitto`."
        ),
        "any-password": error(
            "Anybody may say to be any device. Name a password_file in mosquitto.conf, or ask for client "
            "certificates, then `systemctl restart mosquitto`."
        ),
        "gateway-may-publish-up": warning(
            f"The gateway's account need not speak as a device; who steals it could spend the budgets: {_MEND}"
        ),
        "gateway-may-not-answer": error(f"Devices get no receipts over MQTT: {_MEND}"),
        "gateway-may-not-tell": warning(f"Nobody sees whether the gateway is online: {_MEND}"),
        "device-for-another": error(f"A device may spend another one's budget, and is believed to be it: {_MEND}"),
        "device-not-at-home": error(f"The device cannot send: {_MEND}"),
        "device-answers": error(f"A device may forge the sending of receipts to others: {_MEND}"),
        "device-reads-others": warning(f"A device reads what others are answered: {_MEND}"),
        "device-refused": error(
            "Check name and password in the file: the first line is the account, the second its password; set it "
            "anew with `mosquitto_passwd /etc/mosquitto/securenet.passwd {account}`."
        ),
        "no-device": note(
            "Try it with a device's account, name and password in two lines of a file of mode 0600: "
            "`securenet doctor --only acl --device-credentials FILE`."
        ),
        "not-asked": note("See what the check of the broker says: `securenet doctor --only broker`."),
    },
)


class GatewayRights(NamedTuple):
    """What the gateway's own account may do, as it was tried. None: it could not be tried."""

    publish_up: bool | None
    publish_receipt: bool | None
    publish_status: bool | None


class DeviceRights(NamedTuple):
    """What a device's account may do, as it was tried. None: it could not be tried."""

    account: str
    publish_own_up: bool | None
    publish_other_up: bool | None
    publish_other_receipt: bool | None
    read_other_receipt: bool | None


class Facts(NamedTuple):
    """What was tried. ``anonymous`` and ``wrong_password``: whether a stranger was let in."""

    anonymous: bool
    wrong_password: bool
    gateway: GatewayRights | None
    device: DeviceRights | None = None
    device_refused: str = ""


def judge(facts: Facts) -> list[Finding]:
    """Whether an account means something, and each may do what it needs and no more."""
    found = []
    if facts.anonymous:
        found.append(SHEET.found("anonymous", "it lets in clients without a name"))
    if facts.wrong_password:
        found.append(SHEET.found("any-password", "it lets in the gateway's account with a wrong password"))
    if facts.gateway is None:
        found.append(SHEET.found("not-asked", "what the accounts may do was not tried: the broker did not let us in"))
    else:
        found += _gateway(facts.gateway)
    if facts.device is not None:
        found += _device(facts.device)
    elif facts.device_refused:
        what = f"it refuses the device's account {facts.device_refused}"
        found.append(SHEET.found("device-refused", what, account=facts.device_refused))
    else:
        found.append(SHEET.found("no-device", "what a device's account may do was not tried: none was given"))
    fine = SHEET.fine("each account that was tried may do what it needs, and no more")
    return found if any(each.name != "acl.no-device" for each in found) else [fine, *found]


def _gateway(rights: GatewayRights) -> list[Finding]:
    found = []
    if rights.publish_up:
        found.append(SHEET.found("gateway-may-publish-up", "the gateway's account may publish at devices' topics"))
    if rights.publish_receipt is False:
        found.append(SHEET.found("gateway-may-not-answer", "the gateway's account may not publish receipts"))
    if rights.publish_status is False:
        found.append(SHEET.found("gateway-may-not-tell", "the gateway's account may not publish its status"))
    return found


def _device(rights: DeviceRights) -> list[Finding]:
    found, name = [], rights.account
    if rights.publish_other_up:
        found.append(SHEET.found("device-for-another", f"{name} may publish at the topic of another device"))
    if rights.publish_own_up is False:
        found.append(SHEET.found("device-not-at-home", f"{name} may not publish at its own topic"))
    if rights.publish_other_receipt:
        found.append(SHEET.found("device-answers", f"{name} may publish where another device's receipts go"))
    if rights.read_other_receipt:
        found.append(SHEET.found("device-reads-others", f"{name} reads the receipts of another device"))
    return found
