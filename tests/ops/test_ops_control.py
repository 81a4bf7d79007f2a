import asyncio
import json
import socket
import stat

import pytest

from gateway.ops import control
from gateway.ops.control import ControlError, ControlServer, NoGatewayError, RequestRefusedError, request


async def echo(asked):
    return {"asked": dict(asked)}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "control.sock"


async def raw(path, data):
    reader, writer = await asyncio.open_unix_connection(path)
    writer.write(data)
    writer.write_eof()
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return answer


async def test_a_request_reaches_its_handler_and_comes_back(path):
    async with ControlServer(path, {"status": echo}):
        assert await request(path, "status", depth=3) == {"asked": {"command": "status", "depth": 3}}
        assert stat.S_IMODE(path.stat().st_mode) == 0o660
    assert not path.exists()


async def test_many_may_ask_at_once(path):
    async with ControlServer(path, {"status": echo}):
        answers = await asyncio.gather(*(request(path, "status", n=number) for number in range(8)))
    assert [answer["asked"]["n"] for answer in answers] == list(range(8))


async def test_an_unknown_command_is_refused_with_the_known_ones(path):
    async with ControlServer(path, {"status": echo}):
        with pytest.raises(RequestRefusedError, match="status"):
            await request(path, "shutdown")


@pytest.mark.parametrize("line", [b"junk\n", b"\xff\n", b"[]\n", b"{}\n", b'{"command": 7}\n', b"[" * 60000 + b"\n"])
async def test_what_is_no_request_is_answered_with_an_error(path, line):
    async with ControlServer(path, {"status": echo}):
        assert json.loads(await raw(path, line))["ok"] is False


async def test_a_request_too_long_is_cut_off_and_the_next_is_served(path):
    async with ControlServer(path, {"status": echo}):
        try:
            answer = await raw(path, b" " * (2 * control.MAX_REQUEST_BYTES) + b"\n")
        except ConnectionError:
            answer = b""
        assert answer == b""
        assert await request(path, "status")


async def test_a_slow_handler_and_a_silent_peer_are_not_waited_for(path, monkeypatch):
    monkeypatch.setattr(control, "TIMEOUT_S", 0.05)

    async def never(_asked):
        await asyncio.Event().wait()
        return {}

    async with ControlServer(path, {"status": never}):
        with pytest.raises(RequestRefusedError, match="too busy"):
            await request(path, "status")
        reader, writer = await asyncio.open_unix_connection(path)
        assert await reader.read() == b""
        writer.close()
        await writer.wait_closed()


async def test_a_socket_left_behind_is_replaced_but_a_living_one_is_not(path):
    dead = socket.socket(socket.AF_UNIX)
    dead.bind(str(path))
    dead.close()
    async with ControlServer(path, {"status": echo}):
        with pytest.raises(ControlError, match="another gateway"):
            await ControlServer(path, {}).start()
        assert await request(path, "status")


async def test_a_file_in_the_way_is_left_alone(path):
    path.write_text("precious")
    with pytest.raises(ControlError, match="no socket"):
        await ControlServer(path, {}).start()
    assert path.read_text() == "precious"


async def test_close_leaves_the_socket_of_a_successor(path):
    first = ControlServer(path, {"status": echo})
    await first.start()
    path.unlink()
    async with ControlServer(path, {"status": echo}):
        await first.close()
        await first.close()
        assert await request(path, "status")


async def test_a_path_longer_than_a_socket_address_works(tmp_path):
    deep = tmp_path / ("d" * 60) / ("e" * 60)
    deep.mkdir(parents=True)
    async with ControlServer(deep / "control.sock", {"status": echo}):
        assert await request(deep / "control.sock", "status")
    assert list(deep.iterdir()) == []


async def test_nobody_there_is_said_in_words(path):
    with pytest.raises(NoGatewayError, match="no gateway answers"):
        await request(path, "status")


async def test_an_answer_in_another_language_is_no_gateway(path):
    async def babble(_reader, writer):
        writer.write(b"SSH-2.0\n")
        writer.close()

    server = await asyncio.start_unix_server(babble, path)
    async with server:
        with pytest.raises(NoGatewayError, match="is no gateway"):
            await request(path, "status")
