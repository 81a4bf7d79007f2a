"""Proofs that end on a chain: exported from a real journal, verified against a real node, and against lies."""

import json

import pytest
from cli_chain_world import (
    DevNode,
    OnChain,
    anchor_row,
    anchored,
    chain_config,
    filled,
    identities_of,
    record,
    root_of,
)
from cli_world import DEVICE_SIGNING_KEY, LOG_KEY, b64
from nacl.signing import SigningKey
from support.anvil import Anvil
from support.scripted_rpc import Answer, Body, Change, Endless, Error, Hang, ScriptedRpc, Status

from gateway.ops.exitcodes import ExitCode

MANY = 300  # more than one full tile
KEYS = ("--device-key", f"Ed25519:{b64(DEVICE_SIGNING_KEY.verify_key)}", "--log-key", LOG_KEY.text)


@pytest.fixture(scope="module")
def node():
    with Anvil("--slots-in-an-epoch", "1") as running:
        yield running


@pytest.fixture(scope="module")
def proven(node, tmp_path_factory):
    """A world of 300 entries, anchored at 200, and the proof of entry 7; nobody changes it."""
    from cli_world import World  # noqa: PLC0415 -- as the fixture of the same name does

    world = filled(World(tmp_path_factory.mktemp("proven")), MANY)
    on_chain = OnChain(node)
    anchored(world, on_chain, 200)
    chain_config(world, on_chain)
    return world, on_chain


@pytest.fixture
def file(proven, securenet, tmp_path):
    world, _ = proven
    out = tmp_path / "proof.json"
    made = securenet("proof", "export", "--index", 7, "--out", out, "--config", world.config, "--json")
    assert made.exit_code == ExitCode.OK
    assert made.json["anchored"]
    return out


def verify(securenet, file, on_chain, *options, rpc=None):
    urls = [rpc or on_chain.node.url] if not isinstance(rpc, list) else rpc
    given = [part for url in urls for part in ("--rpc", url)]
    return securenet("proof", "verify", file, *given, *on_chain.options, *options, "--json")


def held(answer):
    return {step["step"]: step["held"] for step in answer.json["steps"]}


def sentence(answer, name):
    return next(step["sentence"] for step in answer.json["steps"] if step["step"] == name)


def test_an_exported_proof_ends_on_the_chain_and_is_valid_without_any_key(proven, securenet, file):
    _, on_chain = proven
    document = json.loads(file.read_text())
    assert document["anchor"]["size"] == 200
    assert document["consistency"]
    answer = verify(securenet, file, on_chain)
    assert answer.exit_code == ExitCode.OK
    assert answer.json["result"] == "valid"
    assert set(held(answer).values()) == {True}
    assert answer.json["open"] == answer.json["failed"] == []
    assert len(answer.json["proves"]) == 4
    assert answer.json["endpoints"] == [on_chain.node.url]
    assert verify(securenet, file, on_chain, *KEYS, "--chain-id", 31337, "--finality", 1).exit_code == ExitCode.OK


def test_the_result_is_told_in_plain_words(proven, securenet, file):
    world, on_chain = proven
    text = securenet("proof", "verify", file, "--rpc", on_chain.node.url, *on_chain.options).stdout
    assert "The proof is valid." in text
    assert "What this proves:" in text
    assert "What this does not prove:" in text
    assert "asked alone" in text
    by_config = securenet("proof", "verify", file, "--config", world.config)
    assert by_config.exit_code == ExitCode.OK


def test_offline_stops_at_the_checkpoint_and_says_what_is_open(proven, securenet, file):
    world, on_chain = proven
    for options in ((), ("--offline",), ("--offline", "--config", world.config)):
        answer = securenet("proof", "verify", file, *KEYS, *options, "--json")
        assert answer.exit_code == ExitCode.OK
        assert answer.json["open"] == ["anchor-on-chain"]
    clash = securenet("proof", "verify", file, "--offline", "--rpc", on_chain.node.url, *on_chain.options)
    assert clash.exit_code == ExitCode.USAGE


