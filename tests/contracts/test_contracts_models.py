"""ModelRegistry on a real node: what is published, granted and reported, and every refusal by its name."""

import time

import pytest
from support.anvil import Anvil, Checkpoint
from support.contracts_kit import (
    ZERO,
    Alg,
    Chain,
    Event,
    Gateway,
    Models,
    Refused,
    Result,
    ed25519_key,
    id_hash,
    p256_key,
    publication,
)
from web3 import Web3
from web3.exceptions import ContractLogicError

MODEL, OTHER = "anomaly", "digits"
LARGEST = 2**64 - 1
ROLES = {name: bytes(Web3.keccak(text=f"{name}_ROLE")) for name in ("PUBLISHER", "GRANTER")} | {"ADMIN": bytes(32)}


@pytest.fixture(scope="module")
def deployed():
    """A publisher with an Ed25519 key, and two gateways: the miner's account is that of gw-1."""
    with Anvil() as node:
        chain = Chain(node.web3())
        models = Models(chain)
        models.register()
        chain.register_miner(Gateway("gw-1", chain.miner))
        chain.register_miner(Gateway("gw-2", chain.other))
        yield models


@pytest.fixture
def models(deployed: Models):
    before = Checkpoint(deployed.chain.web3)
    yield deployed
    before.restore()


def refused(call, *args, **more):
    with pytest.raises(Refused) as caught:
        call(*args, **more)
    return (caught.value.name, *caught.value.values)


def published(models, model, version, sender=None, alg=Alg.ED25519, key=None, **changes):
    _, _, cid, sha256, until = publication(model, version, **changes)
    facts = {"modelHash": id_hash(model), "publisher": sender or models.publisher, "modelId": model}
    facts |= {"version": version, "manifestCid": cid, "manifestSha256": sha256, "validUntil": until}
    return Event("Published", facts | {"alg": int(alg), "publicKey": key or ed25519_key(800)})


def owner(model, account):
    return Event("OwnerChanged", {"modelHash": id_hash(model), "owner": account, "modelId": model})


def test_the_first_publisher_of_a_model_owns_it_and_the_event_tells_all(models: Models):
    done = models.publish(MODEL, 3)
    assert done.events == [owner(MODEL, models.publisher), published(models, MODEL, 3)]
    _, version, cid, sha256, until = publication(MODEL, 3)
    assert models.ask("current", MODEL) == [version, cid, sha256, until, False]
    assert tuple(models.ask("stateOf", MODEL)) == (version, cid, sha256, until, False, 0, 1, ed25519_key(800))
    assert models.ask("versionOf", MODEL, 3) == [sha256, until, False]
    assert models.ask("ownerOf", MODEL) == models.publisher


def test_versions_rise_by_any_step_up_to_the_largest(models: Models):
    for version in (1, 2, 40, LARGEST):
        assert published(models, MODEL, version) in models.publish(MODEL, version).events
        assert models.ask("current", MODEL)[0] == version
    for version in (0, 40, LARGEST):
        assert refused(models.publish, MODEL, version) == ("StaleVersion", MODEL, version, LARGEST)
    assert refused(models.publish, OTHER, 0) == ("StaleVersion", OTHER, 0, 0)


def test_a_model_that_nobody_published_is_all_zero(models: Models):
    assert models.ask("current", MODEL) == [0, "", bytes(32), 0, False]
    assert tuple(models.ask("stateOf", MODEL)) == (0, "", bytes(32), 0, False, 0, 0, b"")
    assert models.ask("versionOf", MODEL, 1) == [bytes(32), 0, False]
    assert models.ask("publisherKey", MODEL, 1) == models.ask("keyOf", models.chain.stranger) == [0, b""]
    assert (models.ask("ownerOf", MODEL), models.ask("floorOf", MODEL)) == (ZERO, 0)
    assert not models.ask("isGranted", MODEL, id_hash("gw-1"))


