"""IdentityRegistry, deployed on a real node: every call, every event, every reason to refuse."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.contracts_kit import (
    ZERO,
    Alg,
    Chain,
    Event,
    Gateway,
    Refused,
    Status,
    device,
    ed25519_key,
    id_hash,
    log_id,
    p256_key,
)
from web3 import Web3
from web3.exceptions import ContractLogicError

from gateway.config.ids import is_fleet, is_id
from gateway.crypto.keys import KeyRefused, parse_public_key
from gateway.message import Alg as GatewayAlg

SHARED_NODE = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])


def refused(call, *args):
    with pytest.raises(Refused) as caught:
        call(*args)
    return (caught.value.name, *caught.value.values)


def changed(name, kind, status):
    return Event("StatusChanged", {"idHash": id_hash(name), "id": name, "kind": kind, "status": status})


def test_a_batch_of_devices_is_told_in_full_by_its_events(chain: Chain):
    done = chain.register("plant", device("pump-1", 1), device("pump-2", 2, Alg.ES256))
    assert done.events == [
        Event(
            "DeviceRegistered",
            {"idHash": id_hash(name), "id": name, "fleet": "plant", "alg": alg, "publicKey": key},
        )
        for name, alg, key in [("pump-1", 1, ed25519_key(1)), ("pump-2", 2, p256_key(2))]
    ]
    assert chain.status("pump-1") is chain.status("pump-2") is Status.ACTIVE
    assert chain.status("pump-3") is Status.NONE


def test_a_device_is_known_by_exactly_what_was_registered(chain: Chain):
    chain.register("plant", device("pump-1", 1))
    facts = ["pump-1", "plant", int(Alg.ED25519), ed25519_key(1)]
    assert chain.ask("deviceStatus", *facts) == Status.ACTIVE
    for at, other in enumerate(["pump-2", "mill", int(Alg.ES256), ed25519_key(2)]):
        assert chain.ask("deviceStatus", *facts[:at], other, *facts[at + 1 :]) == Status.NONE
    chain.suspend("pump-1")
    assert chain.ask("deviceStatus", *facts) == Status.SUSPENDED


def test_the_commitment_of_a_device_is_the_hash_that_the_page_gives(chain: Chain):
    chain.register("plant", device("pump-1", 1))
    words = [1, id_hash("pump-1"), Web3.keccak(text="plant"), 1, Web3.keccak(ed25519_key(1))]
    expected = Web3.keccak(chain.web3.codec.encode(["uint8", "bytes32", "bytes32", "uint8", "bytes32"], words))
    assert chain.ask("recordOf", id_hash("pump-1")) == (expected[:30], 1, 1)


def test_the_commitment_of_a_miner_is_the_hash_that_the_page_gives(chain: Chain):
    gateway = Gateway("gw-1", chain.miner)
    chain.register_miner(gateway)
    types = ["uint8", "bytes32", "bytes32", "bytes32", "bytes32", "address"]
    hashes = [id_hash("gw-1"), Web3.keccak(text="plant"), gateway.log_key, Web3.keccak(gateway.hpke_key)]
    expected = Web3.keccak(chain.web3.codec.encode(types, [2, *hashes, chain.miner]))
    assert chain.ask("recordOf", id_hash("gw-1")) == (expected[:30], 2, 1)


def test_a_batch_has_one_to_256_devices(chain: Chain):
    assert refused(chain.register, "plant") == ("BatchSize", 0)
    many = [device(f"pump-{number}", 1) for number in range(257)]
    assert refused(chain.register, "plant", *many) == ("BatchSize", 257)
    assert len(chain.register("plant", *many[:256]).events) == chain.ask("MAX_BATCH") == 256


def test_a_change_of_status_names_one_to_256_ids(chain: Chain):
    for call in (chain.suspend, chain.reinstate, chain.revoke):
        assert refused(call) == ("BatchSize", 0)
        assert refused(call, *["pump-1"] * 257) == ("BatchSize", 257)


def test_a_batch_with_one_bad_device_registers_none(chain: Chain):
    assert refused(chain.register, "plant", device("pump-1", 1), device("pump 2", 2)) == ("InvalidId", "pump 2")
    assert refused(chain.register, "plant", device("pump-1", 1), device("pump-1", 2)) == (
        "AlreadyRegistered",
        "pump-1",
    )
    assert chain.status("pump-1") is Status.NONE


def test_an_id_is_used_once_whatever_it_names_and_however_it_ended(chain: Chain):
    chain.register("plant", device("pump-1", 1))
    chain.register_miner(Gateway("gw-1", chain.miner))
    chain.revoke("pump-1", "gw-1")
    for name in ("pump-1", "gw-1"):
        assert refused(chain.register, "mill", device(name, 2)) == ("AlreadyRegistered", name)
        assert refused(chain.register_miner, Gateway(name, chain.other)) == ("AlreadyRegistered", name)


@pytest.mark.parametrize("character", [chr(code) for code in range(128)] + ["é", "\u0430"])
def test_an_id_has_the_characters_of_the_alphabet_alone(chain: Chain, character):
    name = f"a{character}"
    if is_id(name):
        chain.register("plant", device(name, 1))
        chain.register(name, device("pump-1", 1))
    else:
        assert refused(chain.register, "plant", device(name, 1)) == ("InvalidId", name)
        assert refused(chain.register, name, device("pump-1", 1)) == ("InvalidFleet", name)


@pytest.mark.parametrize(
    "name", ["", ".", "..", "gateway", "a" * 65, "...", ".a", "a.", "gatewaz", "Gateway", "a" * 64]
)
def test_an_id_keeps_its_length_and_leaves_reserved_words_alone(chain: Chain, name):
    gateway = Gateway(name, chain.miner)
    if is_id(name):
        chain.register("plant", device(name, 1))
    else:
        assert refused(chain.register, "plant", device(name, 1)) == ("InvalidId", name)
        assert refused(chain.register_miner, gateway) == ("InvalidId", name)


@pytest.mark.parametrize("fleet", ["", ".", "..", "gateway", "a" * 33, "a/b", "a" * 32])
def test_a_fleet_keeps_its_length_and_leaves_reserved_words_alone(chain: Chain, fleet):
    if is_fleet(fleet):
        chain.register(fleet, device("pump-1", 1))
    else:
        assert refused(chain.register, fleet, device("pump-1", 1)) == ("InvalidFleet", fleet)
        assert refused(chain.register_miner, Gateway("gw-1", chain.miner, fleet=fleet)) == ("InvalidFleet", fleet)


P = 2**255 - 19
P256_P = 2**256 - 2**224 + 2**192 + 2**96 - 1
ODD_ED25519 = [
    *(y.to_bytes(32, "little") for y in (0, 1, P - 1, P, P + 1, 2, 3, 4, 2**255 - 1)),
    *((y | 1 << 255).to_bytes(32, "little") for y in (0, 1, P - 1, 3, 4)),
    bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"),
    bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85"),
    bytes.fromhex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"),
    bytes.fromhex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa"),
    *(b"", bytes(31), ed25519_key(1) + b"\0", p256_key(1)),
]
ODD_P256 = [
    *(b"", p256_key(1)[:64], p256_key(1) + b"\0", bytes(65), b"\4" + bytes(64), ed25519_key(1)),
    *(bytes([first]) + p256_key(1)[1:] for first in (0, 2, 3, 5, 6, 7)),
    p256_key(1)[:64] + bytes([p256_key(1)[64] ^ 1]),
    b"\4" + p256_key(1)[33:] + p256_key(1)[1:33],
    b"\4" + P256_P.to_bytes(32, "big") + p256_key(1)[33:],
    b"\4" + p256_key(1)[1:33] + (2**256 - 1).to_bytes(32, "big"),
    b"\4" + p256_key(1)[1:33] + (P256_P - int.from_bytes(p256_key(1)[33:], "big")).to_bytes(32, "big"),
]


def same_judgement(chain, alg, key):
    """The chain takes a key exactly when the gateway's own registry does."""
    try:
        parse_public_key(GatewayAlg.ED25519 if alg is Alg.ED25519 else GatewayAlg.ES256, key)
    except KeyRefused:
        assert refused(chain.register, "plant", ("pump-1", int(alg), key)) == ("InvalidKey", "pump-1")
        return
    call = chain.registry.functions.registerDevices("plant", [("pump-1", int(alg), key)])
    assert call.call({"from": chain.registrar}) == []