def test_every_endpoint_is_asked_and_a_liar_is_named(proven, securenet, file):
    _, on_chain = proven
    with ScriptedRpc(on_chain.node.url) as other:
        answer = verify(securenet, file, on_chain, rpc=[on_chain.node.url, other.url])
        assert answer.exit_code == ExitCode.OK
        assert held(answer)["endpoints-agree"]
        other.faults["eth_getLogs"] = Answer([])
        answer = verify(securenet, file, on_chain, rpc=[on_chain.node.url, other.url])
    assert answer.exit_code == ExitCode.UNTRUSTED
    assert answer.json["result"] == "not-established"
    assert held(answer)["endpoints-agree"] is None
    assert other.url in sentence(answer, "endpoints-agree")


def other_block(_, result):
    return result and {**result, "hash": "0x" + 64 * "7"}


def failed_receipt(_, result):
    return result and {**result, "status": "0x0"}


LIES = {
    "no-events": ("eth_getLogs", Answer([])),
    "garbage": ("eth_getLogs", Body(b"garbage")),
    "endless": ("eth_getLogs", Endless()),
    "busy": ("*", Status(503)),
    "refused": ("eth_call", Error(-32000, "no")),
    "another-chain": ("eth_chainId", Answer("0x1")),
    "no-code": ("eth_getCode", Answer("0x")),
    "another-block": ("eth_getBlockByNumber", Change(other_block)),
    "failed-receipt": ("eth_getTransactionReceipt", Change(failed_receipt)),
}


@pytest.mark.parametrize("lie", LIES)
def test_an_endpoint_that_fails_or_contradicts_itself_makes_nothing_valid_or_invalid(proven, securenet, file, lie):
    _, on_chain = proven
    method, fault = LIES[lie]
    with ScriptedRpc(on_chain.node.url) as rpc:
        rpc.faults[method] = fault
        answer = verify(securenet, file, on_chain, *KEYS, rpc=rpc.url)
    assert answer.exit_code == ExitCode.UNTRUSTED
    assert answer.json["result"] == "not-established"
    assert "no endpoint was of use" in sentence(answer, "chain")
    assert held(answer)["checkpoint"]


def test_an_endpoint_that_hangs_is_given_up(proven, world, securenet, file):
    _, on_chain = proven
    with ScriptedRpc(on_chain.node.url) as rpc:
        rpc.faults["eth_getLogs"] = Hang()
        chain_config(world, on_chain, rpc.url, "timeout_s = 0.5\n")
        answer = securenet("proof", "verify", file, *KEYS, "--config", world.config, "--json")
    assert answer.json["result"] == "not-established"


def test_a_chain_that_is_not_there_leaves_a_proof_untrusted_or_not_established(proven, securenet, file):
    _, on_chain = proven
    gone = "http://127.0.0.1:9"
    assert verify(securenet, file, on_chain, rpc=gone).json["result"] == "untrusted"
    answer = verify(securenet, file, on_chain, *KEYS, rpc=gone)
    assert (answer.exit_code, answer.json["result"]) == (ExitCode.UNTRUSTED, "not-established")


@pytest.mark.parametrize(
    ("change", "step"),
    [
        ({"chain_id": 1}, None),
        ({"contract": "0x" + 40 * "1"}, "chain"),
        ({"log_id": "0x" + 64 * "1"}, "chain"),
        ({"tx_hash": "0x" + 64 * "1"}, "anchor-event"),
        ({"block_number": 1}, "anchor-event"),
        ({"block_number": 1_000_000}, None),
        ({"block_hash": "0x" + 64 * "1"}, "final"),
        ({"size": 201}, "anchor-event"),
        ({"root": "0x" + 64 * "1"}, "anchor-event"),
    ],
)
def test_an_anchor_that_the_chain_does_not_have_is_named(proven, securenet, file, change, step):
    _, on_chain = proven
    document = json.loads(file.read_text())
    document["anchor"].update(change)
    file.write_text(json.dumps(document))
    answer = verify(securenet, file, on_chain, *KEYS)
    if step is None:
        assert answer.json["result"] == "not-established"
    else:
        assert answer.exit_code == ExitCode.NEGATIVE
        assert step in answer.json["failed"]


