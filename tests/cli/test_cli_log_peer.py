"""``log verify-peer`` on real published files and a real chain: forks, forgeries, altered files, and bad servers."""

import os
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest
from cli_chain_world import OnChain, chain_config, filled, root_of
from cli_world import LOG_KEY, LOG_SIGNING_KEY, ORIGIN, World
from nacl.signing import SigningKey
from support.anvil import Anvil
from support.scripted_rpc import Answer, ScriptedRpc

from gateway.cli.peer_source import PeerDirectory, PeerSite
from gateway.ops.exitcodes import ExitCode
from gateway.tlog.checkpoint import VerifierKey, checkpoint_body, note
from gateway.tlog.peer import SourceFault

SIZE = 300
STRANGER = SigningKey(b"\x99" * 32)


@pytest.fixture(scope="module")
def node():
    with Anvil("--slots-in-an-epoch", "1") as running:
        yield running


@pytest.fixture
def peer(world, node, securenet):
    """A published log of 300 entries, anchored at 100, 256 and 300."""
    filled(world, SIZE)
    on_chain = OnChain(node)
    for size in (100, 256, SIZE):
        on_chain.anchor(size, root_of(world, size))
    on_chain.bury()
    directory = world.root / "www"
    assert securenet("log", "publish", "--dir", directory, "--config", world.config).exit_code == ExitCode.OK
    return directory, on_chain


def ask(securenet, where, on_chain, *options, rpc=None):
    urls = [part for url in rpc or [on_chain.node.url] for part in ("--rpc", url)]
    return securenet("log", "verify-peer", where, *urls, *on_chain.options, *options, "--json")


def kinds(answer):
    return {finding["kind"] for finding in answer.json["findings"]}


def publish_checkpoint(directory, size, root, origin=ORIGIN, key=LOG_SIGNING_KEY):
    body = checkpoint_body(origin, size, root)
    (directory / "checkpoint").write_bytes(note(body, origin, key.sign(body).signature, bytes(key.verify_key)))


def test_a_true_log_agrees_with_every_anchor(peer, world, securenet):
    directory, on_chain = peer
    answer = ask(securenet, directory, on_chain, "--entries")
    assert answer.exit_code == ExitCode.OK
    assert answer.json["consistent"]
    assert (answer.json["anchors"], answer.json["roots_held"], answer.json["bundles_read"]) == (3, 3, 2)
    assert ask(securenet, directory, on_chain, "--log-key", LOG_KEY.text, "--origin", ORIGIN).exit_code == ExitCode.OK
    chain_config(world, on_chain)
    text = securenet("log", "verify-peer", directory, "--config", world.config)
    assert text.exit_code == ExitCode.OK
    assert "The published log is the anchored one." in text.stdout


def test_a_second_root_on_the_chain_is_caught(peer, securenet):
    directory, on_chain = peer
    on_chain.anchor(SIZE, b"\x66" * 32)
    answer = ask(securenet, directory, on_chain)
    assert answer.exit_code == ExitCode.NEGATIVE
    assert kinds(answer) == {"two-roots"}
    assert 32 * "66" in answer.json["findings"][0]["sentence"]


def test_a_log_that_forked_after_an_anchor_is_caught_at_the_next(peer, node, securenet, tmp_path):
    """The publisher shows another history than the one that it anchored: 300 other entries, signed with its key."""
    _, on_chain = peer
    (tmp_path / "other").mkdir()
    other = filled(World(tmp_path / "other"), SIZE, ahead_s=5)
    forged = tmp_path / "forged"
    securenet("log", "publish", "--dir", forged, "--config", other.config)
    answer = ask(securenet, forged, on_chain)
    assert answer.exit_code == ExitCode.NEGATIVE
    assert kinds(answer) == {"equivocation"}
    assert answer.json["findings"][0]["size"] == 100


@pytest.mark.parametrize("name", ["tile/0/000", "tile/0/001.p/44", "tile/1/000.p/1", "tile/entries/000"])
def test_an_altered_file_is_caught(peer, securenet, name):
    directory, on_chain = peer
    path = directory / name
    path.write_bytes(b"\x01" + path.read_bytes()[1:])
    answer = ask(securenet, directory, on_chain, "--entries")
    assert answer.exit_code == ExitCode.NEGATIVE
    assert kinds(answer) == {"altered"}


def test_a_checkpoint_by_another_key_is_caught(peer, world, securenet):
    directory, on_chain = peer
    publish_checkpoint(directory, SIZE, root_of(world, SIZE), key=STRANGER)
    answer = ask(securenet, directory, on_chain)
    assert answer.exit_code == ExitCode.NEGATIVE
    assert kinds(answer) == {"foreign-key"}
    on_chain.renew_miner(log_key=bytes(STRANGER.verify_key))
    assert ask(securenet, directory, on_chain).exit_code == ExitCode.OK


def test_a_key_of_the_verifier_that_the_registry_never_had_is_said(peer, world, securenet):
    directory, on_chain = peer
    publish_checkpoint(directory, SIZE, root_of(world, SIZE), key=STRANGER)
    given = VerifierKey(ORIGIN, bytes(STRANGER.verify_key)).text
    answer = ask(securenet, directory, on_chain, "--log-key", given)
    assert (answer.exit_code, kinds(answer)) == (ExitCode.UNTRUSTED, {"disagreement"})


