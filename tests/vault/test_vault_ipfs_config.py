"""The section [ipfs]: what it takes, what it refuses, and the sources that come of it."""

import dataclasses
from pathlib import Path

import pytest

from gateway.config.load import ConfigError, parse_config
from gateway.config.model import Config, GatewayConfig, IpfsConfig
from gateway.vault.cid import Codec, block_of
from gateway.vault.ipfs_sources import block_store, open_sources

HEAD = '[gateway]\nid = "gw-1"\nfleet = "plant"\n[ipfs]\n'

BAD = {
    "no source": ('sources = ["disk"]', "ipfs.sources[0]", "is no source"),
    "a store with a place": ('sources = ["store:/a"]', "ipfs.sources[0]", "is no source"),
    "a relative path": ('sources = ["store", "car:a.car"]', "ipfs.sources[1]", "is no absolute path"),
    "no URL": ('sources = ["kubo:127.0.0.1:5001"]', "ipfs.sources[0]", "is no http"),
    "a kind without a place": ('sources = ["gateway"]', "ipfs.sources[0]", "is no source"),
    "a password": ('sources = ["gateway:https://u:p@a"]', "ipfs.sources[0]", "has a password"),
    "a query": ('sources = ["gateway:https://a?key=1"]', "ipfs.sources[0]", "has a query"),
    "a credential": ('sources = ["kubo:credential:k"]', "ipfs.sources[0]", "is a credential"),
    "a source twice": ('sources = ["store", "store"]', "ipfs.sources", "twice"),
    "no URL to publish to": ('publish = "a"', "ipfs.publish", "is no http"),
    "times the wrong way round": ("block_timeout_s = 20.0\nfile_timeout_s = 10.0", "ipfs.block_timeout_s", "above"),
    "a store without room": ("store_bytes = 1000", "ipfs.store_bytes", "is 1000"),
}


@pytest.mark.parametrize(("text", "key", "problem"), BAD.values(), ids=BAD.keys())
def test_a_fault_is_told_with_its_key(text, key, problem):
    with pytest.raises(ConfigError) as caught:
        parse_config(HEAD + text, Path("gateway.toml"))
    assert [(fault.key, problem in fault.problem) for fault in caught.value.faults] == [(key, True)]


def test_sources_come_in_the_order_of_the_configuration():
    text = 'sources = ["car:/media/usb/bundle.car", "store", "kubo:http://127.0.0.1:5001", "gateway:https://a.example/x"]'
    config = parse_config(HEAD + text, Path("gateway.toml"))
    sources = open_sources(config.ipfs, block_store(config), lambda: 0.0)
    labels = [health.label for health in sources.health()]
    assert labels == ["car bundle.car", "store", "kubo http://127.0.0.1:5001", "gateway https://a.example"]


def test_the_store_is_below_the_data_unless_it_is_named(tmp_path):
    block = block_of(Codec.RAW, b"x")
    gateway = GatewayConfig(id="gw-1", fleet="plant", data_dir=tmp_path / "data")
    block_store(Config(gateway=gateway)).put(block)
    block_store(Config(gateway=gateway, ipfs=IpfsConfig(block_store=str(tmp_path / "else")))).put(block)
    assert len(list((tmp_path / "data" / "blocks").iterdir())) == len(list((tmp_path / "else").iterdir())) == 1


def test_below_the_data_the_store_leaves_room_for_the_journal():
    config = parse_config(HEAD.replace("[ipfs]\n", "[journal]\nbudget_bytes = 200_000_000\n"), Path("gateway.toml"))
    assert block_store(config).budget_bytes == 50_000_000
    elsewhere = dataclasses.replace(config, ipfs=IpfsConfig(block_store="/srv/blocks"))
    assert block_store(elsewhere).budget_bytes == config.ipfs.store_bytes
