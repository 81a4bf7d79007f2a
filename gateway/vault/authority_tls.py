"""Certificates for the authority's service: a small certificate authority, its server, its publishers (pure).

Made at ``init`` for who has no PKI. A publisher is let in by the SHA-256 of its certificate on the list; that it is
signed here gets it as far as being asked who it is.
"""

from __future__ import annotations

import ipaddress
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_der_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from gateway.vault.authority_disk import StoreRefused

CA_DAYS: Final = 3653
SERVER_DAYS: Final = 397
CLIENT_DAYS: Final = 397
_NAME: Final = "SecureNet key authority"
_BACK: Final = timedelta(hours=1)
"""Clocks differ: a certificate is valid a little before it was made."""


class Ca(NamedTuple):
    """A certificate authority: its certificate in PEM, its private key in DER."""

    certificate: bytes
    key: bytes

    def __repr__(self) -> str:
        return "Ca(…)"


class Leaf(NamedTuple):
    """A certificate and its private key, both in PEM."""

    certificate: bytes
    key: bytes

    def __repr__(self) -> str:
        return "Leaf(…)"


def make_ca(now: datetime) -> Ca:
    """A new certificate authority on P-256."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, _NAME)])
    usage = x509.KeyUsage(
        digital_signature=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=True,
        encipher_only=False,
        decipher_only=False,
    )
    certificate = (
        _builder(name, name, key.public_key(), now, CA_DAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, SHA256())
    )
    return Ca(
        certificate.public_bytes(Encoding.PEM), key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    )


def make_server(ca: Ca, names: tuple[str, ...], now: datetime) -> Leaf:
    """A certificate for the service under these host names and addresses.

    Raises:
        StoreRefused: no name can be in a certificate.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0][:64])])
    try:
        alternatives = x509.SubjectAlternativeName([_general_name(name) for name in names])
    except ValueError:
        raise StoreRefused("a name of the service is no host name", "write others as punycode") from None
    certificate = _leaf(
        ca, subject, key.public_key(), now, SERVER_DAYS, ExtendedKeyUsageOID.SERVER_AUTH, alternatives
    )
    return Leaf(certificate, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


def sign_publisher(ca: Ca, name: str, request: bytes, now: datetime) -> bytes:
    """A publisher's certificate, in PEM, for a certificate signing request in PEM. Only its key is taken from it.

    Raises:
        StoreRefused: it is no request, or not signed with its own key.
    """
    try:
        found = x509.load_pem_x509_csr(request)
        public = found.public_key()
        sound = found.is_signature_valid
    except (ValueError, UnsupportedAlgorithm, InvalidSignature, x509.InvalidVersion):
        raise StoreRefused(
            "the file is no certificate signing request in PEM", "make one: openssl req -new"
        ) from None
    if not sound or not isinstance(public, ec.EllipticCurvePublicKey | Ed25519PublicKey):
        raise StoreRefused(
            "the request is not signed with its own key, or that is neither Ed25519 nor of an elliptic curve",
            "openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256",
        )
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    return _leaf(ca, subject, public, now, CLIENT_DAYS, ExtendedKeyUsageOID.CLIENT_AUTH, None)


def _leaf(  # noqa: PLR0913, PLR0917 -- what a certificate says
    ca: Ca,
    subject: x509.Name,
    public: ec.EllipticCurvePublicKey | Ed25519PublicKey,
    now: datetime,
    days: int,
    usage: x509.ObjectIdentifier,
    names: x509.SubjectAlternativeName | None,
) -> bytes:
    issuer = x509.load_pem_x509_certificate(ca.certificate)
    key = load_der_private_key(ca.key, password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise StoreRefused("the certificate authority's key is another", "restore the store from your copy")
    builder = (
        _builder(issuer.subject, subject, public, now, days)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False)
    )
    if names is not None:
        builder = builder.add_extension(names, critical=False)
    return builder.sign(key, SHA256()).public_bytes(Encoding.PEM)


def _builder(
    issuer: x509.Name,
    subject: x509.Name,
    public: ec.EllipticCurvePublicKey | Ed25519PublicKey,
    now: datetime,
    days: int,
) -> x509.CertificateBuilder:
    number = x509.random_serial_number()
    return x509.CertificateBuilder(issuer, subject, public, number, now - _BACK, now + timedelta(days=days))


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)
