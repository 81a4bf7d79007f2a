"""The log and its proofs on the command line, with a tampered journal for each thing that fsck names."""

import json
import sqlite3

import pytest
from cli_world import DEVICE, DEVICE_SIGNING_KEY, LOG_KEY, SESSION, b64, device_line, miner_line
from nacl.signing import SigningKey

from gateway.journal import open_reader
from gateway.ops.exitcodes import ExitCode
from gateway.tlog.checkpoint import VerifierKey, parse, signed_by
from gateway.tlog.entry import RejectionsEntry, encode_entry, parse_entry
from gateway.tlog.layout import split_bundle
from gateway.tlog.merkle import root_hash
from gateway.tlog.text import NUMBER_MAX

DEVICE_KEY = f"Ed25519:{b64(DEVICE_SIGNING_KEY.verify_key)}"
MANY = 300  # more than one full tile


def tamper(world, sql, *values):
    connection = sqlite3.connect(world.data_dir / "journal.db")
    with connection:
        assert connection.execute(sql, values).rowcount > 0
    connection.close()


def test_the_newest_entries_are_shown(world, securenet):
    world.fill(messages=5)
    answer = securenet("log", "show", "--last", 2, "--config", world.config, "--json")
    assert answer.json["size"] == 5
    assert [entry["index"] for entry in answer.json["entries"]] == [3, 4]
    assert answer.json["entries"][1]["device_id"] == DEVICE
    assert "5 entries" in securenet("log", "show", "--config", world.config).stdout
    assert securenet("log", "show", "--index", 9, "--config", world.config).exit_code == ExitCode.NEGATIVE


def test_an_entry_of_any_time_and_any_counts_is_shown_in_words(world, securenet):
    world.fill(messages=3)
    late = encode_entry(RejectionsEntry(NUMBER_MAX, 0, NUMBER_MAX, {"too-old": 3, "malformed": 1}, (("dev-1", 4),)))
    tamper(world, "UPDATE log SET entry = ? WHERE idx = 1", late)
    answer = securenet("log", "show", "--config", world.config)
    assert answer.exit_code == ExitCode.OK
    assert "9999-12-31T23:59:59.000+00:00" in answer.stdout
    assert "counts=too-old:3,malformed:1 most_refused=dev-1:4" in answer.stdout
    one = securenet("log", "show", "--index", 1, "--config", world.config)
    assert "too-old:3,malformed:1" in one.stdout
    told = securenet("log", "show", "--index", 1, "--config", world.config, "--json").json["entries"][0]
    assert (told["time_ms"], told["counts"]) == (NUMBER_MAX, {"too-old": 3, "malformed": 1})


@pytest.mark.parametrize(
    ("words", "most"),
    [
        (("log", "show", "--index"), NUMBER_MAX - 1),
        (("proof", "export", "--index"), NUMBER_MAX - 1),
        (("proof", "export", DEVICE, SESSION.hex()), NUMBER_MAX),
    ],
    ids=["show", "export by index", "export by number"],
)
def test_a_number_that_no_log_can_have_is_wrong_usage(world, securenet, words, most):
    world.fill()
    assert securenet(*words, most + 1, "--config", world.config).exit_code == ExitCode.USAGE
    assert securenet(*words, most, "--config", world.config).exit_code == ExitCode.NEGATIVE


def test_the_checkpoint_is_printed_verbatim(world, securenet):
    world.fill()
    text = securenet("log", "checkpoint", "--config", world.config).stdout
    assert signed_by(parse(text.encode()), LOG_KEY)


def test_an_untouched_log_holds(world, securenet):
    world.fill(messages=MANY, covered=260)
    answer = securenet("log", "fsck", "--config", world.config, "--json")
    assert answer.exit_code == ExitCode.OK
    assert answer.json["holds"]
    assert (answer.json["entries_read"], answer.json["tiles"], answer.json["checkpoints"]) == (MANY, 1, 1)
    assert answer.json["signatures_checked"]
    with open_reader(world.data_dir) as reader:
        assert answer.json["root"] == root_hash(reader.leaf_hashes(0, MANY)).hex()


