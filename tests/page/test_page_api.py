"""The page's API over a real journal: what it answers, what it refuses, and what it never does."""

import asyncio
import csv
import io
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from page_kit import HEADERS, MODEL, NOW_MS, PUMPS, TOKEN, XSS, PageWorld

from gateway.anchor.lifecycle import State
from gateway.message import RejectReason, Verdict
from gateway.ops.page.words import ANCHOR_STATES, REASONS, VERDICTS


async def told(client, path, **params):
    async with client.get(path, params={name: str(value) for name, value in params.items()}) as answer:
        return answer.status, await answer.json()


async def good(client, path, **params):
    status, body = await told(client, path, **params)
    assert status == 200, body
    return body


def test_every_reason_verdict_and_state_is_explained():
    assert set(REASONS) == set(RejectReason)
    assert set(VERDICTS) == set(Verdict)
    assert set(ANCHOR_STATES) == set(State)
    for means, do in REASONS.values():
        assert means.endswith(".")
        assert do.endswith(".")


async def test_the_status_is_the_gateways_own_with_its_latencies(page, world):
    body = await good(page, "/api/status")
    assert body["status"]["accepted"] == world.counters.accepted
    assert body["status"]["ready"] is True
    assert len(body["latency"]["counts"]) == len(body["latency"]["bounds_ms"]) + 1
    assert sum(body["latency"]["counts"]) >= 600
    assert body["actions"] == ["anchor-now", "reload"]


async def test_the_shell_and_every_file_it_needs_are_served_and_nothing_else(page):
    async with page.get("/") as answer:
        shell = await answer.text()
        assert answer.status == 200
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
    assert "://" not in shell.replace("http://www.w3.org", "")
    async with page.get("/static/main.js") as answer:
        assert answer.status == 200
        etag = answer.headers["ETag"]
    async with page.get("/static/main.js", headers={"If-None-Match": etag}) as answer:
        assert answer.status == 304
    for path in (
        "/static/../words.py",
        "/static/%2e%2e%2fwords.py",
        "/static/index.html",
        "/static/none.js",
        "/api/none",
    ):
        async with page.get(path) as answer:
            assert answer.status == 404, path


async def test_devices_are_found_by_prefix_and_by_part_with_what_they_sent_last(page):
    body = await good(page, "/api/devices", q="urn:dev:pump-0", limit=5)
    assert [row["id"] for row in body["devices"]] == list(PUMPS[:5])
    assert body["total"] == 10
    first = body["devices"][0]
    assert first["last"]["index"] == 588
    assert first["messages"] == 50
    inside = await good(page, "/api/devices", q="pump-1", page=0)
    assert [row["id"] for row in inside["devices"]] == list(PUMPS[10:])
    suspended = await good(page, "/api/devices", status="suspended")
    assert [row["id"] for row in suspended["devices"]] == [PUMPS[3], PUMPS[9]]
    assert (await good(page, "/api/devices", q="nobody"))["devices"] == []


async def test_a_prefix_comes_before_the_same_text_elsewhere_and_pages_join(tmp_path):
    from aiohttp.test_utils import TestClient, TestServer  # noqa: PLC0415 -- as in conftest

    world = await asyncio.to_thread(PageWorld, tmp_path, messages=12, extra=120)
    async with TestClient(TestServer(world.app())) as client:
        pages = [await good(client, "/api/devices", q="0001", page=number, limit=7) for number in range(5)]
        expected = [f"meter-{number:06d}" for number in (1, *range(10, 20), *range(100, 120))]
        assert [row["id"] for each in pages for row in each["devices"]] == expected
        assert pages[0]["total"] == 31
        both = await good(client, "/api/devices", q="m", limit=500)
        assert [row["id"] for row in both["devices"]] == [*(f"meter-{number:06d}" for number in range(120)), *PUMPS]