@pytest.mark.parametrize("key", ODD_ED25519)
def test_an_odd_ed25519_key_is_judged_as_the_gateway_judges_it(chain: Chain, key):
    same_judgement(chain, Alg.ED25519, key)


@pytest.mark.parametrize("key", ODD_P256)
def test_an_odd_p256_key_is_judged_as_the_gateway_judges_it(chain: Chain, key):
    same_judgement(chain, Alg.ES256, key)


@SHARED_NODE
@given(key=st.binary(min_size=32, max_size=32))
def test_any_32_bytes_are_judged_as_the_gateway_judges_them(chain: Chain, key):
    same_judgement(chain, Alg.ED25519, key)


def test_a_device_without_an_algorithm_is_refused(chain: Chain):
    assert refused(chain.register, "plant", ("pump-1", 0, ed25519_key(1))) == ("InvalidKey", "pump-1")
    with pytest.raises(ContractLogicError):
        chain.register("plant", ("pump-1", 3, ed25519_key(1)))


def test_a_miner_is_told_in_full_by_its_event(chain: Chain):
    gateway = Gateway("gw-1", chain.miner)
    assert chain.register_miner(gateway).events == [Event("MinerRegistered", gateway.facts())]
    assert chain.ask("logIdOf", "plant", "gw-1") == gateway.log_id == log_id("plant", "gw-1")
    assert chain.ask("minerOf", chain.miner) == [id_hash("gw-1"), Status.ACTIVE]
    assert chain.ask("minerOfLog", gateway.log_id) == id_hash("gw-1")
    assert chain.ask("accountOf", id_hash("gw-1")) == chain.miner
    assert chain.ask("minerStatus", gateway.struct()) == Status.ACTIVE
    assert chain.ask("minerStatus", Gateway("gw-1", chain.miner, number=901).struct()) == Status.NONE
    assert chain.ask("isActiveMiner", chain.miner, gateway.log_id)


