"""The same ModelRegistry on the embedded chain (py-evm, in process): what a machine without npm can still run."""

import re
import warnings

import pytest
from support.contracts_kit import Alg, Chain, Gateway, Models, Result, artifact, error_selector, id_hash, p256_key
from web3 import Web3

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # what the embedded chain's own imports deprecate is not ours to mend
    from eth_tester import EthereumTester, PyEVMBackend
    from eth_tester.exceptions import TransactionFailed
    from web3.providers.eth_tester import EthereumTesterProvider


def refused(error):
    """The embedded chain hands on the bytes of an error, not its name."""
    (entry,) = [each for each in artifact("ModelRegistry")["abi"] if (each["type"], each.get("name")) == error]
    return pytest.raises(TransactionFailed, match=re.escape(repr(error_selector(entry))[2:-1]))


def test_the_life_of_a_model_on_the_embedded_chain():
    chain = Chain(Web3(EthereumTesterProvider(EthereumTester(PyEVMBackend()))))
    models = Models(chain)
    chain.register_miner(Gateway("gw-1", chain.miner))
    models.register(number=7, alg=Alg.ES256)
    models.send(models.granter, "grant", "anomaly", ["gw-1"])
    assert [event.name for event in models.publish("anomaly", 3).events] == ["OwnerChanged", "Published"]
    assert models.ask("publisherKey", "anomaly", 3) == [Alg.ES256, p256_key(7)]
    assert models.ask("isGranted", "anomaly", id_hash("gw-1"))
    assert [event.name for event in models.report("anomaly", 3, Result.LOADED).events] == ["AccessReported"]
    models.send(models.publisher, "revoke", "anomaly", 3)
    assert models.ask("current", "anomaly")[4]
    with refused(("error", "StaleVersion")):
        models.publish("anomaly", 3)
    with refused(("error", "InvalidOutcome")):
        models.report("anomaly", 3, Result.REFUSED)
