"""Models from the command line: granted, published over an air gap to the authority, seen, revoked; a real node."""

import datetime as dt
import json
import re

import pytest
from cli_chain_kit import run
from cli_model_kit import TRAINED_BY, Desk, model_world, pem
from support.publisher_kit import GATEWAY, MODEL_ID, OPERATORS, TRAINER, VERSION, code, packed, parts, write_model

from gateway.chain.contracts import artifact
from gateway.chain.models import Result, report_access_call
from gateway.ops.exitcodes import ExitCode


@pytest.fixture(scope="module")
def town(tmp_path_factory):
    with model_world(tmp_path_factory.mktemp("models")) as world:
        yield world


@pytest.fixture
def desk(town, tmp_path):
    with town.undone():
        yield Desk(town, tmp_path)


def test_a_model_is_published_over_an_air_gap_and_only_once(desk):
    before = desk.world.transactions()
    told = desk.published()
    assert desk.world.transactions() == before + 2  # the grant, the publication
    again = desk.publish()
    assert (again.json["manifest_cid"], again.json["tx_hash"]) == (told["manifest_cid"], told["tx_hash"])
    assert desk.world.transactions() == before + 2
    shown = desk.model("show", MODEL_ID).json
    assert (shown["newest"], shown["granted"], shown["versions"][0]["is"]) == (VERSION, [GATEWAY], "valid")
    assert shown["versions"][0]["cid"] == told["manifest_cid"]
    assert shown["versions"][0]["sha256"] == told["manifest_sha256"]
    listed = run("model", "list", "--config", desk.world.config)
    assert re.search(rf"{MODEL_ID}\s+{VERSION}\s+-\s+valid\s+1\s", listed.output)


def test_an_answer_that_names_no_gateway_is_asked_for_anew_when_there_is_a_grant(desk):
    granted, desk.keys.recipients = desk.keys.recipients, {}
    for _ in range(2):
        assert desk.publish().exit_code == ExitCode.UNAVAILABLE
        desk.carry()
    nobody = desk.publish()
    assert (nobody.exit_code, "no-recipients" in nobody.json["error"]) == (ExitCode.NEGATIVE, True)
    assert desk.paid("grant", MODEL_ID, GATEWAY).exit_code == 0
    desk.keys.recipients = granted
    assert desk.publish().exit_code == ExitCode.UNAVAILABLE
    desk.carry()
    done = desk.publish()
    assert done.exit_code == 0, done.output


def test_a_dry_run_checks_everything_and_leaves_nothing(desk):
    before, files = desk.world.transactions(), sorted(desk.folder.rglob("*"))
    told = desk.publish("--dry-run")
    assert told.exit_code == 0, told.output
    assert 100_000 < told.json["gas"] < 400_000
    assert told.json["ciphertext_bytes"] == told.json["model_bytes"] + 56 + 16
    assert told.json["operators"] == "FULLY_CONNECTED, LOGISTIC"
    assert (desk.world.transactions(), sorted(desk.folder.rglob("*"))) == (before, files)


def test_a_refusal_has_its_name_and_asks_nobody(desk):
    model = parts()
    model.operatorCodes[1] = code(OPERATORS.CUSTOM, "FlexErase")
    write_model(desk.folder, packed(model))
    refused = desk.publish()
    assert refused.exit_code == ExitCode.NEGATIVE
    assert refused.json["details"][0]["reason"] == "model-operator"
    assert not desk.carried.exists()


def test_the_chain_is_asked_before_the_authority_is(desk):
    desk.signing = pem(desk.folder / "other.pem", TRAINER)
    refused = desk.publish()
    assert refused.json["details"][0]["reason"] == "publisher-key"
    assert not desk.carried.exists()


def test_nothing_secret_is_left_beside_the_model_or_said(desk):
    told = desk.published()
    key = desk.keys.data_key(MODEL_ID, VERSION).hex()
    written = [path.read_bytes() for path in desk.folder.rglob("*") if path.is_file() and path.suffix != ".private"]
    assert key not in json.dumps(told)
    assert not any(key.encode() in each or bytes.fromhex(key) in each for each in written)


