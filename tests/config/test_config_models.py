"""The section [models]: what it takes, and what it needs of the others."""

from pathlib import Path

import pytest

from gateway.config.load import ConfigError, parse_config

GATEWAY = '[gateway]\nid = "gw-1"\nfleet = "plant"\nhpke_key_file = "/etc/securenet/hpke.pem"\n'
CHAIN = f"""[chain]
rpc = ["http://127.0.0.1:8545"]
chain_id = 31337
registry = "0x{"11" * 20}"
anchor_log = "0x{"22" * 20}"
model_registry = "0x{"33" * 20}"
"""
MODELS = '[models]\nenabled = ["pump-vibration", "fan"]\n'

BAD = {
    "no id": (GATEWAY + CHAIN + '[models]\nenabled = ["a b"]', "models.enabled[0]", "is no model id"),
    "a model twice": (GATEWAY + CHAIN + '[models]\nenabled = ["a", "a"]', "models.enabled", "twice"),
    "too many": (
        f"{GATEWAY}{CHAIN}[models]\nenabled = {[f'm{number}' for number in range(17)]}",
        "models.enabled",
        "is a list",
    ),
    "no key": (GATEWAY + CHAIN + '[models]\npublishers = ["0xab"]', "models.publishers[0]", "is no public key"),
    "no registry of models": (GATEWAY + MODELS, "models.enabled", "chain.model_registry is not"),
    "no key to open with": (
        GATEWAY.replace("/etc/securenet/hpke.pem", "") + CHAIN + MODELS,
        "gateway.hpke_key_file",
        "is empty",
    ),
    "a limit of nothing": (GATEWAY + CHAIN + "[models]\nmax_bytes = 0", "models.max_bytes", "is 0"),
}


@pytest.mark.parametrize(("text", "key", "problem"), BAD.values(), ids=BAD.keys())
def test_a_fault_of_the_models_is_told_with_its_key(text, key, problem):
    with pytest.raises(ConfigError) as caught:
        parse_config(text, Path("gateway.toml"))
    assert [(fault.key, problem in fault.problem) for fault in caught.value.faults] == [(key, True)]


def test_models_are_taken_where_chain_and_key_are_there():
    config = parse_config(f'{GATEWAY}{CHAIN}{MODELS}publishers = ["{"ab" * 32}"]\n', Path("gateway.toml"))
    assert config.models.enabled == ("pump-vibration", "fan")
    assert config.models.freeze_after_s == 7200
