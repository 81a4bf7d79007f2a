"""The page reads what a running gateway really says of itself."""

import re

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
