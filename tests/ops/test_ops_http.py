"""The HTTP server: who is answered, who is not, and what a peer may cost."""

import asyncio
import contextlib
import json
import socket

import pytest
from aiohttp import ClientPayloadError, web
from hypothesis import given
from hypothesis import strategies as st
from ops_world import World, json_of, until
from structlog.testing import capture_logs

from gateway.config.model import HttpConfig
from gateway.ops.http import guard
from gateway.ops.http.keys import ACTIONS, ASKED_BY, TOKENLESS, VIEW
from gateway.ops.http.server import HttpLimits, HttpServer
from gateway.ops.http.token import load_token
from gateway.ops.secrets import SecretError

TOKEN = b"0123456789abcdef0123456789abcdef"
BEARER = f"Bearer {TOKEN.decode()}"


def mount(app):
    async def fine(request):
        return web.json_response(
            {"body": (await request.read()).decode(), "fleet": request.app[VIEW].config.gateway.fleet}
        )

    async def broken(request):
        raise KeyError("a secret of ours")

    async def slow(request):
        await asyncio.sleep(60)

    async def act(request):
        return web.json_response(await request.app[ACTIONS]["anchor-now"]())

    async def endless(request):
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(bytes(1 << 20))

    async def breaks(request):
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"half")
        raise KeyError("the other half")

    app.router.add_get("/breaks", breaks)
    app[TOKENLESS].add("/api/check")
    app.router.add_get("/fine", fine)
    app.router.add_get("/broken", broken)
    app.router.add_get("/slow", slow)
    app.router.add_get("/endless", endless)
    app.router.add_post("/api/check", fine)
    app.router.add_post("/api/act", act)


async def anchored():
    return {"state": "asked"}


@pytest.fixture
async def world(tmp_path):
    return World(tmp_path)


@pytest.fixture
async def served(world):
    async with world.serving(mount=[mount], token=TOKEN, actions={"anchor-now": anchored}) as (server, client):
        yield server, client


def ours(server):
    return {"Origin": server.status().address, ASKED_BY: "1"}


async def test_a_mounted_route_finds_the_gateway(served):
    _server, client = served
    assert await json_of(client, "/fine") == (200, {"body": "", "fleet": "plant-7"})


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example", "127.0.0.1.nip.io", "192.0.2.7", "10.1"])
async def test_a_name_that_is_not_ours_is_not_answered(served, host):
    _server, client = served
    status, body = await json_of(client, "/fine", headers={"Host": f"{host}:80"})
    assert status == 421
    assert set(body) == {"error", "hint"}


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:9", "127.0.0.1:80", "[::1]:80", "127.8.8.8", "gw.plant.example:443"]
)
async def test_our_names_are_answered(world, host):
    config = HttpConfig(port=0, allowed_hosts=("GW.plant.example",))
    async with world.serving(config, mount=[mount]) as (_server, client):
        assert (await json_of(client, "/fine", headers={"Host": host}))[0] == 200


async def test_two_hosts_or_none_are_no_host(served):
    server, _client = served
    for head in (
        b"GET /fine HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n",
        b"GET /fine HTTP/1.0\r\n\r\n",
    ):
        assert (await _raw(server, head)).startswith((b"HTTP/1.1 400", b"HTTP/1.0 400"))


@given(st.text(max_size=80))
def test_any_host_header_is_a_name_or_none(text):
    name = guard.host_name(text)
    assert name is None or (name == name.lower() and "/" not in name and "@" not in name)
    if name is not None and guard.is_our_name(name, "192.0.2.1", {"gw.example"}):
        assert name in {"localhost", "gw.example", "192.0.2.1"} or guard._plain(name).is_loopback


@given(st.ip_addresses(v=4))
def test_an_address_is_ours_when_it_is_loopback_or_the_one_that_was_asked(address):
    assert guard.is_our_name(str(address), str(address), ())
    assert guard.is_our_name(f"::ffff:{address}", str(address), ())
    assert guard.is_our_name(str(address), "192.0.2.1", ()) == (address.is_loopback or str(address) == "192.0.2.1")


