"""ModelRegistry on a real node: who is granted a model, and what the gateways say they did with it."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.anvil import Anvil, Checkpoint
from support.contracts_kit import Chain, Event, Gateway, Models, Refused, Result, device, id_hash

MODEL, OTHER = "anomaly", "digits"
SHARED_NODE = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


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


def granted(model, gateway, name="Granted"):
    facts = {"modelHash": id_hash(model), "gatewayHash": id_hash(gateway), "modelId": model, "gatewayId": gateway}
    return Event(name, facts)


@pytest.mark.parametrize("who", ["publisher", "granter"])
def test_grants_come_and_go_and_each_change_is_told_once(models: Models, who):
    sender = getattr(models, who)
    models.publish(MODEL, 1)
    done = models.send(sender, "grant", MODEL, ["gw-1", "gw-2", "gw-1"])
    assert done.events == [granted(MODEL, "gw-1"), granted(MODEL, "gw-2")]
    assert models.ask("isGranted", MODEL, id_hash("gw-1"))
    assert not models.ask("isGranted", OTHER, id_hash("gw-1"))
    assert models.send(sender, "grant", MODEL, ["gw-1"]).events == []
    assert models.send(sender, "ungrant", MODEL, ["gw-1", "gw-1"]).events == [granted(MODEL, "gw-1", "Ungranted")]
    assert models.send(sender, "ungrant", MODEL, ["gw-1"]).events == []
    assert not models.ask("isGranted", MODEL, id_hash("gw-1"))
    assert models.send(sender, "grant", MODEL, ["gw-1"]).events == [granted(MODEL, "gw-1")]


def test_the_granter_grants_before_anything_is_published(models: Models):
    assert models.send(models.granter, "grant", MODEL, ["gw-1"]).events == [granted(MODEL, "gw-1")]
    wanted = ("NotGranter", MODEL, models.publisher.lower())
    assert refused(models.send, models.publisher, "grant", MODEL, ["gw-1"]) == wanted


def test_only_the_owner_and_the_granter_change_grants(models: Models):
    second = models.chain.stranger
    models.register(second, 801)
    models.publish(MODEL, 1)
    for sender in (models.admin, second, models.chain.miner):
        for call in ("grant", "ungrant"):
            assert refused(models.send, sender, call, MODEL, ["gw-1"]) == ("NotGranter", MODEL, sender.lower())


def test_a_grant_is_for_a_miner_that_is_not_revoked(models: Models):
    chain, send = models.chain, models.send
    chain.register("plant", device("pump-1", 1))
    for name in ("pump-1", "gw-9", ""):
        assert refused(send, models.granter, "grant", MODEL, ["gw-1", name]) == ("NotAGateway", name)
    assert not models.ask("isGranted", MODEL, id_hash("gw-1"))
    chain.suspend("gw-1")
    send(models.granter, "grant", MODEL, ["gw-1"])
    chain.revoke("gw-1", "gw-2")
    assert refused(send, models.granter, "grant", MODEL, ["gw-2"]) == ("NotAGateway", "gw-2")
    assert send(models.granter, "ungrant", MODEL, ["gw-1"]).events == [granted(MODEL, "gw-1", "Ungranted")]
    assert refused(send, models.granter, "grant", MODEL, ["gw-1"]) == ("NotAGateway", "gw-1")


def test_a_grant_that_never_was_is_not_taken_back(models: Models):
    models.send(models.granter, "grant", MODEL, ["gw-1"])
    wanted = ("NeverGranted", MODEL, "gw-2")
    assert refused(models.send, models.granter, "ungrant", MODEL, ["gw-1", "gw-2"]) == wanted
    assert models.ask("isGranted", MODEL, id_hash("gw-1"))


@pytest.mark.parametrize("call", ["grant", "ungrant"])
def test_a_batch_names_one_gateway_at_least_and_256_at_most(models: Models, call):
    for size in (0, 257):
        assert refused(models.send, models.granter, call, MODEL, ["gw-1"] * size) == ("BatchSize", size)
    models.send(models.granter, "grant", MODEL, ["gw-1"])
    models.send(models.granter, call, MODEL, ["gw-1"] * 256)


def reported(version, result, reason=b"", gateway="gw-1"):
    facts = {"modelHash": id_hash(MODEL), "gatewayHash": id_hash(gateway), "modelId": MODEL}
    facts |= {"version": version, "result": int(result), "reason": reason.ljust(32, b"\0")}
    return Event("AccessReported", facts)


@pytest.mark.parametrize(
    ("result", "reason"),
    [
        (Result.LOADED, b""),
        (Result.REFUSED, b"manifest-signature"),
        (Result.REFUSED, b"z" * 32),
        (Result.RETURNED, b""),
        (Result.RETURNED, b"too-many-faults-0"),
    ],
)
def test_what_a_gateway_did_with_a_version_is_told(models: Models, result, reason):
    models.publish(MODEL, 1)
    assert models.report(MODEL, 1, result, reason).events == [reported(1, result, reason)]
    assert models.report(MODEL, 1, result, reason, models.chain.other).events == [reported(1, result, reason, "gw-2")]


def judged(result, reason):
    """Whether an outcome holds, as the contract's comment has it."""
    text = reason.rstrip(b"\0")
    fine = all(chr(byte) in "abcdefghijklmnopqrstuvwxyz0123456789-" for byte in text)
    return {Result.NONE: False, Result.LOADED: not text, Result.REFUSED: fine and bool(text)}.get(result, fine)


