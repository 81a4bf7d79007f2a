"""Other RPC endpoints while the gateway runs: taken when they serve, refused when they do not."""

from __future__ import annotations

import pytest
from support.custody import custody_gateway
from support.mosquitto import free_port
from support.scripted_rpc import ScriptedRpc

from gateway.ops.exitcodes import ExitCode

pytestmark = [pytest.mark.slow, pytest.mark.broker, pytest.mark.timeout(180)]


async def test_an_endpoint_that_serves_is_taken_and_one_that_does_not_leaves_the_old_in_use(
    world, broker, tmp_path, records
):
    gateway = custody_gateway(
        world,
        tmp_path / "gateway",
        broker.port,
        records,
        chain={"confirmations": 2, "poll_s": 0.1, "timeout_s": 1.0},
        anchor={"interval_s": 3600.0},
    )
    world.fund()
    world.register_miner(gateway)
    world.mine(2)
    gateway.start()
    try:
        await gateway.ready()
        good = gateway.config.read_text()
        url = world.anvil.url
        assert good.count(url) == 1
        with ScriptedRpc(url) as other:
            for wanted, code in (
                (f"http://127.0.0.1:{free_port()}", ExitCode.CONFIG),
                (other.url, ExitCode.OK),
            ):
                gateway.config.write_text(good.replace(url, wanted))
                got, said = await gateway.securenet("reload", "--data-dir", gateway.data)
                assert got == code, said
                status = await gateway.ready()
                (endpoint,) = status["chain"]["endpoints"]
                assert (other.url if code is ExitCode.OK else url).startswith(endpoint["endpoint"])
            gateway.config.write_text(good)
            assert (await gateway.securenet("reload", "--data-dir", gateway.data))[0] == 0
        await gateway.ready()
        assert await gateway.stop() == 0
    finally:
        gateway.end()
