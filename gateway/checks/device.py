"""Step 0 (whose message is it) and step 2 (is T.DID in the registry)."""

from __future__ import annotations

from gateway.message import Alg, Rejected, RejectReason
from gateway.registry.port import Device, Status

_NOT_ACTIVE = {
    Status.SUSPENDED: Rejected(RejectReason.DEVICE_SUSPENDED, "the registry holds the device as suspended"),
    Status.REVOKED: Rejected(RejectReason.DEVICE_REVOKED, "the registry holds the device as revoked"),
}


def verify_fleet(signed_fleet: str, routed_fleet: str | None, fleet: str) -> Rejected | None:
    """Step 0: the signed fleet, and the routed one where the transport has one, are the fleet served here."""
    if signed_fleet != fleet or (routed_fleet is not None and routed_fleet != fleet):
        return Rejected(RejectReason.WRONG_FLEET, "the message is addressed to another fleet")
    return None


def verify_identity(device_id: str, routed_device: str | None) -> Rejected | None:
    """Step 0: where the transport names a device (MQTT topic, observed resource), it is the one that signed."""
    if routed_device is not None and routed_device != device_id:
        return Rejected(RejectReason.IDENTITY_MISMATCH, "the route names another device than the signature")
    return None


def verify_device(device: Device | None, fleet: str, alg: Alg | None) -> Rejected | None:
    """Step 2: the device is known in this fleet, active, and signs with the algorithm bound to its key."""
    if device is None or device.fleet != fleet:
        return Rejected(RejectReason.DEVICE_UNKNOWN, "no such device in this fleet")
    if device.status is not Status.ACTIVE:
        return _NOT_ACTIVE[device.status]
    if alg is not device.key.alg:
        return Rejected(RejectReason.ALG_MISMATCH, f"the registered key is {device.key.alg}")
    return None
