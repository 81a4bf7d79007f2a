"""A publisher's desk beside a node with the contracts, and an authority across the room."""

import time
from contextlib import contextmanager

from cli_chain_kit import chain_world
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from support.certificates import Authority as Certificates
from support.publisher_kit import GATEWAY, MODEL_ID, PUBLISHER, TRAINER_KEY, Keys, write_model

from gateway.ops.exitcodes import ExitCode
from gateway.vault.authority_files import read_request, write_answer
from gateway.vault.authority_words import DataKey, Wraps

AUTHORITY = Ed25519PrivateKey.from_private_bytes(b"\x74" * 32)
TRAINED_BY = f"0x{TRAINER_KEY.data.hex()}"


def pem(path, key):
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    path.chmod(0o600)
    return path


class Desk:
    """A publisher's desk beside the node: his model, his keys, and an authority across the room."""

    def __init__(self, world, folder):
        self.world, self.folder, self.keys = world, folder, Keys()
        self.files = write_model(folder)
        self.signing = pem(folder / "publisher.pem", PUBLISHER)
        self.carried = folder / "carried"
        Certificates(folder / "tls").issue("publisher", "publisher")
        (folder / "tls" / "publisher.key").chmod(0o600)

    def model(self, *arguments, who=None):
        return self.world.call("model", *arguments, who=who)

    def paid(self, *arguments):
        return self.model(*arguments, who=self.world.operator)

    def publish(self, *more):
        return self.paid(*self.publication(), *more)

    def publication(self):
        authority = f"0x{AUTHORITY.public_key().public_bytes_raw().hex()}"
        return (
            "publish",
            self.files.model,
            *("--trainer-key", TRAINED_BY, "--signing-key", self.signing, "--store", self.folder / "blocks"),
            *("--authority-folder", self.carried, "--authority-key", authority),
            *("--authority-cert", self.folder / "tls" / "publisher.crt"),
            *("--authority-cert-key", self.folder / "tls" / "publisher.key"),
        )

    def carry(self):
        """Answer every request that has no answer, as the authority does."""
        for path in self.carried.glob("*.request"):
            answer = path.with_suffix(".answer")
            if answer.exists():
                continue
            request = read_request(path.read_bytes(), time.time_ns() // 1_000_000)
            ask = request.ask
            if ask.ciphertext_sha256 is None:
                said = DataKey(ask.model_id, ask.version, self.keys.data_key(ask.model_id, ask.version))
            else:
                said = Wraps(*ask, "a test", self.keys.wraps(*ask), ())
            answer.write_bytes(write_answer(said, request, AUTHORITY.sign))
            answer.chmod(0o600)

    def published(self):
        assert self.paid("grant", MODEL_ID, GATEWAY).exit_code == 0
        for _ in range(2):
            awaited = self.publish()
            assert awaited.exit_code == ExitCode.UNAVAILABLE, awaited.output
            assert "carry" in awaited.json["error"]
            self.carry()
        done = self.publish()
        assert done.exit_code == 0, done.output
        return done.json


@contextmanager
def model_world(root):
    """A node with the contracts, this gateway registered, the operator's account as publisher and granter."""
    with chain_world(root) as world:
        world.deploy()
        world.configure(root)
        assert world.call("miner", "register", who=world.operator).exit_code == 0
        key = root / "publisher.pub"
        key.write_bytes(PUBLISHER.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
        done = world.call("model", "publisher", world.web3.eth.accounts[0], key, who=world.operator)
        assert done.exit_code == 0, done.output
        yield world
