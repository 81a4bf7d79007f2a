"""The device in C of docs/firmware_sim.md, compiled, makes the example of docs/spec/envelope.md byte for byte."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from support.anvil import skip_or_fail

from gateway.envelope.decoding import decode
from gateway.message import Envelope

DOCS = Path(__file__).parents[2] / "docs"
SOURCE = re.search(r"```c\n(.*?)```", (DOCS / "firmware_sim.md").read_text(encoding="utf-8"), re.DOTALL)
PAGE = (DOCS / "spec" / "envelope.md").read_text(encoding="utf-8")
EXAMPLES = {
    name: text.replace("\n", "")
    for name, text in re.findall(r"^```text example (\S+)\n(.*?)\n```$", PAGE, re.MULTILINE | re.DOTALL)
}
MAIN = """
#include <stdio.h>
#include <stdlib.h>

static const char *signature_hex;

void sign(uint8_t signature[64], const uint8_t *bytes, size_t length)
{
    for (size_t i = 0; i < length; i++)
        printf("%02x", bytes[i]);
    printf("\\n");
    for (int i = 0; i < 64; i++) {
        const char pair[3] = {signature_hex[2 * i], signature_hex[2 * i + 1], 0};
        signature[i] = (uint8_t)strtoul(pair, NULL, 16);
    }
}

int main(int count, char **words)
{
    static const uint8_t session[8] = {0x8d, 0x5a, 0xb2, 0x0e, 0x71, 0xc3, 0xf6, 0x49};
    static uint8_t out[SEALED_MAX];
    if (count != 6)
        return 2;
    signature_hex = words[5];
    size_t length = seal(out, words[1], words[2], (uint32_t)strtoul(words[3], NULL, 10), session, 1, 110,
                         (const uint8_t *)words[4], strlen(words[4]));
    for (size_t i = 0; i < length; i++)
        printf("%02x", out[i]);
    printf("\\n");
    return length == 0;
}
"""


@pytest.fixture(scope="module")
def device(tmp_path_factory):
    compiler = shutil.which("cc")
    if compiler is None:
        skip_or_fail("no C compiler (cc) here")
    folder = tmp_path_factory.mktemp("device")
    (folder / "device.c").write_text(SOURCE[1] + MAIN)
    strict = ["-std=c99", "-Wall", "-Wextra", "-Wconversion", "-pedantic", "-Werror"]
    subprocess.run([compiler, *strict, "device.c", "-o", "device"], cwd=folder, check=True, timeout=60)

    def run(name, fleet, now_s, payload):
        words = [name, fleet, str(now_s), payload, EXAMPLES["cose"][-128:]]
        done = subprocess.run([folder / "device", *words], capture_output=True, text=True, check=False, timeout=10)
        return done.returncode, done.stdout.split()

    return run


def test_the_device_in_c_makes_the_example_byte_for_byte(device):
    code, made = device("urn:dev:mac:0024befffe804ff1", "villa", 1_760_000_000, EXAMPLES["payload"])
    assert (code, made) == (0, [EXAMPLES["cose-signing-input"], EXAMPLES["cose"]])


@pytest.mark.parametrize("length", [0, 1, 23, 24, 255, 256, 1024])
@pytest.mark.parametrize(("name", "fleet"), [("a", "b"), ("d" * 64, "f" * 32), ("d" * 24, "f" * 24)])
def test_the_gateway_takes_it_at_every_length(device, name, fleet, length):
    code, made = device(name, fleet, 2**32 - 1, "x" * length)
    assert code == 0
    envelope = decode(bytes.fromhex(made[1]), None, max_bytes=65536)
    assert isinstance(envelope, Envelope)
    assert (envelope.device_id, envelope.fleet, envelope.issued_at) == (name, fleet, 2**32 - 1)
    assert (envelope.seq, len(envelope.payload)) == (1, length)
    assert envelope.signing_input.hex() == made[0]


@pytest.mark.parametrize(("name", "fleet", "length"), [("d" * 65, "f", 1), ("d", "f" * 33, 1), ("d", "f", 1025)])
def test_what_is_too_long_is_refused_before_anything_is_written(device, name, fleet, length):
    assert device(name, fleet, 1, "x" * length)[0] == 1
