"""What the calls cost, against the figures that are committed (gas.json); UPDATE_GAS=1 writes them anew."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.anvil import Checkpoint
from support.contracts_kit import Alg, Chain, Gateway, Models, Result, device

SNAPSHOT = Path(__file__).with_name("gas.json")
ROOTS = [bytes([number]) * 32 for number in range(1, 5)]
URN = "urn:dev:mac:0024befffe80{:04x}"


def devices(count, alg, name=URN):
    return [device(name.format(number), number + 1, alg) for number in range(count)]


def measured(chain: Chain) -> dict[str, int]:
    """Gas by call. A batch is given by the device, rounded up."""
    gas = {f"deploy {name}": cost for name, cost in chain.deployed_gas.items()}

    def per_device(batch, fleet="plant"):
        return -(-chain.register(fleet, *batch).gas // len(batch))

    gas["registerDevices, 1 Ed25519"] = per_device(devices(1, Alg.ED25519, "a{}"))
    gas["registerDevices, 100 Ed25519, per device"] = per_device(devices(100, Alg.ED25519))
    gas["registerDevices, 100 ES256, per device"] = per_device(devices(100, Alg.ES256, "es" + URN))
    longest = devices(256, Alg.ES256, "{:064d}")
    gas["registerDevices, 256 ES256 with the longest names, per device"] = per_device(longest, "f" * 32)
    first, second = Gateway("gw-1", chain.miner), Gateway("gw-2", chain.other, hpke_key=bytes([9]) * 1216)
    gas["registerMiner, X25519"] = chain.register_miner(first).gas
    gas["registerMiner, MLKEM768-X25519"] = chain.register_miner(second).gas
    gas["open"] = chain.send(chain.stranger, chain.log, "open", first.log_id).gas
    gas["anchor, the first of an opened log"] = chain.anchor(first.log_id, 1_000, ROOTS[0]).gas
    gas["anchor"] = chain.anchor(first.log_id, 2_000_000, ROOTS[1]).gas
    gas["anchor, the largest size"] = chain.anchor(first.log_id, 2**64 - 1, ROOTS[2]).gas
    gas["anchor, the head once more"] = chain.anchor(first.log_id, 2**64 - 1, ROOTS[2]).gas
    gas["anchor, equivocation"] = chain.anchor(first.log_id, 2**64 - 1, ROOTS[3]).gas
    gas["anchor, the first of a log that was not opened"] = chain.anchor(
        second.log_id, 1_000, ROOTS[0], chain.other
    ).gas
    names = [name for name, _, _ in devices(100, Alg.ED25519)]
    gas["suspend, 1"] = chain.suspend("a0").gas
    gas["suspend, 100, per id"] = -(-chain.suspend(*names).gas // 100)
    gas["reinstate, 100, per id"] = -(-chain.reinstate(*names).gas // 100)
    gas["revoke, 100, per id"] = -(-chain.revoke(*names).gas // 100)
    gas["renewMiner, another account"] = chain.renew_miner(Gateway("gw-1", chain.stranger, number=901)).gas
    return gas | of_models(chain)


def of_models(chain: Chain) -> dict[str, int]:
    """Gas of ModelRegistry, beside the gateways that ``measured`` let in."""
    models = Models(chain)
    gas = {"deploy ModelRegistry": chain.deployed_gas["ModelRegistry"]}
    fleet = [f"g{number:063d}" for number in range(256)]
    for number, name in enumerate(fleet):
        chain.register_miner(Gateway(name, f"0x{10**39 + number:040d}"))
    gas["registerPublisher, Ed25519"] = models.register().gas
    gas["registerPublisher, another key, ES256"] = models.register(number=802, alg=Alg.ES256).gas
    gas["publish, the first version"] = models.publish("anomaly", 1).gas
    gas["publish"] = models.publish("anomaly", 2).gas
    longest = {"cid": "b" * 64, "valid_until": 2**64 - 1}
    gas["publish, the first version with the longest names"] = models.publish("m" * 64, 1, **longest).gas
    gas["publish, the largest version with the longest names"] = models.publish("m" * 64, 2**64 - 1, **longest).gas
    gas["setFloor"] = models.send(models.publisher, "setFloor", "anomaly", 2).gas
    gas["revoke, a version"] = models.send(models.publisher, "revoke", "anomaly", 1).gas
    gas["assign"] = models.send(models.admin, "assign", "digits", models.publisher).gas
    gas["grant, 1"] = models.send(models.granter, "grant", "anomaly", ["gw-1"]).gas
    gas["ungrant, 1"] = models.send(models.granter, "ungrant", "anomaly", ["gw-1"]).gas
    for call in ("grant", "ungrant"):
        done = models.send(models.granter, call, "m" * 64, fleet)
        gas[f"{call}, 256 with the longest names, per gateway"] = -(-done.gas // 256)
    gas["reportAccess, loaded"] = models.report("anomaly", 2, Result.LOADED, sender=chain.stranger).gas
    reason = b"manifest-signature"
    gas["reportAccess, refused"] = models.report("anomaly", 2, Result.REFUSED, reason, chain.stranger).gas
    worst = models.report("m" * 64, 2**64 - 1, Result.REFUSED, b"z" * 32, chain.stranger)
    gas["reportAccess, refused with the longest names"] = worst.gas
    return gas


@pytest.fixture(scope="module")
def gas(deployed: Chain) -> Iterator[dict[str, int]]:
    """Measured once, from both contracts as deployed."""
    before = Checkpoint(deployed.web3)
    yield measured(deployed)
    before.restore()


def test_every_call_costs_what_is_written_down(gas):
    if os.environ.get("UPDATE_GAS") == "1" and os.environ.get("CI") != "true":
        SNAPSHOT.write_text(json.dumps(gas, indent=2) + "\n")
    assert gas == json.loads(SNAPSHOT.read_text())


def test_the_promised_limits_hold(gas):
    anchors = {call: cost for call, cost in gas.items() if call.startswith("anchor") and "not opened" not in call}
    assert len(anchors) == 5
    assert max(anchors.values()) <= 60_000
    batches = {
        call: cost for call, cost in gas.items() if call.startswith("registerDevices") and "per device" in call
    }
    assert len(batches) == 3
    assert max(batches.values()) <= 80_000


def test_the_promised_limits_of_models_hold(gas):
    limits = {"publish": 200_000, "grant, ": 70_000, "ungrant, ": 50_000, "reportAccess": 50_000}
    for call, limit in limits.items():
        costs = [cost for name, cost in gas.items() if name.startswith(call)]
        assert len(costs) >= 2
        assert max(costs) <= limit


def test_a_full_batch_fits_into_a_transaction_of_mainnet(gas):
    assert gas["registerDevices, 256 ES256 with the longest names, per device"] * 256 < 2**24
    for call in ("grant", "ungrant"):
        assert gas[f"{call}, 256 with the longest names, per gateway"] * 256 < 2**24