async def test_one_device_has_its_history_and_says_why_it_was_refused(page):
    body = await good(page, "/api/device", id=PUMPS[0])
    assert body["status"] == "active"
    assert body["newest"][0]["index"] == 588
    indexes = [each["index"] for each in body["scores"]]
    assert indexes == sorted(indexes)
    assert {each["device"] for each in body["refused"]} == {PUMPS[0]}
    assert body["summaries"] == []
    most = await good(page, "/api/device", id=PUMPS[1])
    assert [row["index"] for row in most["summaries"]] == list(range(599, 0, -60))
    assert [row["index"] for row in (await good(page, "/api/log", device=PUMPS[3], kind="response"))["rows"]] == [7]
    status, unknown = await told(page, "/api/device", id="nobody")
    assert (status, unknown["status"], unknown["last"]) == (200, "unregistered", None)


async def test_log_entries_are_found_by_device_time_verdict_kind_and_reason(page):
    rows = (await good(page, "/api/log", limit=10))["rows"]
    assert [row["index"] for row in rows] == list(range(599, 589, -1))
    assert rows[0]["kind"] == "rejections"
    mine = (await good(page, "/api/log", device=PUMPS[2]))["rows"]
    assert {row["device_id"] for row in mine} == {PUMPS[2]}
    start, end = NOW_MS - 1_000_000 + 100_000, NOW_MS - 1_000_000 + 110_000
    timed = (await good(page, "/api/log", from_ms=start, to_ms=end))["rows"]
    assert [row["index"] for row in timed] == list(range(110, 99, -1))
    odd = (await good(page, "/api/log", verdict="anomalous"))["rows"]
    assert odd
    assert {row["verdict"] for row in odd} == {"anomalous"}
    refused = (await good(page, "/api/log", kind="rejections", reason="malformed"))["rows"]
    assert len(refused) == 10
    assert (await good(page, "/api/log", reason="manifest-signature"))["rows"][0]["model_id"] == MODEL
    assert [row["index"] for row in (await good(page, "/api/log", kind="key"))["rows"]] == [6]
    assert (await good(page, "/api/log", kind="key", verdict="normal"))["rows"] == []


async def test_pages_of_the_log_join_without_a_gap(page):
    seen, before = [], ""
    while True:
        body = await good(page, "/api/log", device=PUMPS[1], limit=7, before=before)
        seen += [row["index"] for row in body["rows"]]
        before = body["before"]
        if before is None:
            break
    assert seen == [row for row in range(599, -1, -1) if row % 12 == 1 and row % 60 != 59 and row not in {4, 5, 6, 7}]


async def test_a_csv_is_complete_or_says_where_it_was_cut_and_no_cell_is_a_formula(page):
    async with page.get("/api/log.csv") as answer:
        assert answer.headers["Content-Disposition"].startswith("attachment")
        lines = list(csv.reader(io.StringIO(await answer.text())))
    assert len(lines) == 602
    assert lines[-1] == ["# complete: 600 rows"]
    async with page.get("/api/log.csv", params={"limit": "25"}) as answer:
        cut = list(csv.reader(io.StringIO(await answer.text())))
    assert cut[-1] == ["# cut after 25 rows: there are more; go on with before=575"]
    for source in ("log", "quarantine", "anchors"):
        async with page.get(f"/api/{source}.csv") as answer:
            for line in csv.reader(io.StringIO(await answer.text())):
                assert not any(cell[:1] in set("=+-@\t\r\n|%") for cell in line)


async def test_a_json_download_is_one_document(page):
    async with page.get("/api/quarantine.json") as answer:
        body = json.loads(await answer.text())
    assert (len(body["rows"]), body["complete"], body["count"]) == (41, True, 41)
    async with page.get("/api/anchors.json", params={"limit": "2"}) as answer:
        body = json.loads(await answer.text())
    assert (body["complete"], body["count"], body["before"]) == (False, 2, 4)


async def test_anchors_are_listed_by_state_without_their_raw_transactions(page):
    rows = (await good(page, "/api/anchors"))["rows"]
    assert [row["state"] for row in rows] == ["sealed", "abandoned", "superseded", "failed", "final"]
    final = (await good(page, "/api/anchors", state="final"))["rows"]
    assert [row["tx_hash"] for row in final] == ["0x" + "77" * 32]
    assert not any("raw" in row for row in rows)


