"""The configuration: every fault by name, all of them at once."""

import dataclasses
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config.example import effective_toml, effective_values, example_toml
from gateway.config.lines import key_lines, line_of
from gateway.config.load import MAX_FILE_BYTES, ConfigError, load_config, parse_config
from gateway.config.model import Config

HERE = Path("gateway.toml")
EXAMPLE = Path(__file__).parents[2] / "config" / "gateway.example.toml"
HEAD = '[gateway]\nid = "gw-1"\nfleet = "plant"\n'


def faults(text):
    with pytest.raises(ConfigError) as caught:
        parse_config(text, HERE)
    return caught.value.faults


def load(text):
    return parse_config(text, HERE)


def test_the_committed_example_is_the_one_of_the_model():
    assert EXAMPLE.read_text(encoding="utf-8") == example_toml()


def test_the_example_loads_and_has_the_defaults():
    config = load_config(EXAMPLE)
    assert config == load('[gateway]\nid = "gw-1"\nfleet = "demo"\n')
    assert config.origin == "securenet/demo/gw-1"


def test_every_key_of_the_model_stands_in_the_example_with_its_default():
    text = "\n".join(
        line.removeprefix("# ") if " = " in line and not line.startswith("#  ") else line
        for line in example_toml().splitlines()
    ).replace("# [[coap.observe]]", "[[coap.observe]]")
    written = tomllib.loads(text)
    for section in dataclasses.fields(Config):
        default = getattr(load_config(EXAMPLE), section.name)
        assert set(written[section.name]) == {field.name for field in dataclasses.fields(default)}
    assert load(text).mqtt == load_config(EXAMPLE).mqtt


def test_what_is_in_force_loads_into_itself():
    config = load(
        HEAD
        + '[coap]\nport = 1\n[[coap.observe]]\nuri = "coap://a/b"\ndevice = "d"\n[mqtt]\nusername = "ü\\"\\u007f"\n'
    )
    assert load(effective_toml(config)) == config
    assert effective_values(config)["coap"]["observe"] == [{"uri": "coap://a/b", "device": "d"}]


REGISTRY, ANCHOR_LOG = f'"0x{20 * "11"}"', f'"0x{20 * "22"}"'
CHAIN = f"""[chain]
rpc = ["http://a:8545"]
chain_id = 1
registry = {REGISTRY}
anchor_log = {ANCHOR_LOG}
"""