def test_contracts_of_another_address_establish_nothing(proven, securenet, file, node):
    _, on_chain = proven
    addresses = ("--registry-address", on_chain.chain.log.address, "--anchor-log", on_chain.chain.registry.address)
    answer = securenet("proof", "verify", file, "--rpc", node.url, *addresses, *KEYS, "--json")
    assert answer.json["result"] == "not-established"
    other = OnChain(node)
    answer = verify(securenet, file, other)
    assert answer.exit_code == ExitCode.NEGATIVE
    assert answer.json["failed"] == ["chain", "device-status", "anchor-event"]


# --- who was registered when ---


@pytest.fixture
def fresh(world, node):
    """A world and contracts of its own, anchored when the test says so."""
    return filled(world, 20), OnChain(node)


def exported(securenet, world, on_chain, tmp_path, index=7):
    chain_config(world, on_chain)
    out = tmp_path / "proof.json"
    made = securenet("proof", "export", "--index", index, "--out", out, "--config", world.config, "--json")
    assert made.exit_code == ExitCode.OK, made.output
    return out


def test_a_device_suspended_before_the_anchor_and_logged_about_then_is_left_open(fresh, securenet, tmp_path):
    world, on_chain = fresh
    on_chain.chain.suspend("urn:dev:mac:0024befffe804ff1")
    anchored(world, on_chain, 20)
    answer = verify(securenet, exported(securenet, world, on_chain, tmp_path), on_chain)
    assert answer.json["result"] == "not-established"  # logged a moment before: the gateway's own word
    assert "suspended in the anchor's block" in sentence(answer, "device-status")


def test_a_device_that_was_logged_long_after_its_revocation_fails(world, node, securenet, tmp_path):
    on_chain = OnChain(node)
    filled(world, 20, ahead_s=3600)
    on_chain.chain.revoke("urn:dev:mac:0024befffe804ff1")
    anchored(world, on_chain, 20)
    answer = verify(securenet, exported(securenet, world, on_chain, tmp_path), on_chain)
    assert answer.exit_code == ExitCode.NEGATIVE
    assert answer.json["failed"] == ["device-status"]


def test_a_device_revoked_after_the_anchor_was_active_in_its_block(fresh, securenet, tmp_path):
    world, on_chain = fresh
    anchored(world, on_chain, 20)
    on_chain.chain.revoke("urn:dev:mac:0024befffe804ff1")
    answer = verify(securenet, exported(securenet, world, on_chain, tmp_path), on_chain)
    assert held(answer)["device-registered"]
    assert answer.json["failed"] == []


def test_an_anchor_that_is_not_final_yet_is_open(fresh, securenet, tmp_path):
    world, on_chain = fresh
    on_chain.bury()
    root = root_of(world, 20)
    where = on_chain.anchor(20, root)
    record(world, anchor_row(on_chain, 20, root, where=where), identities=identities_of(on_chain))
    file = exported(securenet, world, on_chain, tmp_path)
    answer = verify(securenet, file, on_chain)
    assert (answer.exit_code, answer.json["open"]) == (ExitCode.UNTRUSTED, ["final"])
    on_chain.bury()
    assert verify(securenet, file, on_chain).exit_code == ExitCode.OK


def test_a_rotated_log_key_is_told_with_its_blocks(fresh, securenet, tmp_path):
    world, on_chain = fresh
    anchored(world, on_chain, 20)
    file = exported(securenet, world, on_chain, tmp_path)
    on_chain.renew_miner(log_key=bytes(SigningKey(b"\x55" * 32).verify_key), account=on_chain.chain.other)
    on_chain.bury()
    answer = verify(securenet, file, on_chain)
    assert answer.exit_code == ExitCode.OK
    assert "to block" in sentence(answer, "miner-key")


