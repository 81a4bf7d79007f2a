import json

import pytest
from cli_world import World
from click.testing import CliRunner

from gateway.cli.main import cli


@pytest.fixture
def world(tmp_path):
    return World(tmp_path)


@pytest.fixture
def securenet():
    """Run a command; the answer has the exit code, what it wrote, and ``json`` when it can be read as that."""

    def call(*arguments):
        result = CliRunner().invoke(cli, [str(argument) for argument in arguments])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        try:
            result.json = json.loads(result.stdout)
        except ValueError:
            result.json = None
        return result

    return call