def test_an_account_that_is_nobodys_is_no_miner(chain: Chain):
    chain.register_miner(Gateway("gw-1", chain.miner))
    assert chain.ask("minerOf", chain.stranger) == [bytes(32), Status.NONE]
    assert chain.ask("accountOf", id_hash("gw-2")) == ZERO
    assert not chain.ask("isActiveMiner", chain.stranger, log_id("plant", "gw-1"))
    assert not chain.ask("isActiveMiner", chain.miner, log_id("plant", "gw-2"))
    assert not chain.ask("isActiveMiner", chain.stranger, log_id("plant", "gw-2"))


def test_a_miner_brings_a_log_key_an_hpke_key_and_an_account_of_its_own(chain: Chain):
    name = "gw-1"
    bad_log_key = (name, "plant", bytes(32), bytes([9]) * 32, chain.miner)
    send = chain.send
    assert refused(send, chain.registrar, chain.registry, "registerMiner", bad_log_key) == ("InvalidKey", name)
    for hpke_key in (b"", bytes(32), bytes([9]) * 31, bytes([9]) * 33, bytes([9]) * 1215):
        gateway = Gateway(name, chain.miner, hpke_key=hpke_key)
        assert refused(chain.register_miner, gateway) == ("InvalidHpkeKey", name)
    assert refused(chain.register_miner, Gateway(name, ZERO)) == ("ZeroAccount",)
    chain.register_miner(Gateway(name, chain.miner))
    chain.revoke(name)
    assert refused(chain.register_miner, Gateway("gw-2", chain.miner)) == ("AccountTaken", chain.miner.lower())
    hybrid = Gateway("gw-2", chain.other, hpke_key=bytes([9]) * 1216)
    assert chain.register_miner(hybrid).events == [Event("MinerRegistered", hybrid.facts())]


