"""Who may do what: every function with a role, asked by every account without it."""

import pytest
from support.contracts_kit import ZERO, Chain, Event, Gateway, Refused, Status, device
from web3 import Web3

ROLES = {
    "admin": bytes(32),
    "registrar": bytes(Web3.keccak(text="REGISTRAR_ROLE")),
    "suspender": bytes(Web3.keccak(text="SUSPENDER_ROLE")),
}
GUARDED = [
    ("registerDevices", "registrar"),
    ("registerMiner", "registrar"),
    ("renewMiner", "registrar"),
    ("reinstate", "registrar"),
    ("revoke", "registrar"),
    ("suspend", "suspender"),
    ("grantRole", "admin"),
    ("revokeRole", "admin"),
]


def arguments(chain, function):
    if function == "registerDevices":
        return ("plant", [device("pump-2", 2)])
    if function == "registerMiner":
        return (Gateway("gw-2", chain.other).struct(),)
    if function == "renewMiner":
        return (Gateway("gw-1", chain.miner, number=901).struct(),)
    if function.endswith("Role"):
        return (ROLES["suspender"], chain.suspender)
    return (["pump-1"],)


def test_every_function_that_writes_has_a_role(chain: Chain):
    functions = [entry for entry in chain.registry.abi if entry["type"] == "function"]
    writing = {entry["name"] for entry in functions if entry["stateMutability"] == "nonpayable"}
    assert writing - {"renounceRole"} == {function for function, _ in GUARDED}


@pytest.mark.parametrize(("function", "role"), GUARDED)
def test_a_function_is_for_its_role_alone(chain: Chain, function, role):
    chain.register("plant", device("pump-1", 1))
    chain.register_miner(Gateway("gw-1", chain.miner))
    for sender in ("admin", "registrar", "suspender", "miner", "stranger"):
        if sender == role:
            continue
        account = getattr(chain, sender)
        with pytest.raises(Refused) as caught:
            chain.send(account, chain.registry, function, *arguments(chain, function))
        assert caught.value.name == "AccessControlUnauthorizedAccount"
        assert caught.value.values == (account.lower(), ROLES[role])
    chain.send(getattr(chain, role), chain.registry, function, *arguments(chain, function))


def test_the_roles_are_named_by_the_contract(chain: Chain):
    assert chain.ask("DEFAULT_ADMIN_ROLE") == ROLES["admin"]
    assert chain.ask("REGISTRAR_ROLE") == ROLES["registrar"]
    assert chain.ask("SUSPENDER_ROLE") == ROLES["suspender"]


def test_a_role_is_given_and_taken_by_the_admin_and_told(chain: Chain):
    told = {"role": ROLES["suspender"], "account": chain.stranger, "sender": chain.admin}
    chain.register("plant", device("pump-1", 1))
    given = chain.send(chain.admin, chain.registry, "grantRole", ROLES["suspender"], chain.stranger)
    assert given.events == [Event("RoleGranted", told)]
    chain.send(chain.stranger, chain.registry, "suspend", ["pump-1"])
    assert chain.status("pump-1") is Status.SUSPENDED
    taken = chain.send(chain.admin, chain.registry, "revokeRole", ROLES["suspender"], chain.stranger)
    assert taken.events == [Event("RoleRevoked", told)]
    with pytest.raises(Refused):
        chain.send(chain.stranger, chain.registry, "suspend", ["pump-1"])


def test_a_role_may_be_laid_down_by_its_holder_alone(chain: Chain):
    told = {"role": ROLES["suspender"], "account": chain.suspender, "sender": chain.suspender}
    with pytest.raises(Refused, match="AccessControlBadConfirmation"):
        chain.send(chain.admin, chain.registry, "renounceRole", ROLES["suspender"], chain.suspender)
    done = chain.send(chain.suspender, chain.registry, "renounceRole", ROLES["suspender"], chain.suspender)
    assert done.events == [Event("RoleRevoked", told)]


def test_a_registry_has_an_admin_and_may_begin_without_the_others(chain: Chain):
    with pytest.raises(Refused, match="ZeroAccount"):
        chain.deploy("IdentityRegistry", ZERO, chain.registrar, chain.suspender)
    bare = chain.deploy("IdentityRegistry", chain.admin, ZERO, ZERO)
    assert bare.functions.hasRole(ROLES["admin"], chain.admin).call()
    for role in ("registrar", "suspender"):
        assert not bare.functions.hasRole(ROLES[role], ZERO).call()


def test_a_log_needs_a_registry(chain: Chain):
    with pytest.raises(Refused, match="NotARegistry"):
        chain.deploy("AnchorLog", chain.stranger)