def test_another_log_than_the_one_that_is_meant_is_refused(peer, securenet):
    directory, on_chain = peer
    answer = ask(securenet, directory, on_chain, "--origin", "securenet/plant/gw-2")
    assert answer.exit_code == ExitCode.NEGATIVE
    assert "another log" in answer.json["error"]


def test_a_log_that_is_published_in_part_is_withheld_and_one_that_shrank_is_named(peer, world, securenet, tmp_path):
    directory, on_chain = peer
    kept = tmp_path / "kept"
    kept.write_bytes((directory / "checkpoint").read_bytes())
    assert ask(securenet, directory, on_chain, "--earlier", kept).json["roots_held"] == 4
    publish_checkpoint(directory, 256, root_of(world, 256))
    answer = ask(securenet, directory, on_chain)
    assert answer.exit_code == ExitCode.UNTRUSTED
    assert kinds(answer) == {"withheld"}
    answer = ask(securenet, directory, on_chain, "--earlier", kept)
    assert answer.exit_code == ExitCode.NEGATIVE
    assert "shrunk" in kinds(answer)
    kept.write_bytes(b"none")
    assert ask(securenet, directory, on_chain, "--earlier", kept).exit_code == ExitCode.NO_INPUT


def test_a_log_that_was_never_anchored_and_a_chain_that_is_away_establish_nothing(world, node, securenet):
    filled(world, 3)
    securenet("log", "publish", "--dir", world.root / "www", "--config", world.config)
    on_chain = OnChain(node)
    answer = ask(securenet, world.root / "www", on_chain)
    assert (answer.exit_code, kinds(answer)) == (ExitCode.UNTRUSTED, {"not-anchored"})
    answer = ask(securenet, world.root / "www", on_chain, "--chain-id", 31337, rpc=["http://127.0.0.1:9"])
    assert (answer.exit_code, answer.json["consistent"]) == (ExitCode.UNTRUSTED, None)


def test_an_endpoint_that_hides_anchors_contradicts_itself_or_another(peer, securenet):
    directory, on_chain = peer
    with ScriptedRpc(on_chain.node.url) as liar:
        liar.faults["eth_getLogs"] = Answer([])
        alone = ask(securenet, directory, on_chain, rpc=[liar.url])
        both = ask(securenet, directory, on_chain, rpc=[on_chain.node.url, liar.url])
    assert (alone.exit_code, both.exit_code) == (ExitCode.UNTRUSTED, ExitCode.UNTRUSTED)
    assert kinds(both) == {"disagreement"}


# --- over HTTP ---


class Handler(SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        fault = self.server.faults.get(self.path)
        if fault is None:
            super().do_GET()
        else:
            fault(self)


def redirect(handler):
    handler.send_response(302)
    handler.send_header("Location", "http://elsewhere.example/\x1b[2J")
    handler.send_header("Content-Length", "0")
    handler.end_headers()


def endless(handler):
    handler.send_response(200)
    handler.end_headers()
    try:
        while True:
            handler.wfile.write(65536 * b"0")
    except OSError:
        handler.close_connection = True


def busy(handler):
    handler.send_error(503)


def hang_up(handler):
    handler.close_connection = True


@pytest.fixture
def site(peer):
    directory, _ = peer
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(directory)))
    server.daemon_threads = True
    server.faults = {}
    server.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_log_is_read_from_a_web_server(peer, site, securenet):
    _, on_chain = peer
    answer = ask(securenet, site.url, on_chain, "--entries")
    assert answer.exit_code == ExitCode.OK
    assert answer.json["bundles_read"] == 2


@pytest.mark.parametrize("fault", [redirect, endless, busy, hang_up])
@pytest.mark.parametrize("path", ["/checkpoint", "/tile/0/000"])
def test_a_bad_server_establishes_nothing(peer, site, securenet, fault, path):
    _, on_chain = peer
    site.faults[path] = fault
    answer = ask(securenet, site.url, on_chain)
    assert answer.exit_code == ExitCode.UNTRUSTED
    assert "\x1b" not in answer.stdout
    if path == "/tile/0/000":
        assert kinds(answer) == {"unread"}


def test_what_is_read_of_a_server_is_bounded_in_all(site):
    with PeerSite(site.url, total_bytes=9000) as files:
        files.tile(0, 0, 256)
        with pytest.raises(SourceFault, match="max-mib"):
            files.tile(0, 0, 256)


@pytest.mark.parametrize(
    "url", ["ftp://host/log", "http://", "http://user:pass@host/log", "http://host/log?x=1", "http://host/l\u00f6g"]
)
def test_a_url_that_names_no_log_is_refused(peer, securenet, url):
    assert ask(securenet, url, peer[1]).exit_code == ExitCode.USAGE


@pytest.mark.timeout(20)
@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir], ids=["pipe", "directory"])
def test_what_is_no_file_in_a_directory_that_was_handed_over_is_refused_and_not_waited_for(tmp_path, make):
    make(tmp_path / "checkpoint")
    with PeerDirectory(tmp_path) as files, pytest.raises(SourceFault, match=r"no regular file|Is a directory"):
        files.checkpoint()


def test_without_a_chain_there_is_nothing_to_compare_with(securenet, tmp_path):
    assert securenet("log", "verify-peer", tmp_path).exit_code == ExitCode.USAGE
