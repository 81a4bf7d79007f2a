"""What the demo's models need before anybody types a command: files, keys, a request for a certificate."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Final, NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from cryptography.x509.oid import NameOID

from gateway.cli.demo_parts import DemoError
from gateway.cli.options import write_new

READER: Final = "mnist"
_DETECTORS: Final = ("nab-records", "nab")
"""Files of detectors, the one that is to be shown first."""
PUBLISHER_NAME: Final = "works"
"""The publisher's name with the authority."""
TWIN: Final = "demo-gw-2"
"""A second gateway that holds a grant: when ours has lost its own, somebody is left to publish for."""
MODELS: Final = Path(__file__).resolve().parents[2] / "models"
_KINDS: Final = ("tflite", "spec.json", "card.json")


class Named(NamedTuple):
    """A model as its card names it."""

    model_id: str
    version: int


class Papers(NamedTuple):
    """The files in the demo's folder, and the keys of the second gateway as the operator types them."""

    folder: Path
    trainer: Path
    signing: Path
    public: Path
    request: Path
    request_key: Path
    passphrase: Path
    detector: Path
    readers: tuple[Path, Path]
    twin_keys: Mapping[str, str]

    @property
    def detects(self) -> Named:
        """The detector, as it is published."""
        return named(self.detector)

    @property
    def reads(self) -> Named:
        """The reader's first version; the next one has the next number."""
        return named(self.readers[0])

    @property
    def filling(self) -> int:
        """After how many readings the detector judges at the latest, by its spec."""
        inputs = json.loads(_spec_of(self.detector).read_text(encoding="utf-8"))["inputs"]
        records = [column["record"] for column in inputs["columns"] if column.get("record")]
        reach = [int(each["after"]) + max(int(each["short"]), int(each["long"])) for each in records]
        return max([int(inputs["window"]) - 1, 1, *reach])

    @property
    def certificate(self) -> Path:
        """What the authority makes of the request."""
        return self.folder / "publisher.crt"

    @property
    def authority(self) -> Path:
        """The authority's directory, which it makes itself."""
        return self.folder / "authority"

    @property
    def models(self) -> tuple[Path, ...]:
        """Every model that is published: the detector, the reader, the reader's next version."""
        return (self.detector, *self.readers)


def card_of(model: Path) -> Path:
    """The training record beside a model."""
    return model.with_name(f"{model.stem}.card.json")


def _spec_of(model: Path) -> Path:
    return model.with_name(f"{model.stem}.spec.json")


def named(model: Path) -> Named:
    """What the card beside a model calls it."""
    told = json.loads(card_of(model).read_text(encoding="utf-8"))
    return Named(str(told["model_id"]), int(told["version"]))


def detector_in(models: Path) -> str:
    """The detector that is shown: the first one that is there."""
    return next((name for name in _DETECTORS if _is_whole(models, name)), _DETECTORS[-1])


def _is_whole(models: Path, name: str) -> bool:
    return all((models / f"{name}.{kind}").is_file() for kind in _KINDS)


def why_no_models(*, chain: bool, models: Path = MODELS) -> str:
    """Why this demo goes without models; empty when it does not."""
    if not chain:
        return "models come by the chain, and --no-chain leaves it out"
    missing = [name for name in ("ai_edge_litert", "aiohttp") if find_spec(name) is None]
    if missing:
        return "nothing here runs models: pip install 'securenet-gateway[demo,litert]'"
    if not (_is_whole(models, READER) and _is_whole(models, detector_in(models))):
        return "no models are here to publish: run the demo in a checkout of the project"
    return ""


def make_papers(folder: Path, models: Path = MODELS) -> Papers:
    """Fill a new folder; the reader's second version is the first one with another number on its card.

    Raises:
        DemoError: a model cannot be read.
        CliError: a file cannot be written.
    """
    folder.mkdir()
    detector_name = detector_in(models)
    first, second = folder / "first", folder / "second"
    try:
        for place, names in ((first, (READER, detector_name)), (second, (READER,))):
            place.mkdir()
            for name in names:
                for kind in _KINDS:
                    write_new(place / f"{name}.{kind}", (models / f"{name}.{kind}").read_bytes())
        card = second / f"{READER}.card.json"
        told = json.loads(card.read_text(encoding="utf-8"))
        card.write_text(json.dumps(told | {"version": told["version"] + 1}, indent=1) + "\n", encoding="utf-8")
    except (OSError, ValueError, KeyError) as error:
        raise DemoError(f"the models in {models} cannot be taken: {error}") from None
    trainer, signing = folder / "trainer.pem", folder / "publisher.pem"
    _signing_key(trainer)
    public = folder / "publisher.pub"
    key = _signing_key(signing).public_key()
    write_new(public, key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    passphrase = folder / "authority.pass"
    write_new(passphrase, b"the demo's authority keeps nothing for long\n", mode=0o600)
    request, request_key = folder / "publisher.csr", folder / "publisher.key"
    _request(request, request_key)
    readers = (first / f"{READER}.tflite", second / f"{READER}.tflite")
    detector = first / f"{detector_name}.tflite"
    return Papers(folder, trainer, signing, public, request, request_key, passphrase, detector, readers, _twin_keys())


def _signing_key(path: Path) -> Ed25519PrivateKey:
    key = Ed25519PrivateKey.generate()
    write_new(path, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), mode=0o600)
    return key


def _request(path: Path, key_path: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    write_new(key_path, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), mode=0o600)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, PUBLISHER_NAME)])
    request = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, hashes.SHA256())
    write_new(path, request.public_bytes(Encoding.PEM))


def _twin_keys() -> dict[str, str]:
    """Account and keys of a gateway that never runs; nobody keeps their private halves."""
    log_key = Ed25519PrivateKey.generate().public_key().public_bytes_raw()
    return {
        "--account": f"0x{os.urandom(20).hex()}",
        "--log-key": f"0x{log_key.hex()}",
        "--hpke-key": f"0x{X25519PrivateKey.generate().public_key().public_bytes_raw().hex()}",
    }