@pytest.mark.parametrize(
    ("sql", "values", "kind", "index"),
    [
        ("UPDATE log SET entry = x'83' WHERE idx = 7", (), "entry", 7),
        ("UPDATE log SET entry = (SELECT entry FROM log WHERE idx = 6) WHERE idx = 7", (), "message", 7),
        ("UPDATE log SET envelope = (SELECT envelope FROM log WHERE idx = 6) WHERE idx = 7", (), "message", 7),
        ("UPDATE log SET device_id = 'other' WHERE idx = 7", (), "message", 7),
        ("DELETE FROM log WHERE idx = 7", (), "entry", 7),
        ("UPDATE tiles SET data = zeroblob(8192)", (), "tile", 255),
        ("UPDATE checkpoints SET root = zeroblob(32)", (), "checkpoint", 260),
        ("UPDATE checkpoints SET text = replace(text, 'plant', 'swamp')", (), "signature", 260),
        ("UPDATE checkpoints SET text = 'nonsense'", (), "checkpoint", 260),
    ],
    ids=["bytes", "entry", "envelope", "identity", "deleted", "tile", "root", "signature", "note"],
)
def test_fsck_names_the_first_difference(world, securenet, sql, values, kind, index):
    world.fill(messages=MANY, covered=260)
    tamper(world, sql, *values)
    answer = securenet("log", "fsck", "--config", world.config, "--json")
    assert answer.exit_code == ExitCode.NEGATIVE
    assert (answer.json["difference"]["kind"], answer.json["difference"]["index"]) == (kind, index)


def test_fsck_finds_a_leaf_hash_that_was_changed(world, securenet):
    world.fill(messages=4)
    with open_reader(world.data_dir) as reader:
        leaf = reader.stored_leaf_hash(2)
    path = world.data_dir / "journal.leaves"
    path.write_bytes(path.read_bytes().replace(leaf, b"\x5a" * 32))
    answer = securenet("log", "fsck", "--data-dir", world.data_dir, "--json")
    assert (answer.json["difference"]["kind"], answer.json["difference"]["index"]) == ("leaf", 2)


def test_an_entry_that_the_policy_dropped_is_no_difference(world, securenet):
    world.fill(messages=MANY, covered=260)
    tamper(world, "DELETE FROM log WHERE idx < 256")
    tamper(world, "INSERT INTO gaps VALUES (0, 256, 'policy')")
    answer = securenet("log", "fsck", "--config", world.config, "--json")
    assert answer.exit_code == ExitCode.OK
    assert (answer.json["entries_gone"], answer.json["entries_read"]) == (256, MANY - 256)


def test_fsck_checks_signatures_by_the_key_it_is_given(world, securenet):
    world.fill()
    other = VerifierKey(LOG_KEY.name, bytes(SigningKey(b"\x77" * 32).verify_key)).text
    answer = securenet("log", "fsck", "--data-dir", world.data_dir, "--log-key", other, "--json")
    assert answer.json["difference"]["kind"] == "signature"
    assert securenet("log", "fsck", "--log-key", "junk", "--config", world.config).exit_code == ExitCode.USAGE


def test_the_published_log_is_complete_and_published_again_for_nothing(world, securenet, tmp_path):
    world.fill(messages=MANY, covered=260)
    site = tmp_path / "site"
    first = securenet("log", "publish", "--dir", site, "--config", world.config, "--json")
    assert (first.exit_code, first.json["size"], first.json["entries_missing"]) == (ExitCode.OK, 260, 0)
    full, rest = site / "tile/0/000", site / "tile/0/001.p/4"
    leaves = [data[at : at + 32] for data in (full.read_bytes(), rest.read_bytes()) for at in range(0, len(data), 32)]
    checkpoint = parse((site / "checkpoint").read_bytes())
    assert root_hash(leaves) == checkpoint.root
    bundle = (site / "tile/entries/000").read_bytes() + (site / "tile/entries/001.p/4").read_bytes()
    assert [parse_entry(entry).seq for entry in split_bundle(bundle)] == list(range(260))
    again = securenet("log", "publish", "--dir", site, "--config", world.config, "--json")
    assert again.json["files_written"] == 1  # the checkpoint


