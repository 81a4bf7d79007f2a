"""The page reads what a running gateway really says of itself."""

import re

import aiohttp
from support.gateway import Gateway
from support.mosquitto import free_port

from gateway.ops.page.routes import _STATIC

PLANNED = {"certificates", "clock"}
"""Parts of the status that a gateway has only where it has what they speak of; the page does without them."""


async def test_every_word_of_the_status_that_the_page_reads_is_one_that_a_gateway_says(tmp_path, world):
    gateway = Gateway(tmp_path / "gateway", [], {"coap": {"port": free_port(2)}, "http": {"enabled": False}})
    gateway.start()
    try:
        real = await gateway.ready()
    finally:
        gateway.end()
    script = (_STATIC / "overview.js").read_text() + (_STATIC / "main.js").read_text()
    read = set(re.findall(r"\bstatus\??\.([a-z][a-z0-9_]*)", script)) - PLANNED
    assert len(read) > 20
    assert read <= set(real), read - set(real)
    assert read <= set(world.status())
    for name in ("received", "rejected", "verdicts", "transports", "registry"):
        assert isinstance(real[name], dict), name
    assert {"state", "detail", "restarts"} <= set(real["transports"]["coap"])
    assert {"devices", "active", "suspended", "revoked", "as_of_ms"} <= set(real["registry"])


async def test_a_running_gateway_serves_its_page(tmp_path):
    port = free_port()
    web = {"enabled": True, "port": port}
    gateway = Gateway(tmp_path, [], {"coap": {"port": free_port(2)}, "http": web})
    gateway.start()
    try:
        await gateway.ready()
        async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session:
            async with session.get("/") as answer:
                assert "/static/main.js" in await answer.text()
            async with session.get("/api/status") as answer:
                told = await answer.json()
            assert (told["status"]["gateway"], told["can_act"]) == (Gateway.id, False)
            for path in ("/api/devices", "/api/log", "/api/anchors", "/api/quarantine", "/api/models", "/api/words"):
                async with session.get(path) as answer:
                    assert answer.status == 200, path
    finally:
        gateway.end()