def test_a_second_root_freezes_the_log_and_every_proof_says_so(fresh, securenet, tmp_path):
    world, on_chain = fresh
    anchored(world, on_chain, 20)
    file = exported(securenet, world, on_chain, tmp_path)
    on_chain.anchor(20, b"\x66" * 32)
    answer = verify(securenet, file, on_chain)
    assert (answer.exit_code, answer.json["open"]) == (ExitCode.UNTRUSTED, ["not-frozen"])
    assert "a second root of size 20" in sentence(answer, "not-frozen")


# --- export ---


def test_without_a_final_anchor_the_proof_says_what_happens_next(world, securenet, node, tmp_path):
    world.fill(messages=20)
    on_chain = OnChain(node)
    plain = securenet("proof", "export", "--index", 3, "--out", tmp_path / "a.json", "--config", world.config)
    assert "No chain is configured" in plain.stdout
    chain_config(world, on_chain, extra="[anchor]\ninterval_s = 60\n")
    record(world, identities=identities_of(on_chain))
    cases = {
        "none": (None, "within 60 s"),
        "sealed": ("sealed", "tries again every 6 s"),
        "broadcast": ("broadcast", "waits for a block"),
        "mined": ("mined", "final when the chain calls that block final"),
        "reverted": ("reverted", "sends the next one"),
        "superseded": ("superseded", "the next is due at 2024-11-21"),
    }
    for name, (state, words) in cases.items():
        if state is not None:
            record(world, anchor_row(on_chain, 20, bytes(32), state, where=(bytes(32), 5, bytes(32))))
        out = tmp_path / f"{name}.json"
        made = securenet("proof", "export", "--index", 3, "--out", out, "--config", world.config, "--json")
        assert not made.json["anchored"]
        assert words in made.json["note"]
        assert json.loads(out.read_text())["anchor"] is None
    needing = securenet("proof", "export", "--index", 3, "--require-anchor", "--config", world.config)
    assert needing.exit_code == ExitCode.NEGATIVE
    assert "nothing was written" in needing.stderr
    to_stdout = securenet("proof", "export", "--index", 3, "--config", world.config)
    assert json.loads(to_stdout.stdout)["anchor"] is None
    assert "anchor" in to_stdout.stderr


def test_a_checkpoint_of_the_anchors_size_needs_no_consistency_proof(world, securenet, node, tmp_path):
    filled(world, 20, covered=12)
    on_chain = OnChain(node)
    anchored(world, on_chain, 12)
    file = exported(securenet, world, on_chain, tmp_path)
    assert json.loads(file.read_text())["consistency"] is None
    assert verify(securenet, file, on_chain).exit_code == ExitCode.OK


def test_a_registry_that_was_never_read_is_said(world, securenet, node):
    world.fill(messages=3)
    chain_config(world, OnChain(node))
    answer = securenet("proof", "export", "--index", 1, "--config", world.config)
    assert answer.exit_code == ExitCode.REGISTRY
    assert "securenet status" in answer.stderr


def test_what_a_verifier_forgot_to_say_is_asked_for(proven, securenet, file, node):
    world, on_chain = proven
    usage = [
        ("--rpc", node.url),
        ("--rpc", node.url, "--config", world.config, *on_chain.options),
        ("--rpc", node.url, "--rpc", node.url, *on_chain.options),
        ("--rpc", node.url, *on_chain.options, "--finality", "soon"),
        ("--rpc", "http://user:secret@localhost", *on_chain.options),
    ]
    for options in usage:
        assert securenet("proof", "verify", file, *options).exit_code == ExitCode.USAGE
    offline = world.root / "offline.toml"
    offline.write_text(world.config.read_text().split("[chain]")[0])
    assert securenet("proof", "verify", file, "--config", offline).exit_code == ExitCode.CONFIG


def test_a_proof_ends_on_the_embedded_chain_as_well(world, securenet, tmp_path):
    with DevNode() as node:
        on_chain = OnChain(node)
        on_chain.bury = lambda: node.mine(4)
        filled(world, 20)
        anchored(world, on_chain, 20)
        answer = verify(securenet, exported(securenet, world, on_chain, tmp_path), on_chain)
        assert answer.exit_code == ExitCode.OK