def test_publish_asks_where_to(world, securenet):
    world.fill()
    assert securenet("log", "publish", "--config", world.config).exit_code == ExitCode.USAGE


@pytest.mark.parametrize("naming", ["identity", "index", "digest"])
def test_a_proof_is_exported_by_any_name_and_valid_under_the_trusted_keys(world, securenet, tmp_path, naming):
    world.fill(messages=5)
    with open_reader(world.data_dir) as reader:
        digest = parse_entry(reader.entry(3)).digest
    names = {"identity": [DEVICE, SESSION.hex(), 3], "index": ["--index", 3], "digest": ["--digest", digest.hex()]}
    out = tmp_path / "proof.json"
    made = securenet("proof", "export", *names[naming], "--out", out, "--config", world.config, "--json")
    assert (made.exit_code, made.json["index"]) == (ExitCode.OK, 3)
    for trust in (["--device-key", DEVICE_KEY, "--log-key", LOG_KEY.text], ["--registry", world.registry]):
        verified = securenet("proof", "verify", out, *trust, "--json")
        assert (verified.exit_code, verified.json["result"]) == (ExitCode.OK, "valid")
    text = securenet("proof", "verify", out, "--registry", world.registry).stdout
    assert "5. checkpoint" in text
    assert "The proof is valid as far as the checkpoint that the log signed; no chain was asked." in text


def test_a_proof_under_its_own_keys_is_untrusted(world, securenet, tmp_path):
    world.fill()
    out = tmp_path / "proof.json"
    securenet("proof", "export", "--index", 1, "--out", out, "--config", world.config)
    answer = securenet("proof", "verify", out)
    assert answer.exit_code == ExitCode.UNTRUSTED
    assert "device and the log key" in answer.stdout
    half = securenet("proof", "verify", out, "--log-key", LOG_KEY.text)
    assert half.exit_code == ExitCode.UNTRUSTED


def test_a_changed_proof_is_invalid(world, securenet, tmp_path):
    world.fill()
    out = tmp_path / "proof.json"
    securenet("proof", "export", "--index", 1, "--out", out, "--config", world.config)
    document = json.loads(out.read_text())
    document["tlog_proof"] = document["tlog_proof"].replace("index 1", "index 2")
    out.write_text(json.dumps(document))
    answer = securenet("proof", "verify", out, "--registry", world.registry, "--json")
    assert (answer.exit_code, answer.json["failed"]) == (ExitCode.NEGATIVE, ["inclusion"])
    out.write_bytes(b"junk")
    assert securenet("proof", "verify", out, "--registry", world.registry).exit_code == ExitCode.NEGATIVE


def test_a_registry_with_another_fleet_vouches_for_nobody(world, securenet, tmp_path):
    world.fill()
    out = tmp_path / "proof.json"
    securenet("proof", "export", "--index", 1, "--out", out, "--config", world.config)
    world.write_registry(device_line(fleet="elsewhere"), miner_line())
    assert securenet("proof", "verify", out, "--registry", world.registry).exit_code == ExitCode.UNTRUSTED


def test_what_cannot_be_proven_is_said(world, securenet, tmp_path):
    world.fill(messages=4, covered=2)
    uncovered = securenet("proof", "export", "--index", 3, "--config", world.config)
    assert uncovered.exit_code == ExitCode.NEGATIVE
    assert "no checkpoint covers" in uncovered.stderr
    assert securenet("proof", "export", "--index", 99, "--config", world.config).exit_code == ExitCode.NEGATIVE
    assert securenet("proof", "export", "--config", world.config).exit_code == ExitCode.USAGE
    assert securenet("proof", "export", DEVICE, "xyz", 1, "--config", world.config).exit_code == ExitCode.USAGE
    assert securenet("proof", "verify", tmp_path / "none").exit_code == ExitCode.NO_INPUT
    world.write_registry(device_line(key=SigningKey(b"\x55" * 32)), miner_line())
    rotated = securenet("proof", "export", "--index", 0, "--config", world.config)
    assert (rotated.exit_code, "another key" in rotated.stderr) == (ExitCode.NEGATIVE, True)