def test_a_miner_renews_its_keys_and_account_and_frees_the_old_one(chain: Chain):
    chain.register_miner(Gateway("gw-1", chain.miner))
    chain.suspend("gw-1")
    renewed = Gateway("gw-1", chain.other, number=901, hpke_key=bytes([8]) * 32)
    assert chain.renew_miner(renewed).events == [Event("MinerRenewed", renewed.facts())]
    assert chain.ask("minerStatus", renewed.struct()) == Status.SUSPENDED
    assert chain.ask("minerOf", chain.miner) == [bytes(32), Status.NONE]
    assert chain.ask("accountOf", id_hash("gw-1")) == chain.other
    chain.reinstate("gw-1")
    assert chain.ask("isActiveMiner", chain.other, renewed.log_id)
    assert not chain.ask("isActiveMiner", chain.miner, renewed.log_id)
    chain.register_miner(Gateway("gw-2", chain.miner))
    assert chain.renew_miner(renewed).events == [Event("MinerRenewed", renewed.facts())]


def test_a_miner_is_not_renewed_into_what_it_cannot_be(chain: Chain):
    assert refused(chain.renew_miner, Gateway("gw-1", chain.miner)) == ("NotRegistered", "gw-1")
    chain.register("plant", device("pump-1", 1))
    assert refused(chain.renew_miner, Gateway("pump-1", chain.miner)) == ("NotAMiner", "pump-1")
    chain.register_miner(Gateway("gw-1", chain.miner))
    chain.register_miner(Gateway("gw-2", chain.other))
    assert refused(chain.renew_miner, Gateway("gw-1", chain.miner, fleet="mill")) == ("FleetIsFixed", "gw-1")
    assert refused(chain.renew_miner, Gateway("gw-1", chain.other)) == ("AccountTaken", chain.other.lower())
    assert refused(chain.renew_miner, Gateway("gw-1", ZERO)) == ("ZeroAccount",)
    assert refused(chain.renew_miner, Gateway("gw-1", chain.miner, hpke_key=b"")) == ("InvalidHpkeKey", "gw-1")
    bad = ("gw-1", "plant", bytes(32), bytes([9]) * 32, chain.miner)
    assert refused(chain.send, chain.registrar, chain.registry, "renewMiner", bad) == ("InvalidKey", "gw-1")
    chain.revoke("gw-1")
    assert refused(chain.renew_miner, Gateway("gw-1", chain.stranger)) == ("RevokedForEver", "gw-1")


def test_a_status_changes_once_and_is_told_once(chain: Chain):
    chain.register("plant", device("pump-1", 1), device("pump-2", 2))
    chain.register_miner(Gateway("gw-1", chain.miner))
    assert chain.suspend("pump-1", "gw-1").events == [changed("pump-1", 1, 2), changed("gw-1", 2, 2)]
    assert chain.suspend("pump-1", "pump-2", "pump-2").events == [changed("pump-2", 1, 2)]
    assert chain.reinstate("pump-1", "gw-1").events == [changed("pump-1", 1, 1), changed("gw-1", 2, 1)]
    assert chain.revoke("pump-1", "pump-2").events == [changed("pump-1", 1, 3), changed("pump-2", 1, 3)]
    assert chain.revoke("pump-1").events == []


def test_what_is_revoked_stays_so_and_what_was_never_registered_has_no_status(chain: Chain):
    chain.register("plant", device("pump-1", 1), device("pump-2", 2))
    chain.revoke("pump-1")
    for call in (chain.suspend, chain.reinstate):
        assert refused(call, "pump-2", "pump-1") == ("RevokedForEver", "pump-1")
    for call in (chain.suspend, chain.reinstate, chain.revoke):
        assert refused(call, "pump-2", "pump-9") == ("NotRegistered", "pump-9")
    assert chain.status("pump-2") is Status.ACTIVE