BAD = {
    "no section": ("", [(0, "gateway.fleet", "is missing"), (0, "gateway.id", "is missing")]),
    "a key missing": ('[gateway]\nid = "a"\n', [(1, "gateway.fleet", "is missing")]),
    "an unknown key": (HEAD + "ids = 1\n", [(4, "gateway.ids", "is unknown")]),
    "an unknown section": (HEAD + "[mqt]\nport = 1\n", [(4, "mqt", "is unknown")]),
    "a section that is a value": (HEAD.replace("[gateway]", "mqtt = 1\n[gateway]"), [(1, "mqtt", "not a table")]),
    "a value that is a section": (HEAD + "[mqtt.port]\nx = 1\n", [(4, "mqtt.port", "is a table")]),
    "text for a number": (HEAD + '[mqtt]\nport = "1883"\n', [(5, "mqtt.port", 'is "1883"')]),
    "a bool for an integer": (HEAD + "[mqtt]\nport = true\n", [(5, "mqtt.port", "is true")]),
    "an integer for a bool": (HEAD + "[mqtt]\ntls = 1\n", [(5, "mqtt.tls", "is 1")]),
    "a float for an integer": (HEAD + "[mqtt]\nport = 1.0\n", [(5, "mqtt.port", "is 1.0")]),
    "a bool for a float": (HEAD + "[ingest]\nshutdown_s = true\n", [(5, "ingest.shutdown_s", "is true")]),
    "a date for text": (HEAD + "[mqtt]\nhost = 2026-01-01\n", [(5, "mqtt.host", "is a date")]),
    "not a number": (HEAD + "[ingest]\nshutdown_s = nan\n", [(5, "ingest.shutdown_s", "is nan")]),
    "infinite": (HEAD + "[limits]\ndevice_rate_per_s = inf\n", [(5, "limits.device_rate_per_s", "is inf")]),
    "an integer too large to be a float": (
        HEAD + f"[ingest]\nshutdown_s = {10**400}\n",
        [(5, "ingest.shutdown_s", "is inf")],
    ),
    "below the bounds": (HEAD + "[mqtt]\nport = 0\n", [(5, "mqtt.port", "is 0")]),
    "above the bounds": (HEAD + "[mqtt]\nport = 65536\n", [(5, "mqtt.port", "is 65536")]),
    "not a choice": (HEAD + '[logging]\nlevel = "INFO"\n', [(5, "logging.level", 'is "INFO"')]),
    "against the pattern": ('[gateway]\nid = "a b"\nfleet = "f"\n', [(2, "gateway.id", 'is "a b"')]),
    "an empty path": (HEAD + '[registry]\nfile = ""\n', [(5, "registry.file", "is empty")]),
    "a NUL in text": (HEAD + '[mqtt]\nhost = "a\\u0000"\n', [(5, "mqtt.host", "NUL")]),
    "a reserved id": ('[gateway]\nid = "gateway"\nfleet = ".."\n', [(2, "gateway.id", ""), (3, "gateway.fleet", "")]),
    "no log key": (HEAD + 'log_key_file = ""\n', [(4, "gateway.log_key_file", "is empty")]),
    "a list for a table": (HEAD + "[coap]\nobserve = 1\n", [(5, "coap.observe", "not a list")]),
    "a fault in the second of two": (
        HEAD
        + '[[coap.observe]]\nuri = "coap://a"\ndevice = "d"\n\n[[coap.observe]]\nuri = "http://b"\ndevice = "e"\n',
        [(9, "coap.observe[1].uri", "is")],
    ),
    "a reserved device": (
        HEAD + '[[coap.observe]]\nuri = "coap://a"\ndevice = "gateway"\n',
        [(6, "coap.observe[0].device", "reserved")],
    ),
    "observed twice": (
        HEAD
        + '[[coap.observe]]\nuri = "coap://a"\ndevice = "d"\n' * 1
        + '[[coap.observe]]\nuri = "coap://a"\ndevice = "e"\n',
        [(8, "coap.observe[1].uri", "twice")],
    ),
    "observing without coap": (
        HEAD + '[coap]\nenabled = false\n[[coap.observe]]\nuri = "coap://a"\ndevice = "d"\n',
        [(6, "coap.observe", "not enabled")],
    ),
    "no transport": (HEAD + "[mqtt]\nenabled = false\n[coap]\nenabled = false\n", [(5, "mqtt.enabled", "is false")]),
    "endpoints that are no list": (HEAD + '[chain]\nrpc = "http://a"\n', [(5, "chain.rpc", 'is "http://a"')]),
    "an endpoint that is no text": (HEAD + CHAIN.replace('"http://a:8545"', "1"), [(5, "chain.rpc[0]", "is 1")]),
    "an endpoint that is no URL": (
        HEAD + CHAIN.replace("http://a:8545", "ftp://a"),
        [(5, "chain.rpc[0]", "is no http")],
    ),
    "an endpoint without a host": (
        HEAD + CHAIN.replace("http://a:8545", "https://"),
        [(5, "chain.rpc[0]", "is no http")],
    ),
    "a port that is none": (HEAD + CHAIN.replace(":8545", ":99999"), [(5, "chain.rpc[0]", "is no http")]),
    "a password in an endpoint": (HEAD + CHAIN.replace("//a", "//u:p@a"), [(5, "chain.rpc[0]", "has a password")]),
    "an endpoint twice": (
        HEAD + CHAIN.replace('"http://a:8545"', '"http://a:8545", "http://a:8545"'),
        [(5, "chain.rpc", "twice")],
    ),
    "no chain id": (HEAD + CHAIN.replace("chain_id = 1\n", ""), [(4, "chain.chain_id", "is missing")]),
    "no contract": (HEAD + CHAIN.replace(f"registry = {REGISTRY}\n", ""), [(4, "chain.registry", "is missing")]),
    "an address that is none": (
        HEAD + CHAIN.replace(REGISTRY, '"0x12"'),
        [(7, "chain.registry", 'is "0x12"')],
    ),
    "one address for both": (
        HEAD + CHAIN.replace(REGISTRY, ANCHOR_LOG),
        [(8, "chain.anchor_log", "is the address of the registry")],
    ),
    "a chain without an endpoint": (HEAD + "[chain]\nchain_id = 1\n", [(5, "chain.chain_id", "no endpoint")]),
    "anchors in no order": (HEAD + "[anchor]\ninterval_s = 5\n", [(4, "anchor.min_interval_s", "is above")]),
    "anchors without a key": (HEAD + '[anchor]\nkey_file = ""\n', [(5, "anchor.key_file", "is empty")]),
    "no broker": (HEAD + '[mqtt]\nhost = ""\n', [(5, "mqtt.host", "is empty")]),
    "a certificate alone": (HEAD + '[mqtt]\ntls = true\ncert_file = "c"\n', [(6, "mqtt.cert_file", "without key")]),
    "a key alone": (HEAD + '[mqtt]\ntls = true\nkey_file = "c"\n', [(6, "mqtt.key_file", "without cert")]),
    "certificates without tls": (HEAD + '[mqtt]\nca_file = "c"\n', [(5, "mqtt.ca_file", "tls is false")]),
    "a password in clear text": (
        HEAD + '[mqtt]\nhost = "192.0.2.1"\nusername = "u"\npassword_file = "p"\n',
        [(7, "mqtt.password_file", "clear text")],
    ),
    "a broker that is no name": (HEAD + '[mqtt]\nhost = "broker..local"\n', [(5, "mqtt.host", "no host name")]),
    "a page on no name": (HEAD + f'[http]\nhost = "{"a" * 64}"\n', [(5, "http.host", "no host name")]),
    "devices at no name": (HEAD + '[coap]\nhost = ".a"\n', [(5, "coap.host", "no host name")]),
    "a password for nobody": (HEAD + '[mqtt]\npassword_file = "p"\n', [(5, "mqtt.password_file", "username")]),
    "waits the wrong way round": (
        HEAD + "[mqtt]\nreconnect_min_s = 9\nreconnect_max_s = 5\n",
        [(5, "mqtt.reconnect_min_s", "above")],
    ),
    "a quarantine without room": (
        HEAD + "[journal]\nbudget_bytes = 67108864\n",
        [(4, "journal.quarantine_bytes", "half")],
    ),
    "a batch above the queue": (
        HEAD + "[ingest]\nbatch_messages = 64\nqueue_messages = 32\n",
        [(5, "ingest.batch_messages", "above")],
    ),
    "no TOML": ("[gateway]\nid = gw\n", [(2, "", "is not TOML")]),
    "a TOML that ends early": ('[gateway]\nid = "gw', [(2, "", "is not TOML")]),
    "a table twice": (HEAD + "[gateway]\n", [(4, "", "is not TOML")]),
}