@SHARED_NODE
@given(
    result=st.sampled_from(Result),
    reason=st.one_of(
        st.binary(min_size=32, max_size=32),
        st.text("az09-A_{`/:.\0", max_size=32).map(lambda text: text.encode().ljust(32, b"\0")),
    ),
)
def test_an_outcome_holds_exactly_when_its_reason_does(deployed: Models, result, reason):
    if deployed.ask("current", "outcomes")[0] == 0:
        deployed.publish("outcomes", 1)
    call = deployed.contract.functions.reportAccess("outcomes", 1, (int(result), reason))
    if judged(result, reason):
        assert call.call({"from": deployed.chain.miner}) == []
    else:
        assert refused(deployed.report, "outcomes", 1, result, reason) == ("InvalidOutcome", int(result), reason)


def test_only_the_account_of_an_active_miner_reports(models: Models):
    chain = models.chain
    models.publish(MODEL, 1)
    for sender in (chain.stranger, models.publisher, models.admin):
        wanted = ("NotAnActiveMiner", sender.lower())
        assert refused(models.report, MODEL, 1, Result.LOADED, sender=sender) == wanted
    chain.suspend("gw-1")
    assert refused(models.report, MODEL, 1, Result.LOADED) == ("NotAnActiveMiner", chain.miner.lower())
    chain.reinstate("gw-1")
    chain.renew_miner(Gateway("gw-1", chain.stranger, number=901))
    assert refused(models.report, MODEL, 1, Result.LOADED) == ("NotAnActiveMiner", chain.miner.lower())
    models.report(MODEL, 1, Result.LOADED, sender=chain.stranger)
    chain.revoke("gw-1")
    wanted = ("NotAnActiveMiner", chain.stranger.lower())
    assert refused(models.report, MODEL, 1, Result.LOADED, sender=chain.stranger) == wanted


def test_a_version_that_was_never_published_is_not_reported_and_a_revoked_one_is(models: Models):
    models.publish(MODEL, 1)
    models.send(models.publisher, "revoke", MODEL, 1)
    models.report(MODEL, 1, Result.REFUSED, b"revoked")
    for model, version in [(MODEL, 0), (MODEL, 2), (OTHER, 1)]:
        assert refused(models.report, model, version, Result.LOADED) == ("UnknownVersion", model, version)
