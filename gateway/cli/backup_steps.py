"""What a person does after a restore, so that no promise of the gateway's is broken (pure)."""

from __future__ import annotations

from gateway.cli.backup_file import Manifest
from gateway.config.model import Config

_START = "Start the gateway, and look: securenet status"
_MISMATCH = (
    "If anchoring is held by history-mismatch, something did come after the backup: stop the gateway, "
    "give it a new id."
)
_ACCOUNT = (
    "An account anchors for one gateway alone: put its keystore away, make another with "
    "securenet key create anchoring, and send it funds."
)


def next_steps(manifest: Manifest, config: Config, *, new_log: bool, tail: bool, added: int) -> list[str]:
    """The steps, in their order."""
    if new_log:
        return _new_log(manifest, config)
    steps = ["Check it: securenet log fsck", _START]
    if added:
        last = manifest.log_size + added - 1
        steps.append(f"The places {manifest.log_size} to {last} are kept without their bytes: journal.entries_lost.")
    elif tail:
        steps.append("The published log ends where the backup does.")
    return [*steps, _MISMATCH] if config.chain.rpc else steps


def _new_log(manifest: Manifest, config: Config) -> list[str]:
    ended = (
        f"The log {manifest.origin} ends at {manifest.log_size} entries: a receipt for that place or a later one "
        "cannot be proven. The gateway keeps that log in set-aside-…-other-log when it starts: copy it away."
    )
    steps = [ended]
    known = "Let the registry know this gateway: "
    if config.chain.rpc:
        new = config.gateway.id
        steps += [_ACCOUNT, f"{known}securenet miner register {new}; then securenet miner revoke for the old id."]
    else:
        steps.append(f"{known}put the line that securenet key show log prints in the place of the old one.")
    if config.mqtt.enabled and not config.mqtt.client_id:
        old = manifest.origin.rpartition("/")[2]
        steps.append(f'For what the broker still holds for the old id: mqtt.client_id = "securenet-{old}".')
    return [*steps, _START]
