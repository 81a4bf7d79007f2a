"""Which configuration is kept as the last good one, and which is found."""

from gateway.config.load import parse_config
from gateway.ops.last_good import LAST_GOOD, Source, keep, last_good
from gateway.ops.reload import Reloader


def toml(data_dir, more=""):
    return f'[gateway]\nid = "gw-1"\nfleet = "f"\ndata_dir = "{data_dir}"\n{more}'


def test_the_last_good_configuration_of_another_gateway_is_not_taken(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    keep(tmp_path / "one", toml(tmp_path / "two"))
    assert last_good(toml(tmp_path / "one"), {}) is None
    keep(tmp_path / "one", "nonsense")
    assert last_good(toml(tmp_path / "one"), {}) is None


def test_a_broken_file_whose_directory_is_no_path_has_no_last_good_one(tmp_path):
    assert last_good('[gateway]\ndata_dir = "a\\u0000b"\nid = 7\n', {"STATE_DIRECTORY": str(tmp_path)}) is None


async def test_what_waits_for_a_restart_has_not_run_and_is_not_kept_when_the_gateway_becomes_ready(tmp_path):
    path, good = tmp_path / "gateway.toml", toml(tmp_path)
    path.write_text(good)
    reloader = Reloader(parse_config(good, path), Source(path, good), [], check_files=lambda _: [])
    path.write_text(toml(tmp_path, "[limits]\nmessage_bytes = 1024\n"))
    assert (await reloader.reload()).restart == ("limits.message_bytes",)
    await reloader.became_ready()
    assert not (tmp_path / LAST_GOOD).exists()
    path.write_text(good)
    await reloader.reload()
    assert (tmp_path / LAST_GOOD).read_text() == good