@pytest.mark.parametrize(("text", "expected"), BAD.values(), ids=BAD.keys())
def test_a_fault_is_told_with_line_key_problem_and_hint(text, expected):
    found = faults(text)
    assert [(fault.line, fault.key) for fault in found] == [(line, key) for line, key, _words in expected]
    for fault, (_line, _key, words) in zip(found, expected, strict=True):
        assert words in fault.problem
        assert fault.hint


def test_all_faults_come_together_in_the_order_of_their_lines():
    found = faults(
        'x = 1\n[gateway]\nid = "gw"\nfleet = 1\n[mqtt]\nport = 0\n'
        "[ingest]\nbatch_messages = 4096\nqueue_messages = 16\n"
    )
    assert [fault.line for fault in found] == [1, 4, 6, 8]


def test_a_chain_is_several_endpoints_in_their_order_and_a_credential_may_be_one():
    text = HEAD + CHAIN.replace('"http://a:8545"', '"https://b/v3", "credential:rpc-url"')
    config = load(text)
    assert config.chain.rpc == ("https://b/v3", "credential:rpc-url")
    assert load(effective_toml(config)) == config


def test_did_you_mean():
    assert [fault.hint for fault in faults(HEAD + "[mqtt]\nkeep_alive_s = 3\n")] == ["did you mean keepalive_s?"]