def test_a_card_is_signed_and_the_key_to_check_it_with_is_printed(desk):
    desk.files.signature.unlink()
    assert desk.publish().json["details"][0]["reason"] == "record-unsigned"
    signed = run("model", "sign", desk.files.card, "--signing-key", pem(desk.folder / "t.pem", TRAINER), "--json")
    assert signed.json == {"signature": str(desk.files.signature), "public_key": TRAINED_BY}
    assert desk.publish("--dry-run").exit_code == 0


def test_a_version_is_revoked_and_a_floor_raised(desk):
    desk.published()
    assert desk.paid("revoke", MODEL_ID, VERSION).exit_code == ExitCode.USAGE  # nobody there to ask
    assert desk.paid("revoke", MODEL_ID, VERSION, "--yes").exit_code == 0
    assert desk.model("show", MODEL_ID).json["versions"][0]["is"] == "revoked"
    assert desk.paid("floor", MODEL_ID, VERSION + 1).exit_code == ExitCode.NEGATIVE
    assert desk.paid("floor", MODEL_ID, VERSION).exit_code == 0
    assert desk.model("show", MODEL_ID).json["floor"] == VERSION


def test_grants_are_given_and_taken_back(desk):
    assert desk.paid("grant", MODEL_ID, GATEWAY, GATEWAY).exit_code == 0
    assert desk.paid("ungrant", MODEL_ID, GATEWAY).exit_code == 0
    assert desk.model("show", MODEL_ID).json["granted"] == []


def test_what_gateways_report_is_listed_with_their_names(desk):
    desk.published()
    web3 = desk.world.web3
    address = next(
        line.split('"')[1] for line in desk.world.section.splitlines() if line.startswith("model_registry")
    )
    contract = web3.eth.contract(address=address, abi=artifact("ModelRegistry")["abi"])
    for result, reason in ((Result.LOADED, ""), (Result.REFUSED, "manifest-signature")):
        data = report_access_call(MODEL_ID, VERSION, result, reason)
        web3.eth.send_transaction({"from": web3.eth.accounts[3], "to": contract.address, "data": data})
    found = desk.model("accesses", MODEL_ID, "--gateway", GATEWAY).json["accesses"]
    assert [(each["gateway"], each["result"], each["reason"]) for each in found] == [
        (GATEWAY, "loaded", ""),
        (GATEWAY, "refused", "manifest-signature"),
    ]
    assert desk.model("accesses", "--gateway", "gw-9").json["accesses"] == []


@pytest.mark.parametrize(
    ("arguments", "code_of"),
    [
        (("show", "nothing"), ExitCode.NEGATIVE),
        (("show", "a b"), ExitCode.USAGE),
        (("list", "--model-registry", "0x12"), ExitCode.USAGE),
        (("list", "--model-registry", "0x" + 40 * "1"), ExitCode.CONFIG),
    ],
)
def test_questions_that_have_no_answer_end_with_their_code(desk, arguments, code_of):
    assert desk.model(*arguments).exit_code == code_of


@pytest.mark.parametrize(
    "options", [("--authority", "https://localhost:1"), ("--trainer-key", "0x12"), ("--signing-key", "/nothing")]
)
def test_options_that_do_not_hold_are_named(desk, options):
    assert desk.publish(*options).exit_code in {ExitCode.USAGE, ExitCode.NO_INPUT, ExitCode.SECRET}


def test_a_publication_is_valid_for_as_long_as_it_is_told(desk):
    desk.paid("grant", MODEL_ID, GATEWAY)
    for _ in range(2):
        desk.publish("--valid-days", "2")
        desk.carry()
    told = desk.publish("--valid-days", "2").json
    life = dt.timedelta(milliseconds=told["expires_ms"] - told["created_ms"])
    assert life == dt.timedelta(days=2)
