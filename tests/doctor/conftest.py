import logging
import time
from dataclasses import replace
from pathlib import Path

import pytest
import structlog

from gateway.config.load import parse_config
from gateway.doctor.case import Case
from gateway.doctor.runner import examine
from gateway.doctor.table import BY_NAME


@pytest.fixture(autouse=True)
def heard_again():
    """The doctor silences the process that it runs in; the tests after these listen to it."""
    yield
    logging.disable(logging.NOTSET)
    structlog.reset_defaults()


@pytest.fixture
def case_of(tmp_path):
    """A case for a configuration in TOML; [gateway] is there already, with data_dir and further keys by name."""

    def make(text="", gateway="", **changes):
        head = f'[gateway]\nid = "gw-1"\nfleet = "plant"\ndata_dir = "{tmp_path / "data"}"\n{gateway}\n'
        path = tmp_path / "gateway.toml"
        path.write_text(head + text, encoding="utf-8")
        config = parse_config(head + text, Path(path))
        case = Case(config=config, config_path=path, now_ms=time.time_ns() // 1_000_000)
        return replace(case, **changes)

    return make


@pytest.fixture
def ask():
    """Ask one check as the command does; the findings by name."""

    async def one(case, name):
        found = await examine(case, [BY_NAME[name]])
        assert found, name
        assert not {"doctor.failed", "doctor.timed-out"} & {each.name for each in found}, found
        return {each.name: each for each in found}

    return one