@given(
    st.dictionaries(
        st.sampled_from(["Origin", "Sec-Fetch-Site", "Sec-Fetch-Mode", "Sec-Fetch-Dest", ASKED_BY]),
        st.sampled_from(
            [
                *("http://localhost:8470", "https://localhost:8470", "http://evil.example", "null", "localhost:8470"),
                *("same-origin", "same-site", "cross-site", "none", "navigate", "document", "1", ""),
            ]
        ),
    ),
    st.sampled_from(["POST", "PUT", "DELETE", "GET"]),
)
def test_whatever_writes_comes_from_our_own_page(headers, method):
    refused = guard.refusal_of_site(method, {"Host": "localhost:8470", **headers})
    if method == "GET" or refused is not None:
        return
    assert method == "POST"
    assert ASKED_BY in headers
    assert headers.get("Origin", "http://localhost:8470").endswith("://localhost:8470")
    assert headers.get("Sec-Fetch-Site", "same-origin") == "same-origin"
    assert "Origin" in headers or "Sec-Fetch-Site" in headers


@pytest.mark.parametrize("site", ["cross-site", "same-site", "anything"])
async def test_a_script_of_another_site_reads_nothing(served, site):
    _server, client = served
    assert (await json_of(client, "/fine", headers={"Sec-Fetch-Site": site, "Sec-Fetch-Mode": "no-cors"}))[0] == 403


async def test_a_person_may_follow_a_link_to_the_page(served):
    _server, client = served
    headers = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    assert (await json_of(client, "/fine", headers=headers))[0] == 200
    assert (await json_of(client, "/fine", headers=headers | {"Sec-Fetch-Dest": "iframe"}))[0] == 403


async def test_an_action_needs_token_origin_and_header(served):
    server, client = served
    right = ours(server) | {"Authorization": BEARER}
    async with client.post("/api/act", headers=right) as answer:
        assert (answer.status, await answer.json()) == (200, {"state": "asked"})
    wrong = [
        ({"Authorization": ""}, 401),
        ({"Authorization": BEARER[:-1]}, 401),
        ({"Authorization": BEARER + "0"}, 401),
        ({"Authorization": "Bearer ✓"}, 401),
        ({"Authorization": f"Basic {TOKEN.decode()}"}, 401),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
    ]
    for change, status in wrong:
        async with client.post("/api/act", headers=right | change) as answer:
            assert answer.status == status, change
            assert set(await answer.json()) == {"error", "hint"}
    for missing in right:
        headers = {name: value for name, value in right.items() if name != missing}
        async with client.post("/api/act", headers=headers) as answer:
            assert answer.status in {401, 403}, missing


