"""The same artifacts on the embedded chain (py-evm, in process): what a machine without npm can still run."""

import re
import warnings

import pytest
from support.contracts_kit import Alg, Chain, Gateway, Status, artifact, device, error_selector
from web3 import Web3

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # what the embedded chain's own imports deprecate is not ours to mend
    from eth_tester import EthereumTester, PyEVMBackend
    from eth_tester.exceptions import TransactionFailed
    from web3.providers.eth_tester import EthereumTesterProvider


@pytest.fixture(scope="module")
def embedded() -> Chain:
    return Chain(Web3(EthereumTesterProvider(EthereumTester(PyEVMBackend()))))


def refused(contract, error):
    """The embedded chain hands on the bytes of an error, not its name."""
    entries = [entry for entry in artifact(contract)["abi"] if entry["type"] == "error" and entry["name"] == error]
    selector = repr(error_selector(entries[0]))[2:-1]
    return pytest.raises(TransactionFailed, match=re.escape(selector))


def test_the_life_of_a_device_and_a_log_on_the_embedded_chain(embedded: Chain):
    done = embedded.register("plant", device("pump-1", 1), device("pump-2", 2, Alg.ES256))
    assert [event.args["id"] for event in done.events] == ["pump-1", "pump-2"]
    gateway = Gateway("gw-1", embedded.miner)
    embedded.register_miner(gateway)
    embedded.send(embedded.stranger, embedded.log, "open", gateway.log_id)
    assert [event.name for event in embedded.anchor(gateway.log_id, 7, bytes([1]) * 32).events] == ["Anchored"]
    embedded.suspend("pump-1")
    embedded.revoke("pump-2")
    assert (embedded.status("pump-1"), embedded.status("pump-2")) == (Status.SUSPENDED, Status.REVOKED)
    assert [event.name for event in embedded.anchor(gateway.log_id, 7, bytes([2]) * 32).events] == ["Equivocation"]
    assert embedded.latest(gateway.log_id) == (7, bytes([1]) * 32, True)
    with refused("AnchorLog", "LogFrozen"):
        embedded.anchor(gateway.log_id, 8, bytes([1]) * 32)


@pytest.mark.parametrize("key", [bytes(32), b"\1" + bytes(31), b"\xed" + b"\xff" * 30 + b"\x7f"])
def test_a_bad_key_is_refused_on_the_embedded_chain(embedded: Chain, key):
    with refused("IdentityRegistry", "InvalidKey"):
        embedded.register("plant", ("pump-9", int(Alg.ED25519), key))
