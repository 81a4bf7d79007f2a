"""The page in a real browser: every view in light, dark and at phone width, by keyboard, under attack."""

import pytest
from page_browser import look
from page_kit import TOKEN, XSS, PageWorld

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

VIEWS = {
    "overview": "Refused, by reason",
    "devices": "urn:dev:pump-00",
    "device": "lowest 0.1",
    "records": "50 entries so far",
    "found": "isolated",
    "anchors": "Gas",
    "models": "Deciphered, checked and loaded",
    "quarantine": "Claimed device",
    "record": "0000  3c 69 6d 67",
    "proof": "securenet proof verify",
    "actions": "Anchor now",
}
MODES = ("light", "dark", "phone-light", "phone-dark")


@pytest.fixture(scope="module")
def seen(world, tmp_path_factory):
    return look(world, tmp_path_factory.mktemp("browser"))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("view", VIEWS)
def test_a_view_shows_its_data_fits_the_screen_and_has_no_accessibility_finding(seen, view, mode):
    found = seen["views"][f"{view} {mode}"]
    assert VIEWS[view] in found["text"]
    assert found["title"].endswith("SecureNet Gateway")
    assert found["wide"] <= 0, "there is a horizontal scroll"
    assert found["faults"] == 0
    assert found["unlabelled"] == 0
    assert found["axe"] == []


def test_nothing_is_told_to_the_console_and_no_rule_of_the_policy_is_broken(seen):
    assert seen["console"] == []
    assert seen["csp"] == []


def test_no_request_leaves_the_gateway(seen):
    assert seen["foreign"] == []


def test_what_strangers_wrote_is_shown_as_text(seen):
    assert seen["pwned"] == []
    for view in ("overview", "quarantine", "record", "found"):
        assert XSS in seen["views"][f"{view} light"]["text"].replace("\n", ""), view


def test_the_keyboard_reaches_everything_and_shows_where_it_is(seen):
    for view, found in seen["keyboard"].items():
        assert len(found["reached"]) == found["wanted"] > 8, view
        assert found["bare"] == [], view
    assert seen["skipped"] == "main"


def test_figures_are_live_and_plots_have_words(seen):
    names = {name: (value, told) for name, value, told in seen["live"]}
    assert set(names) == {"Received", "Accepted", "Rejected", "Median answer", "99 of 100 within"}
    value, told = names["Accepted"]
    assert float(value.removesuffix("/s")) > 10
    assert told.startswith("Accepted: now ")


def test_a_hidden_tab_asks_nothing(seen):
    assert seen["asksWhileHidden"] == 0


def test_a_gateway_that_hangs_is_not_shown_as_ready(seen):
    """Neither by the header nor below it; one question waits at a time, and the page finds back by itself."""
    assert seen["lost"]["state"] == "The gateway does not answer"
    assert "is as it was at" in seen["lost"]["text"]
    assert "messages are taken" not in seen["lost"]["text"]
    assert seen["lost"]["held"] <= 2
    assert seen["lost"]["axe"] == []
    assert "does not answer" not in seen["found"]


def test_a_proof_is_checked_step_by_step_and_a_tampered_one_fails(seen):
    assert "holds here" in seen["proofGood"]
    assert "The chain has that root" in seen["proofGood"]
    assert "this gateway recorded the same root and size; state: final" in seen["proofGood"]
    assert "you trust" not in seen["proofGood"]
    assert seen["proofAxe"] == []
    assert "invalid" in seen["proofBad"]
    assert "The entry speaks of another message." in seen["proofBad"]
    assert seen["proofFocus"] == "result"


def test_the_token_unlocks_actions_and_stays_in_memory(seen):
    assert "anchor-now: size 600 is sealed" in seen["action"]
    assert TOKEN.decode() not in seen["kept"]
    assert "A token is held" not in seen["afterReload"]


def test_forms_work_and_a_download_says_that_it_is_complete(seen):
    assert seen["search"]["url"].endswith("#/devices?q=pump-1")
    assert seen["search"]["focus"] == "H1"
    assert seen["csv"][-2].startswith("# complete: 6 rows")
    assert seen["name"] == "gw-1-log.csv"


def test_a_foreign_name_that_resolves_to_this_host_gets_nothing(seen):
    assert seen["rebound"] == 421


def test_a_gateway_without_chain_and_models_that_is_not_ready_says_so_and_what_to_do(tmp_path):
    bare = PageWorld(tmp_path / "bare", messages=8, chain=False)
    bare.ready = False
    views = ["overview", "models", "anchors", "devices"]
    seen = look(bare, tmp_path, only=["everyView"], modes=["phone-light"], views=views)
    assert seen["console"] == []
    for view in views:
        found = seen["views"][f"{view} phone-light"]
        assert (found["wide"], found["faults"], found["axe"]) == (0, 0, []), view
    overview = seen["views"]["overview phone-light"]["text"]
    assert "Not ready: messages are not taken" in overview
    assert "is mosquitto running?" in overview
    assert "No chain is configured" in overview
    assert "No model is configured" in overview
