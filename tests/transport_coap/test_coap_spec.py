"""The commands of docs/spec/coap.md, run as they stand there, and its tables against the code."""

import re
import shlex
from pathlib import Path

import pytest
from coap_harness import RECEIPT
from support.libcoap import coap_client

from gateway.message import PushbackReason, RejectReason
from gateway.transport.coap_codes import CODE_OF_PUSHBACK, CODE_OF_REASON
from gateway.transport.coap_resource import UPLOAD_LINK

PAGE = (Path(__file__).parents[2] / "docs" / "spec" / "coap.md").read_text()
COMMANDS = re.findall(r"```sh\n(coap-client-notls .*)\n```", PAGE)


async def run(command, uri, tmp_path):
    tool, *arguments = shlex.split(command)
    assert tool == "coap-client-notls"
    return await coap_client(
        *(
            str(tmp_path / each) if each.endswith(".cose") else each.replace("coap://gateway.example", uri)
            for each in arguments
        )
    )


@pytest.mark.libcoap
async def test_the_example_is_answered_with_a_receipt(gateway, tmp_path):
    running = await gateway()
    (tmp_path / "envelope.cose").write_bytes(b"\xd2envelope")
    assert await run(COMMANDS[0], running.uri, tmp_path) == (b"", "")
    assert [raw.payload for raw in running.intake.taken] == [b"\xd2envelope"]
    assert (tmp_path / "receipt.cose").read_bytes() == RECEIPT


@pytest.mark.libcoap
async def test_the_list_is_the_one_on_the_page(gateway, tmp_path):
    running = await gateway()
    out, err = await run(COMMANDS[1], running.uri, tmp_path)
    assert (out.decode().strip(), err) == (UPLOAD_LINK, "")
    assert f"```text\n{UPLOAD_LINK}\n```" in PAGE


def test_the_table_names_every_reason_with_its_code():
    rows = re.findall(r"^\| ([245]\.\d\d) \| ([^|]*) \|", PAGE, re.MULTILINE)
    told = {reason: code for code, reasons in rows for reason in re.findall(r"`([a-z-]+)`", reasons)}
    expected = {reason.value: code for reason, code in CODE_OF_REASON.items()}
    expected |= {reason.value: code for reason, code in CODE_OF_PUSHBACK.items()}
    # A duplicate is answered with its receipt, and an observed device (identity-mismatch) is not answered at all.
    for silent in (RejectReason.DUPLICATE, RejectReason.IDENTITY_MISMATCH):
        del expected[silent.value]
    assert told == {reason: f"{code >> 5}.{code & 31:02}" for reason, code in expected.items()}
    assert PushbackReason.PUSHBACK.value in told