async def test_models_tell_their_provenance_down_to_the_first_score(page):
    body = await good(page, "/api/models")
    (model,) = body["models"]
    assert model["model"] == MODEL
    assert model["versions"][0]["manifest"]["wrapped_for_us"] is True
    assert model["versions"][0]["manifest"]["ciphertext_cid"].startswith("b")
    loaded = next(each for each in model["reports"] if each["result"] == "loaded")
    assert (loaded["entry"], loaded["first_score"]["index"]) == (4, 20)
    refused = next(each for each in model["reports"] if each["result"] == "refused")
    assert (refused["entry"], refused["first_score"], refused["reason"]) == (5, None, "manifest-signature")


async def test_the_quarantine_shows_bytes_as_numbers_and_strangers_text_without_control_characters(page):
    body = await good(page, "/api/quarantine", reason="malformed")
    assert {row["reason"] for row in body["rows"]} == {"malformed"}
    record = await good(page, "/api/quarantine/record", id=body["rows"][0]["id"])
    assert record["device"] == XSS
    assert record["dump"][0].startswith("0000  3c 69 6d 67")
    assert not any("\x1b" in line or "\x00" in line for line in record["dump"])
    counts = (await good(page, "/api/quarantine/counts"))["counts"]
    assert sum(counts.values()) == 41
    status, missing = await told(page, "/api/quarantine/record", id=12345678901)
    assert status == 404
    assert missing["hint"]


async def test_a_good_proof_holds_under_the_registrys_keys_and_says_what_the_page_cannot(page, world):
    async with page.post("/api/proof/verify", data=world.proof(), headers=HEADERS) as answer:
        assert answer.status == 200
        body = await answer.json()
    assert body["result"] == "valid"
    assert [step["held"] for step in body["steps"]] == [True, True, True, True, True, True, None]
    assert body["about"]["device_key"]["by"] == body["about"]["log_key"]["by"] == "registry"
    assert (body["anchor"]["recorded"], body["anchor"]["agrees"]) == ("final", True)
    assert "securenet proof verify" in body["caveats"][-1]


async def test_a_tampered_proof_fails_at_its_step_and_no_proof_at_the_file(page, world):
    document = json.loads(world.proof())
    document["entry"] = json.loads(world.proof(101))["entry"]
    async with page.post("/api/proof/verify", data=json.dumps(document), headers=HEADERS) as answer:
        body = await answer.json()
    assert body["result"] == "invalid"
    assert {step["step"] for step in body["steps"] if step["held"] is False} == {"entry", "inclusion"}
    async with page.post("/api/proof/verify", data=XSS, headers=HEADERS) as answer:
        body = await answer.json()
    assert [step["step"] for step in body["steps"]] == ["file"]
    async with page.post("/api/proof/verify", data=io.BytesIO(bytes((2 << 20) + 1)), headers=HEADERS) as answer:
        assert answer.status == 413


async def test_a_proof_is_checked_without_a_token_and_only_for_our_own_page(page, world):
    foreign = {"X-SecureNet-Request": "x", "Origin": "http://evil.example", "Sec-Fetch-Site": "cross-site"}
    async with page.post("/api/proof/verify", data=world.proof(), headers=foreign) as answer:
        assert answer.status == 403
    async with page.post(
        "/api/proof/verify", data=world.proof(), headers={"Sec-Fetch-Site": "same-origin"}
    ) as answer:
        assert answer.status == 403


async def test_an_action_needs_the_token_and_exists(page, world):
    world.asked.clear()
    for headers in (HEADERS, HEADERS | {"Authorization": "Bearer wrong-wrong-wrong-wrong-wrong-wrong"}):
        async with page.post("/api/actions/anchor-now", headers=headers) as answer:
            assert answer.status == 401
    assert world.asked == []
    right = HEADERS | {"Authorization": f"Bearer {TOKEN.decode()}"}
    async with page.post("/api/actions/anchor-now", headers=right) as answer:
        assert (await answer.json())["done"]["state"].startswith("anchor-now")
    assert world.asked == ["anchor-now"]
    async with page.post("/api/actions/format-disk", headers=right) as answer:
        assert answer.status == 404