@pytest.mark.parametrize("cid", ["", "b" * 65, "bafy/x", "bafy\n", "bafé"])
def test_what_is_no_cid_is_refused(models: Models, cid):
    facts = list(publication(MODEL, 1))
    facts[2] = cid
    assert refused(models.send, models.publisher, "publish", *facts) == ("InvalidCid", cid)


def test_a_version_without_a_digest_or_without_time_left_is_refused(models: Models):
    assert refused(models.publish, MODEL, 1, sha256=bytes(32)) == ("InvalidSha256",)
    for until in (1, int(time.time()) - 3600):
        assert refused(models.publish, MODEL, 1, valid_until=until) == ("AlreadyExpired", until)
    assert refused(models.publish, MODEL, 1, valid_until=0) == ("AlreadyExpired", 0)
    models.publish(MODEL, 1, valid_until=LARGEST)
    assert models.ask("current", MODEL)[3] == LARGEST


@pytest.mark.parametrize("name", ["", ".", "..", "gateway", "a/b", "a b", "x" * 65])
def test_a_name_that_no_model_may_have_is_refused_wherever_it_is_written(models: Models, name):
    assert refused(models.publish, name, 1) == ("InvalidModelId", name)
    send = models.send
    assert refused(send, models.admin, "assign", name, models.publisher) == ("InvalidModelId", name)
    for call in ("grant", "ungrant"):
        assert refused(send, models.granter, call, name, ["gw-1"]) == ("InvalidModelId", name)
    assert refused(send, models.publisher, "revoke", name, 1) == ("InvalidModelId", name)
    assert refused(send, models.publisher, "setFloor", name, 1) == ("InvalidModelId", name)
    assert refused(models.report, name, 1, Result.LOADED) == ("UnknownVersion", name, 1)


def test_a_model_is_published_revoked_and_floored_by_its_owner_alone(models: Models):
    second = models.chain.stranger
    models.register(second, 801)
    models.publish(MODEL, 1)
    assert refused(models.publish, MODEL, 2, sender=second) == ("NotOwner", MODEL, second.lower())
    for call in ("revoke", "setFloor"):
        assert refused(models.send, second, call, MODEL, 1) == ("NotOwner", MODEL, second.lower())
        assert refused(models.send, second, call, OTHER, 0) == ("NotOwner", OTHER, second.lower())
    assert owner(OTHER, second) in models.publish(OTHER, 1, sender=second).events


@pytest.mark.parametrize("call", ["publish", "revoke", "setFloor"])
def test_a_publisher_whose_role_is_taken_does_nothing_more_with_its_models(models: Models, call):
    models.publish(MODEL, 1)
    models.send(models.admin, "revokeRole", ROLES["PUBLISHER"], models.publisher)
    args = publication(MODEL, 2) if call == "publish" else (MODEL, 1)
    wanted = ("AccessControlUnauthorizedAccount", models.publisher.lower(), ROLES["PUBLISHER"])
    assert refused(models.send, models.publisher, call, *args) == wanted
    wanted = ("NotGranter", MODEL, models.publisher.lower())
    assert refused(models.send, models.publisher, "grant", MODEL, ["gw-1"]) == wanted


def test_a_model_goes_to_another_publisher_by_the_admin(models: Models):
    heir = models.chain.stranger
    models.publish(MODEL, 1)
    assert refused(models.send, models.admin, "assign", MODEL, heir) == ("NotAPublisher", heir.lower())
    models.register(heir, 801)
    assert models.send(models.admin, "assign", MODEL, heir).events == [owner(MODEL, heir)]
    assert models.send(models.admin, "assign", MODEL, heir).events == []
    assert refused(models.publish, MODEL, 2) == ("NotOwner", MODEL, models.publisher.lower())
    models.send(heir, "revoke", MODEL, 1)
    assert models.publish(MODEL, 2, sender=heir).events == [published(models, MODEL, 2, heir, key=ed25519_key(801))]


def test_a_model_is_assigned_before_it_is_published(models: Models):
    heir = models.chain.stranger
    models.register(heir, 801)
    models.send(models.admin, "assign", MODEL, heir)
    assert refused(models.publish, MODEL, 1) == ("NotOwner", MODEL, models.publisher.lower())
    models.send(heir, "grant", MODEL, ["gw-1"])
    assert [event.name for event in models.publish(MODEL, 1, sender=heir).events] == ["Published"]


