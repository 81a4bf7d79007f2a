"""One world for all that only read it."""

import pytest
from page_kit import PageWorld


@pytest.fixture(scope="session")
def world(tmp_path_factory):
    return PageWorld(tmp_path_factory.mktemp("page"))


@pytest.fixture
async def page(world):
    """A client of the page, on loopback."""
    from aiohttp.test_utils import TestClient, TestServer  # noqa: PLC0415 -- only the API's tests need it

    async with TestClient(TestServer(world.app())) as client:
        yield client
