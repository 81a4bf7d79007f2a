"""A certificate authority of our own, for a day."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import NameOID

_TODAY = dt.datetime.now(dt.UTC)


class Authority:
    """Keeps its certificates in ``folder``: ca.crt, and for each that it issues STEM.crt, .key and .locked."""

    def __init__(self, folder: Path, name: str = "test authority") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
        self.certificate = (
            self._builder(self.name, self.key)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(usage, critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(self.key.public_key()), critical=False)
            .sign(self.key, hashes.SHA256())
        )
        (folder / "ca.crt").write_bytes(self.certificate.public_bytes(Encoding.PEM))

    def issue(self, stem: str, common_name: str, *names: x509.GeneralName) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
        authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key())
        builder = self._builder(subject, key).add_extension(authority, critical=False)
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        certificate = builder.sign(self.key, hashes.SHA256())
        (self.folder / f"{stem}.crt").write_bytes(certificate.public_bytes(Encoding.PEM))
        for suffix, encryption in (("key", NoEncryption()), ("locked", BestAvailableEncryption(b"secret"))):
            pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)
            (self.folder / f"{stem}.{suffix}").write_bytes(pem)

    def _builder(self, subject: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
        day = dt.timedelta(days=1)
        return x509.CertificateBuilder(
            self.name, subject, key.public_key(), x509.random_serial_number(), _TODAY - day, _TODAY + day
        )