def test_a_password_may_go_to_the_own_machine_or_over_tls():
    for host, tls in (("127.0.0.1", "false"), ("localhost", "false"), ("::1", "false"), ("192.0.2.1", "true")):
        load(HEAD + f'[mqtt]\nhost = "{host}"\ntls = {tls}\nusername = "u"\npassword_file = "p"\n')


def test_an_integer_will_do_for_a_number():
    assert load(HEAD + "[ingest]\nshutdown_s = 5\n").ingest.shutdown_s == 5.0


@pytest.mark.parametrize("data", [b"\xff", b"#" * (MAX_FILE_BYTES + 1), b"\xef\xbb\xbf[gateway]\n"])
def test_a_file_that_is_no_text_is_refused(tmp_path, data):
    path = tmp_path / "gateway.toml"
    path.write_bytes(data)
    with pytest.raises(ConfigError):
        load_config(path)


def test_a_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config(tmp_path / "none.toml")


def test_lines_are_found_behind_strings_and_arrays_of_several_lines():
    text = (
        'a = """\nb = 1\n[c]\n"""\nd = [ # ]\n  1, "]",\n]\n[e."f.g"]\nh.i = {j = 1} # "\n'
        "k = '''\n'''\n[[l]]\n[[l]]\nm=1\n[l.n]\no=2"
    )
    tomllib.loads(text)
    lines = key_lines(text)
    assert lines == {
        ("a",): 1,
        ("d",): 5,
        ("e",): 8,
        ("e", "f.g"): 8,
        ("e", "f.g", "h"): 9,
        ("e", "f.g", "h", "i"): 9,
        ("e", "f.g", "k"): 10,
        ("l",): 12,
        ("l", 0): 12,
        ("l", 1): 13,
        ("l", 1, "m"): 14,
        ("l", 1, "n"): 15,
        ("l", 1, "n", "o"): 16,
    }
    assert line_of(lines, ("l", 1, "n", "unknown")) == 15
    assert line_of(lines, ("unknown",)) == 0


def toml(value):
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {toml(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    if isinstance(value, str):
        return f'"{value}"'
    return str(value).lower()


SCALARS = (
    st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.sampled_from(["", "gateway", "x", "auto", "coap://a", "127.0.0.1", "credential:a"])
)
VALUES = SCALARS | st.lists(SCALARS, max_size=2) | st.dictionaries(st.sampled_from("ab"), SCALARS, max_size=2)
SECTIONS = {field.name: load_config(EXAMPLE) for field in dataclasses.fields(Config)}


@st.composite
def documents(draw):
    document = ""
    for section in draw(st.lists(st.sampled_from([*SECTIONS, "other"]), unique=True)):
        known = dataclasses.fields(getattr(load_config(EXAMPLE), section)) if section in SECTIONS else ()
        names = [*(field.name for field in known), "other"]
        document += f"[{section}]\n"
        for name in draw(st.lists(st.sampled_from(names), unique=True, max_size=6)):
            document += f"{name} = {toml(draw(VALUES))}\n"
    return document


def config_or_error(text):
    try:
        return load(text)
    except ConfigError as error:
        return error


@given(documents())
def test_any_toml_is_a_configuration_or_a_config_error(document):
    outcome = config_or_error(document)
    if isinstance(outcome, ConfigError):
        assert outcome.faults
        for fault in outcome.faults:
            assert 0 <= fault.line <= document.count("\n") + 1
            assert str(fault).isprintable()
    else:
        assert load(effective_toml(outcome)) == outcome


@given(st.text() | st.text(alphabet="[]{}=\"'\\#.\n ab1"))
def test_any_text_is_a_configuration_or_a_config_error(text):
    outcome = config_or_error(text)
    assert isinstance(outcome, ConfigError)
    assert all(str(fault).isprintable() for fault in outcome.faults)