async def test_a_form_of_another_site_changes_nothing(served):
    """What a form can send: no header of its own, and the browser adds where it comes from."""
    _server, client = served
    headers = {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    async with client.post("/api/check", data={"a": "b"}, headers=headers | {"Sec-Fetch-Dest": "document"}) as answer:
        assert answer.status == 403


async def test_what_changes_nothing_needs_no_token_but_our_own_page(served):
    server, client = served
    async with client.post("/api/check", data=b"proof", headers=ours(server)) as answer:
        assert (answer.status, (await answer.json())["body"]) == (200, "proof")
    async with client.post("/api/check", data=b"proof") as answer:
        assert answer.status == 403


async def test_without_a_token_the_page_is_read_only(world):
    async with world.serving(mount=[mount]) as (server, client):
        for token in ("", "None", TOKEN.decode()):
            headers = ours(server) | {"Authorization": f"Bearer {token}"}
            async with client.post("/api/act", headers=headers) as answer:
                assert answer.status == 403
                assert "read-only" in (await answer.json())["error"]


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
async def test_other_methods_are_not_answered(served, method):
    server, client = served
    headers = ours(server) | {"Authorization": BEARER}
    async with client.request(method, "/fine", headers=headers) as answer:
        assert answer.status == 405


@pytest.mark.parametrize("path", ["/fine", "/metrics", "/healthz", "/nothing", "/broken", "/%2e%2e/etc"])
async def test_every_answer_has_the_headers_that_keep_strangers_out(served, path):
    _server, client = served
    async with client.get(path) as answer:
        for name, value in guard.HEADERS.items():
            assert answer.headers[name] == value
        assert answer.headers["Server"] == "securenet"
        policy = answer.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy


async def test_a_fault_of_ours_is_json_without_its_cause(served):
    _server, client = served
    status, body = await json_of(client, "/broken")
    assert status == 500
    assert "secret" not in json.dumps(body)
    assert await json_of(client, "/nothing") == (404, {"error": "not found", "hint": ""})


async def test_a_body_or_head_that_is_too_large_is_refused(world):
    async with world.serving(mount=[mount], limits=HttpLimits(body_bytes=1000)) as (server, client):
        async with client.post("/api/check", data=bytes(1001), headers=ours(server)) as answer:
            assert answer.status == 413
            assert set(await answer.json()) == {"error", "hint"}
        head = b"GET /fine HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 5000 + b"\r\n\r\n"
        assert (await _raw(server, head)).startswith(b"HTTP/1.0 400")
        many = b"GET /fine HTTP/1.1\r\nHost: localhost\r\n" + b"X: y\r\n" * 100 + b"\r\n"
        assert (await _raw(server, many)).startswith(b"HTTP/1.0 400")


async def test_a_head_that_drips_in_is_cut_off(world):
    async with world.serving(limits=HttpLimits(idle_s=0.3)) as (server, _client):
        reader, writer = await _connect(server)
        started = asyncio.get_running_loop().time()
        head = b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 3000
        with contextlib.suppress(ConnectionError):
            while not reader.at_eof() and asyncio.get_running_loop().time() - started < 5:
                writer.write(head[:1])
                head = head[1:]
                await writer.drain()
                await asyncio.sleep(0.02)
        assert 0.2 < asyncio.get_running_loop().time() - started < 3
        writer.close()


async def test_a_handler_that_takes_too_long_is_ended(world):
    async with world.serving(mount=[mount], limits=HttpLimits(request_s=0.2)) as (_server, client):
        status, body = await json_of(client, "/slow")
        assert (status, body["error"]) == (503, "the answer took too long")


async def test_a_reader_who_does_not_read_is_cut_off(world):
    async with world.serving(mount=[mount], limits=HttpLimits(request_s=0.3, connections=1)) as (server, client):
        _reader, writer = await _connect(server)
        writer.write(b"GET /endless HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await writer.drain()
        await asyncio.sleep(0.1)
        assert (await _raw(server, b"GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n")).startswith(
            b"HTTP/1.1 503 Serv"
        )
        await asyncio.sleep(0.5)
        assert "reasons" in (await json_of(client, "/readyz"))[1]
        writer.close()


async def test_an_answer_that_breaks_off_is_not_taken_for_whole(served):
    _server, client = served
    with pytest.raises(ClientPayloadError):
        async with client.get("/breaks") as answer:
            await answer.read()


async def test_so_many_connections_and_no_more(world):
    async with world.serving(limits=HttpLimits(connections=3, idle_s=30)) as (server, _client):
        open_ones = [await _connect(server) for _ in range(3)]
        await asyncio.sleep(0.05)
        reader, writer = await _connect(server)
        assert (await reader.read()).startswith(b"HTTP/1.1 503")
        writer.close()
        for _reader, each in open_ones:
            each.close()
        await asyncio.sleep(0.1)
        assert (
            await _raw(server, b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        ).startswith(b"HTTP/1.1 200")


async def test_a_busy_port_is_waited_for_and_told_once(world):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        server = HttpServer(HttpConfig(port=taken.getsockname()[1]), world.gateway)
        with capture_logs() as told:
            task = asyncio.create_task(server.run())
            await until(lambda: server.status().state == "down")
            assert server.status().detail.endswith(": Address already in use")
            await asyncio.sleep(1.2)  # a second try
            taken.close()
            await until(lambda: server.status().state == "up")
        task.cancel()
        assert [each["event"] for each in told] == ["http.not_listening", "http.listening"]
        with pytest.raises(asyncio.CancelledError):
            await task
        assert server.status().state == "off"


async def test_an_idle_peer_does_not_hold_up_the_end(world):
    server = HttpServer(HttpConfig(port=0), world.gateway)
    task = asyncio.create_task(server.run())
    await until(lambda: server.status().state == "up")
    reader, writer = await _connect(server)
    writer.write(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
    await reader.readuntil(b"\r\n\r\n")
    task.cancel()
    async with asyncio.timeout(2):
        with contextlib.suppress(asyncio.CancelledError):
            await task
        await reader.read()
    with pytest.raises(OSError, match="Connect"):
        await asyncio.open_connection("127.0.0.1", writer.get_extra_info("peername")[1])
    writer.close()


def test_a_token_is_long_or_none(tmp_path):
    file = tmp_path / "token"
    file.touch(mode=0o600)
    file.write_bytes(TOKEN + b"\n")
    assert load_token(str(file)) == TOKEN
    assert load_token("") is None
    file.write_bytes(TOKEN[:-1] + b"\n")
    with pytest.raises(SecretError, match="shorter than 32"):
        load_token(str(file))


async def _connect(server):
    port = int(server.status().address.rpartition(":")[2])
    return await asyncio.open_connection("127.0.0.1", port)


async def _raw(server, head):
    reader, writer = await _connect(server)
    writer.write(head)
    async with asyncio.timeout(5):
        answer = await reader.read(65536)
    writer.close()
    return answer
