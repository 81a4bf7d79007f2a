"""What both contracts ought to do, in plain Python: the model that the real ones are held against.

Every method changes the model and returns what the transaction has to say: its events, or the error that refuses it,
as ``(name, *arguments)``. A refusal changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from support.contracts_kit import Event, Gateway, Kind, Status, id_hash

EMPTY_ROOT = bytes.fromhex("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")
Told = list[Event] | tuple[object, ...]


@dataclass(frozen=True)
class Head:
    size: int = 0
    root: bytes = EMPTY_ROOT
    frozen: bool = False


@dataclass
class Model:
    kinds: dict[str, Kind] = field(default_factory=dict)
    statuses: dict[str, Status] = field(default_factory=dict)
    miners: dict[str, Gateway] = field(default_factory=dict)
    heads: dict[bytes, Head] = field(default_factory=dict)

    def register(self, fleet: str, devices: list[tuple[str, int, bytes]]) -> Told:
        names = [name for name, _, _ in devices]
        for at, name in enumerate(names):
            if name in self.kinds or name in names[:at]:
                return ("AlreadyRegistered", name)
        told = []
        for name, alg, key in devices:
            self.kinds[name], self.statuses[name] = Kind.DEVICE, Status.ACTIVE
            facts = {"idHash": id_hash(name), "id": name, "fleet": fleet, "alg": alg, "publicKey": key}
            told.append(Event("DeviceRegistered", facts))
        return told

    def register_miner(self, gateway: Gateway) -> Told:
        if gateway.id in self.kinds:
            return ("AlreadyRegistered", gateway.id)
        if self.miner_of(gateway.account) is not None:
            return ("AccountTaken", gateway.account.lower())
        self.kinds[gateway.id], self.statuses[gateway.id] = Kind.MINER, Status.ACTIVE
        self.miners[gateway.id] = gateway
        return [Event("MinerRegistered", gateway.facts())]

    def renew_miner(self, gateway: Gateway) -> Told:
        if gateway.id not in self.kinds:
            return ("NotRegistered", gateway.id)
        if self.kinds[gateway.id] is not Kind.MINER:
            return ("NotAMiner", gateway.id)
        if self.statuses[gateway.id] is Status.REVOKED:
            return ("RevokedForEver", gateway.id)
        if self.miners[gateway.id].fleet != gateway.fleet:
            return ("FleetIsFixed", gateway.id)
        if self.miner_of(gateway.account) not in {None, gateway.id}:
            return ("AccountTaken", gateway.account.lower())
        self.miners[gateway.id] = gateway
        return [Event("MinerRenewed", gateway.facts())]

    def set_status(self, names: list[str], status: Status) -> Told:
        wanted = dict(self.statuses)
        told = []
        for name in names:
            if name not in wanted:
                return ("NotRegistered", name)
            if wanted[name] is status:
                continue
            if wanted[name] is Status.REVOKED:
                return ("RevokedForEver", name)
            wanted[name] = status
            facts = {"idHash": id_hash(name), "id": name, "kind": self.kinds[name], "status": status}
            told.append(Event("StatusChanged", facts))
        self.statuses = wanted
        return told

    def anchor(self, log: bytes, size: int, root: bytes, account: str) -> Told:
        miner = self.miner_of(account)
        bound = miner is not None and self.miners[miner].log_id == log
        if not bound or self.statuses[miner] is not Status.ACTIVE:
            return ("NotActiveMiner", log, account.lower())
        head = self.heads.get(log, Head())
        if head.frozen:
            return ("LogFrozen", log, head.size)
        if size == 0 or size < head.size:
            return ("StaleSize", log, size, head.size)
        if size > head.size:
            self.heads[log] = Head(size, root)
            return [Event("Anchored", {"logId": log, "size": size, "root": root, "miner": account})]
        if root == head.root:
            return []
        self.heads[log] = replace(head, frozen=True)
        facts = {"logId": log, "size": size, "anchoredRoot": head.root, "otherRoot": root, "miner": account}
        return [Event("Equivocation", facts)]

    def open(self, log: bytes) -> Told:
        known = any(gateway.log_id == log for gateway in self.miners.values())
        return [] if known else ("UnknownLog", log)

    def miner_of(self, account: str) -> str | None:
        return next((name for name, gateway in self.miners.items() if gateway.account == account), None)


@dataclass
class Follower:
    """What someone knows who saw the events alone, in their order."""

    devices: dict[str, tuple[str, int, bytes]] = field(default_factory=dict)
    miners: dict[str, dict[str, object]] = field(default_factory=dict)
    statuses: dict[str, int] = field(default_factory=dict)
    heads: dict[bytes, Head] = field(default_factory=dict)

    def follow(self, event: Event) -> None:
        facts = event.args
        if event.name == "DeviceRegistered":
            self.devices[facts["id"]] = (facts["fleet"], facts["alg"], facts["publicKey"])
            self.statuses[facts["id"]] = Status.ACTIVE
        elif event.name in {"MinerRegistered", "MinerRenewed"}:
            self.miners[facts["id"]] = facts
            self.statuses.setdefault(facts["id"], Status.ACTIVE)
        elif event.name == "StatusChanged":
            self.statuses[facts["id"]] = facts["status"]
        elif event.name == "Anchored":
            self.heads[facts["logId"]] = Head(facts["size"], facts["root"])
        elif event.name == "Equivocation":
            self.heads[facts["logId"]] = Head(facts["size"], facts["anchoredRoot"], frozen=True)