async def test_a_foreign_host_is_not_answered(page):
    async with page.get("/api/status", headers={"Host": "evil.example"}) as answer:
        assert answer.status == 421


@pytest.mark.parametrize(
    ("path", "params"),
    [
        ("/api/log", {"limit": "501"}),
        ("/api/log", {"limit": "0"}),
        ("/api/log", {"limit": "-1"}),
        ("/api/log", {"before": "9223372036854775808"}),
        ("/api/log", {"device": "a b"}),
        ("/api/log", {"kind": "everything"}),
        ("/api/log", {"verdict": "guilty"}),
        ("/api/log", {"reason": "A' OR 1=1"}),
        ("/api/log", {"from_ms": "yesterday"}),
        ("/api/log", {"devcie": "x"}),
        ("/api/log.csv", {"limit": "50001"}),
        ("/api/devices", {"q": "x" * 65}),
        ("/api/devices", {"status": "gone"}),
        ("/api/device", {}),
        ("/api/anchors", {"state": "lost"}),
        ("/api/quarantine", {"reason": "rude"}),
        ("/api/quarantine/record", {}),
    ],
)
async def test_what_is_not_of_its_form_is_refused_with_a_hint(page, path, params):
    status, body = await told(page, path, **params)
    assert status == 400
    assert body["error"]
    assert body["hint"]


async def test_a_parameter_that_is_given_twice_is_refused(page):
    """Which of them would it be? The answer must not be taken for the other one's."""
    for path in ("/api/log?device=a&device=b", "/api/log.csv?kind=message&kind=model", "/api/devices?q=a&q=b"):
        async with page.get(path) as answer:
            assert answer.status == 400, path


async def test_without_a_journal_the_page_says_so(tmp_path):
    from aiohttp.test_utils import TestClient, TestServer  # noqa: PLC0415 -- as in conftest

    world = await asyncio.to_thread(PageWorld, tmp_path, messages=4)
    for file in world.data_dir.iterdir():
        file.unlink()
    async with TestClient(TestServer(world.app())) as client:
        for path in ("/api/log", "/api/devices", "/api/models"):
            status, body = await told(client, path)
            assert (status, body["error"]) == (503, "there is no journal yet")
        assert (await told(client, "/api/status"))[0] == 200


async def test_questions_queue_up_to_a_bound_and_then_are_told_to_come_again(page, monkeypatch):
    monkeypatch.setattr("gateway.ops.page.desk.WAITING_MAX", 3)
    answers = await asyncio.gather(*(told(page, "/api/log", kind="key") for _ in range(12)))
    refused = [body for status, body in answers if status == 503]
    assert {status for status, _ in answers} == {200, 503}
    assert {body["error"] for body in refused} == {"too many questions at once"}
    assert (await told(page, "/api/log"))[0] == 200


NAMES = st.sampled_from(
    ["device", "from_ms", "to_ms", "kind", "verdict", "reason", "before", "limit", "q", "status", "id"]
)
TEXTS = st.one_of(
    st.text(max_size=70),
    st.integers(-5, 1 << 65).map(str),
    st.sampled_from([PUMPS[0], "message", "normal", "malformed"]),
)
PATHS = st.sampled_from(
    [
        "/api/log",
        "/api/log.csv",
        "/api/devices",
        "/api/device",
        "/api/anchors",
        "/api/quarantine",
        "/api/quarantine/record",
    ]
)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(path=PATHS, params=st.dictionaries(NAMES, TEXTS, max_size=4))
async def test_no_query_whatever_it_holds_is_a_fault_of_ours(page, path, params):
    async with page.get(path, params=params) as answer:
        body = await answer.read()
    assert answer.status in {200, 400, 404}, body
    if answer.status != 200:
        assert json.loads(body)["error"]