@pytest.mark.parametrize(("alg", "key"), [(Alg.ED25519, ed25519_key(7)), (Alg.ES256, p256_key(7))])
def test_a_publisher_is_registered_with_its_key_and_told(models: Models, alg, key):
    account = models.chain.stranger
    told = Event("PublisherRegistered", {"account": account, "alg": int(alg), "publicKey": key})
    role = {"role": ROLES["PUBLISHER"], "account": account, "sender": models.admin}
    assert models.register(account, 7, alg).events == [Event("RoleGranted", role), told]
    assert models.ask("keyOf", account) == [int(alg), key]
    assert models.register(account, 7, alg).events == []
    assert published(models, MODEL, 1, account, alg, key) in models.publish(MODEL, 1, sender=account).events
    assert models.ask("publisherKey", MODEL, 1) == [int(alg), key]


def test_a_new_key_is_for_what_is_published_from_then_on(models: Models):
    models.publish(MODEL, 1)
    assert [event.name for event in models.register(number=802).events] == ["PublisherRegistered"]
    assert models.ask("publisherKey", MODEL, 1) == [1, ed25519_key(800)]
    assert tuple(models.ask("stateOf", MODEL))[6:] == (1, ed25519_key(800))
    models.publish(MODEL, 2)
    assert models.ask("publisherKey", MODEL, 1) == [1, ed25519_key(800)]
    assert models.ask("publisherKey", MODEL, 2) == [1, ed25519_key(802)]


def test_a_key_that_no_verifier_would_take_is_not_registered(models: Models):
    account = models.chain.stranger
    bad = [(0, ed25519_key(7)), (1, bytes(32)), (1, b"\1" + bytes(31)), (1, ed25519_key(7) + b"\0"), (1, b"")]
    bad += [(1, p256_key(7)), (2, ed25519_key(7)), (2, b"\2" + p256_key(7)[1:]), (2, p256_key(7)[:-1] + b"\xff\xff")]
    for alg, key in bad:
        call = (models.send, models.admin, "registerPublisher", account, alg, key)
        assert refused(*call) == ("InvalidPublisherKey", account.lower())
    with pytest.raises(ContractLogicError):
        models.send(models.admin, "registerPublisher", account, 3, ed25519_key(7))
    call = (models.send, models.admin, "registerPublisher", ZERO, 1, ed25519_key(7))
    assert refused(*call) == ("ZeroAccount",)


def test_the_role_without_a_key_publishes_nothing_and_owns_nothing(models: Models):
    account = models.chain.stranger
    models.send(models.admin, "grantRole", ROLES["PUBLISHER"], account)
    assert refused(models.publish, MODEL, 1, sender=account) == ("NotAPublisher", account.lower())
    assert refused(models.send, models.admin, "assign", MODEL, account) == ("NotAPublisher", account.lower())


def test_a_version_is_revoked_for_ever_and_told_once(models: Models):
    models.publish(MODEL, 1)
    models.publish(MODEL, 2)
    told = Event("VersionRevoked", {"modelHash": id_hash(MODEL), "modelId": MODEL, "version": 1})
    assert models.send(models.publisher, "revoke", MODEL, 1).events == [told]
    assert models.send(models.publisher, "revoke", MODEL, 1).events == []
    assert (models.ask("versionOf", MODEL, 1)[2], models.ask("current", MODEL)[4]) == (True, False)
    models.send(models.publisher, "revoke", MODEL, 2)
    assert models.ask("current", MODEL)[4]
    assert tuple(models.ask("stateOf", MODEL))[4]
    models.publish(MODEL, 3)
    assert not models.ask("current", MODEL)[4]
    for version in (0, 4):
        assert refused(models.send, models.publisher, "revoke", MODEL, version) == ("UnknownVersion", MODEL, version)


