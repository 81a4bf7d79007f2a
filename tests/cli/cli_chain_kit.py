"""A node, the contracts deployed by the command line itself, and the keystores of those who use them."""

import json
from base64 import b64encode
from contextlib import contextmanager
from functools import cache

from click.testing import CliRunner
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from eth_account import Account
from support.anvil import Anvil, Checkpoint

from gateway.chain.contracts import artifact
from gateway.cli.main import cli
from gateway.crypto.keystore import ScryptCost, lock

CHEAP = ScryptCost(1 << 8, 8, 1)
PASSPHRASE = "correct horse"
DEV_MNEMONIC = "test test test test test test test test test test test junk"


@cache
def dev_key(number):
    """A funded account of the node, which signs for everybody who knows its public words."""
    Account.enable_unaudited_hdwallet_features()
    return bytes(Account.from_mnemonic(DEV_MNEMONIC, account_path=f"m/44'/60'/0'/0/{number}").key)


@cache
def device_key(number):
    return Ed25519PrivateKey.from_private_bytes(number.to_bytes(32, "big")).public_key().public_bytes_raw()


def b64(data):
    return b64encode(data).decode()


def run(*arguments, env=None):
    """A command in this process; the answer has ``json`` when it can be read as that."""
    result = CliRunner(env=env).invoke(cli, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    try:
        result.json = json.loads(result.stdout)
    except ValueError:
        result.json = None
    return result


class ChainWorld:
    """``root`` has the keystores and, once ``configure`` was called, a gateway's configuration."""

    def __init__(self, node, root):
        self.node, self.root, self.web3 = node, root, node.web3()
        self.operator = self.keystore("operator", dev_key(0))
        self.stranger = self.keystore("stranger", dev_key(1))
        self.poor = self.keystore("poor", b"\x07" * 32)
        self.config = root / "gateway.toml"
        self.section = ""

    def keystore(self, name, private):
        file, words = self.root / f"{name}.json", self.root / f"{name}.pass"
        file.write_bytes(lock(private, PASSPHRASE.encode(), CHEAP))
        words.write_text(PASSPHRASE + "\n")
        file.chmod(0o600)
        words.chmod(0o600)
        return ("--key-file", file, "--passphrase-file", words)

    def deploy(self, *more):
        answer = run("chain", "deploy", "--rpc", self.node.url, *self.operator, *more, "--json")
        assert answer.exit_code == 0, answer.output
        self.section = self.section or answer.json["toml"]
        return answer.json

    def configure(self, directory, section=None, anchor=""):
        """A gateway's files, its keys among them."""
        self.config = directory / "gateway.toml"
        private = Ed25519PrivateKey.from_private_bytes(b"\x10" * 32)
        for name, key in (
            ("log-key.pem", private),
            ("hpke-key.pem", X25519PrivateKey.from_private_bytes(b"\x11" * 32)),
        ):
            (directory / name).write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
            (directory / name).chmod(0o600)
        if not (directory / "anchoring.json").exists():
            (directory / "anchoring.json").write_bytes(lock(dev_key(3), PASSPHRASE.encode(), CHEAP))
            (directory / "anchoring.json").chmod(0o600)
        self.config.write_text(
            f'[gateway]\nid = "gw-1"\nfleet = "plant"\ndata_dir = "{directory / "data"}"\n'
            f'log_key_file = "{directory / "log-key.pem"}"\nhpke_key_file = "{directory / "hpke-key.pem"}"\n'
            f'[mqtt]\nenabled = false\n[anchor]\nkey_file = "{directory / "anchoring.json"}"\n{anchor}'
            + (self.section if section is None else section)
        )
        return self

    def call(self, *arguments, who=None):
        """A command with the configuration, as JSON; ``who`` signs."""
        return run(*arguments, "--config", self.config, *(who or ()), "--json")

    def transactions(self, who=0):
        return self.web3.eth.get_transaction_count(self.web3.eth.accounts[who])

    def registry(self):
        address = next(line.split('"')[1] for line in self.section.splitlines() if line.startswith("registry"))
        return self.web3.eth.contract(address=address, abi=artifact("IdentityRegistry")["abi"])

    def registered(self):
        """The ids that DeviceRegistered told of, in their order."""
        events = self.registry().events.DeviceRegistered().get_logs(from_block=0)
        return [event["args"]["id"] for event in events]

    @contextmanager
    def undone(self):
        """What happens inside is taken back."""
        before = Checkpoint(self.web3)
        try:
            yield self
        finally:
            before.restore()


@contextmanager
def chain_world(root, *options):
    with Anvil("--slots-in-an-epoch", "1", *options) as node:
        yield ChainWorld(node, root)


def csv_of(count, start=1, fleet="plant"):
    lines = [f"dev-{n},{fleet},Ed25519,{b64(device_key(n))}\n" for n in range(start, start + count)]
    return "id,fleet,alg,public_key\n" + "".join(lines)
