"""Bundles in a CAR file: whole, each block once, and no file at all where a block is missing."""

import json
import os
import time
from contextlib import aclosing

import pytest
from click.testing import CliRunner
from vault_kit import MODEL_ID, VERSION, manifest_of, secret, signed

from gateway.cli.main import cli
from gateway.ops.exitcodes import ExitCode
from gateway.vault.blocks import BlockStore
from gateway.vault.car import ROOTS_MAX
from gateway.vault.car_export import NotExported, export
from gateway.vault.cid import parse_cid
from gateway.vault.ipfs import FetchTimes, Sources, fetch_file
from gateway.vault.ipfs_sources import CarFile
from gateway.vault.unixfs import FileLimits
from gateway.vault.unixfs_builder import add_file

LARGE = os.urandom(1 << 20) * 3  # its ciphertext takes several blocks


def stored(store, model=b"a model", **changes):
    """A bundle in a store: the manifest's CID, its bytes, and the ciphertext."""
    ciphertext = secret(model)
    root, blocks = add_file([ciphertext])
    manifest = manifest_of(model, ciphertext)
    manifest = manifest._replace(ciphertext=manifest.ciphertext._replace(cid=str(root)), **changes)
    envelope, _named = signed(manifest)
    name, of_manifest = add_file([envelope])
    for block in (*blocks, *of_manifest):
        store.put(block)
    return name, envelope, root, ciphertext


async def read(path, root):
    sources = Sources([CarFile(path)], store=None, times=FetchTimes(), monotonic_s=time.monotonic)
    async with aclosing(fetch_file(root, sources, FileLimits(file_bytes=1 << 24))) as parts:
        return b"".join([part async for part in parts])


@pytest.mark.parametrize("model", [b"a model", LARGE])
async def test_a_gateway_reads_the_whole_bundle_from_the_file(tmp_path, model):
    store = BlockStore(tmp_path / "blocks", 1 << 26)
    name, envelope, root, ciphertext = stored(store, model)
    done = export([name], store, tmp_path / "bundle.car")
    assert done.models == ((MODEL_ID, VERSION),)
    assert done.bytes == (tmp_path / "bundle.car").stat().st_size
    assert await read(tmp_path / "bundle.car", name) == envelope
    assert await read(tmp_path / "bundle.car", root) == ciphertext


async def test_two_versions_that_share_a_ciphertext_hold_its_blocks_once(tmp_path):
    store = BlockStore(tmp_path / "blocks", 1 << 26)
    first, _, root, _ = stored(store, LARGE)
    second, *_ = stored(store, LARGE, created_ms=1732165200001)
    alone = export([first], store, tmp_path / "one.car")
    both = export([first, second], store, tmp_path / "two.car")
    assert (len(both.models), both.blocks) == (2, alone.blocks + 1)
    assert await read(tmp_path / "two.car", root)


def test_a_block_that_is_missing_leaves_no_file_and_the_one_before_in_its_place(tmp_path):
    store = BlockStore(tmp_path / "blocks", 1 << 26)
    name, *_ = stored(store, LARGE)
    target = tmp_path / "bundle.car"
    target.write_bytes(b"before")
    elsewhere = BlockStore(tmp_path / "others", 1 << 26)
    elsewhere.put(store.get(name))
    with pytest.raises(NotExported, match="not in the store"):
        export([name], elsewhere, target)
    assert target.read_bytes() == b"before"
    assert [each.name for each in tmp_path.iterdir() if "part" in each.name] == []
    with pytest.raises(NotExported, match="no manifest"):
        export([_raw(store)], store, target)
    with pytest.raises(NotExported, match="at most"):
        export([name] * (ROOTS_MAX + 1), store, target)


def _raw(store):
    _, blocks = add_file([b"no manifest"])
    store.put(blocks[0])
    return blocks[0].cid


def test_the_command_writes_the_file_and_says_what_is_in_it(tmp_path):
    store = BlockStore(tmp_path / "blocks", 1 << 26)
    name, *_ = stored(store)
    words = [
        "model",
        "export",
        str(name),
        "--out",
        str(tmp_path / "b.car"),
        "--store",
        str(tmp_path / "blocks"),
        "--json",
    ]
    answer = CliRunner().invoke(cli, words)
    assert answer.exit_code == 0, answer.output
    told = json.loads(answer.stdout)
    assert (told["models"], told["blocks"]) == ([f"{MODEL_ID} {VERSION}"], 2)
    assert parse_cid(str(name)) == name


@pytest.mark.parametrize(
    ("change", "code", "words"),
    [
        ({2: "no-cid"}, ExitCode.USAGE, "manifest's CID"),
        ({6: "nowhere"}, ExitCode.NO_INPUT, "no block store"),
        ({4: "no/such/folder/b.car"}, ExitCode.CANNOT_CREATE, "cannot be written"),
    ],
)
def test_the_command_says_what_is_wrong(tmp_path, change, code, words):
    store = BlockStore(tmp_path / "blocks", 1 << 26)
    name, *_ = stored(store)
    said = ["model", "export", str(name), "--out", str(tmp_path / "b.car"), "--store", str(tmp_path / "blocks")]
    for at, value in change.items():
        said[at] = value if at == 2 else str(tmp_path / value)
    answer = CliRunner().invoke(cli, said)
    assert (answer.exit_code, words in answer.stderr) == (code, True), answer.stderr