def test_a_floor_rises_to_the_newest_version_at_most_and_never_falls(models: Models):
    models.publish(MODEL, 5)
    set_floor = (models.send, models.publisher, "setFloor", MODEL)
    assert refused(*set_floor, 6) == ("FloorAboveNewest", MODEL, 6, 5)
    told = Event("FloorRaised", {"modelHash": id_hash(MODEL), "modelId": MODEL, "floor": 4})
    assert models.send(*set_floor[1:], 4).events == [told]
    assert models.send(*set_floor[1:], 4).events == []
    assert refused(*set_floor, 3) == ("FloorFalls", MODEL, 3, 4)
    assert models.ask("floorOf", MODEL) == tuple(models.ask("stateOf", MODEL))[5] == 4
    assert [event.name for event in models.send(*set_floor[1:], 5).events] == ["FloorRaised"]


def test_every_function_that_writes_is_guarded(models: Models):
    writing = {
        entry["name"]
        for entry in models.contract.abi
        if entry["type"] == "function" and entry["stateMutability"] == "nonpayable"
    }
    by_role = {"publish": "PUBLISHER", "revoke": "PUBLISHER", "setFloor": "PUBLISHER"}
    by_role |= dict.fromkeys(("registerPublisher", "assign", "grantRole", "revokeRole"), "ADMIN")
    arguments = {
        "publish": publication(MODEL, 1),
        "revoke": (MODEL, 1),
        "setFloor": (MODEL, 1),
        "registerPublisher": (models.publisher, 1, ed25519_key(7)),
        "assign": (MODEL, models.publisher),
    }
    assert writing - set(by_role) == {"grant", "ungrant", "reportAccess", "renounceRole"}
    for function, role in by_role.items():
        args = arguments.get(function, (ROLES["GRANTER"], models.granter))
        holder = models.publisher if role == "PUBLISHER" else models.admin
        for sender in {models.admin, models.publisher, models.granter, models.chain.miner} - {holder}:
            wanted = ("AccessControlUnauthorizedAccount", sender.lower(), ROLES[role])
            assert refused(models.send, sender, function, *args) == wanted


def test_roles_are_named_given_taken_and_laid_down(models: Models):
    assert models.ask("PUBLISHER_ROLE") == ROLES["PUBLISHER"]
    assert models.ask("GRANTER_ROLE") == ROLES["GRANTER"]
    assert models.ask("DEFAULT_ADMIN_ROLE") == ROLES["ADMIN"]
    told = {"role": ROLES["GRANTER"], "account": models.chain.stranger, "sender": models.admin}
    call = (ROLES["GRANTER"], models.chain.stranger)
    assert models.send(models.admin, "grantRole", *call).events == [Event("RoleGranted", told)]
    models.send(models.chain.stranger, "grant", MODEL, ["gw-1"])
    assert models.send(models.admin, "revokeRole", *call).events == [Event("RoleRevoked", told)]
    assert refused(models.send, models.chain.stranger, "ungrant", MODEL, ["gw-1"])[0] == "NotGranter"
    call = (models.send, models.admin, "renounceRole", ROLES["GRANTER"], models.granter)
    assert refused(*call) == ("AccessControlBadConfirmation",)
    models.send(models.granter, "renounceRole", ROLES["GRANTER"], models.granter)


def test_the_contract_says_what_it_is_and_needs_a_registry_and_an_admin(models: Models):
    chain = models.chain
    assert models.ask("VERSION") == "securenet.model-registry/1"
    assert (models.ask("REGISTRY"), models.ask("MAX_BATCH")) == (chain.registry.address, 256)
    wanted = ("NotARegistry", chain.stranger.lower())
    assert refused(chain.deploy, "ModelRegistry", chain.stranger, chain.admin, chain.admin) == wanted
    assert refused(chain.deploy, "ModelRegistry", chain.registry.address, ZERO, chain.admin) == ("ZeroAccount",)
    bare = chain.deploy("ModelRegistry", chain.registry.address, chain.admin, ZERO)
    assert not bare.functions.hasRole(ROLES["GRANTER"], ZERO).call()
