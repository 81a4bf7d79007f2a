"""docs/operations/page.md says what the API is: every address, every parameter, every file."""

import re
from pathlib import Path

import pytest
from page_kit import HEADERS, PUMPS

from gateway.ops.page import params
from gateway.ops.page.routes import _STATIC, FILES

DOCS = Path(__file__).parents[2] / "docs" / "operations"
PAGE = (DOCS / "page.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| `(GET|POST) (/api/[^`]*)`(?:, `(\.json)`)? \|(.*?)\|", PAGE, re.MULTILINE)
NEEDED = {"/api/device": {"id": PUMPS[0]}, "/api/quarantine/record": {"id": "920"}}


def parameters_of(path):
    return set(re.findall(r"`([a-z_]+)`", next(text for _, each, _, text in ROWS if each == path)))


@pytest.mark.parametrize("path", [path for method, path, _, _ in ROWS if method == "GET"])
async def test_an_address_of_the_page_is_answered(page, path):
    async with page.get(path, params=NEEDED.get(path, {})) as answer:
        assert answer.status == 200
        await answer.read()


async def test_the_addresses_of_the_page_are_all_there_are(page, world):
    told = {path.replace("NAME", "") for _, path, _, _ in ROWS}
    served = {
        resource.canonical for resource in world.app().router.resources() if resource.canonical.startswith("/api/")
    }
    known = {f"/api/{source}" for source in ("log", "quarantine", "anchors")} | {"/api/log.csv", "/api/actions/"}
    templates = {"/api/{source}", "/api/{source}.{form}", "/api/actions/{name}"}
    assert templates <= served
    assert told == (served - templates) | known
    async with page.post("/api/actions/none", headers=HEADERS) as answer:
        assert answer.status == 401


def test_the_parameters_of_the_page_are_those_that_are_taken():
    assert parameters_of("/api/log") == params.LOG_NAMES
    assert parameters_of("/api/quarantine") == params.REFUSED_NAMES
    assert parameters_of("/api/anchors") == params.ANCHOR_NAMES
    assert parameters_of("/api/devices") - {"total", "counted_to"} == params.DEVICE_NAMES


def test_every_file_is_served_and_every_picture_is_there():
    assert {path.name for path in _STATIC.iterdir()} == FILES | {"index.html"}
    pictures = re.findall(r"!\[[^]]+\]\(([^)]+)\)", PAGE)
    assert len(pictures) >= 3
    for picture in pictures:
        assert (DOCS / picture).resolve().stat().st_size < 150_000


def test_no_file_of_the_page_names_another_place():
    for path in _STATIC.iterdir():
        text = path.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"https?:", text), path.name
        for forbidden in (
            "innerHTML",
            "outerHTML",
            "insertAdjacent",
            "document.write",
            "eval(",
            "localStorage",
            "style=",
        ):
            assert forbidden not in text, (path.name, forbidden)
