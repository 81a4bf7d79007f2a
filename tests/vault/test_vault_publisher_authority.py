"""A publication with the authority's own service between: real TLS, a real store of keys, its audit."""

import ipaddress
import time

import pytest
from authority_kit import NOW_MS, Told, authority, enlist, house, made
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from support.certificates import Authority as Certificates
from support.publisher_kit import (
    GATEWAY,
    GATEWAY_KEY,
    MODEL_ID,
    PUBLISHER_KEY,
    RECIPIENT,
    SIGNING,
    VERSION,
    packed,
    parts,
    write_model,
)

from gateway.vault.authority_client import AuthorityClient, ClientFiles
from gateway.vault.authority_service import ServerFiles, Service, server_context
from gateway.vault.blocks import BlockStore
from gateway.vault.bundle import Named, open_bundle
from gateway.vault.cid import parse_cid
from gateway.vault.manifest import manifest_sha256
from gateway.vault.publisher import Bundler, Clock, Shelf
from gateway.vault.publisher_check import check_genuine
from gateway.vault.publisher_state import StateFile
from gateway.vault.publisher_words import PublishRefusal, PublishRefused

LOOPBACK = ipaddress.ip_address("127.0.0.1")


@pytest.fixture
async def publish(tmp_path):
    """Publishes as who is named, against a service that knows ``acme`` alone."""
    pki = Certificates(tmp_path / "pki")
    pki.issue("server", "authority", x509.DNSName("localhost"), x509.IPAddress(LOOPBACK))
    for name in ("acme", "stranger"):
        pki.issue(name, name)
    certificate = x509.load_pem_x509_certificate((pki.folder / "acme.crt").read_bytes())
    directory = made(tmp_path / "authority")
    enlist(directory, "acme", certificate.public_bytes(Encoding.DER), MODEL_ID)
    files = ServerFiles(pki.folder / "server.crt", pki.folder / "server.key", pki.folder / "ca.crt")
    store = BlockStore(tmp_path / "blocks", 1 << 24)
    genuine = await check_genuine(write_model(tmp_path))
    with house(directory) as found:
        work = authority(directory, found, Told(**{GATEWAY: RECIPIENT.data}))
        async with Service(work, server_context(files), ("127.0.0.1", 0), time.monotonic) as service:

            def bundler(name):
                certs = ClientFiles(pki.folder / f"{name}.crt", pki.folder / f"{name}.key", pki.folder / "ca.crt")
                client = AuthorityClient(f"https://localhost:{service.port}", certs, 10.0)
                file = StateFile(tmp_path / "m.publication")
                clock = Clock(lambda: NOW_MS, time.monotonic)
                return Bundler(genuine, client, Shelf(store), SIGNING, file, lifetime_s=60, clock=clock)

            yield bundler, store


async def test_a_model_goes_out_with_the_keys_of_the_service_and_opens(publish):
    bundler, store = publish
    state = await bundler("acme").bundle()
    ciphertext = store.get(parse_cid(state.ciphertext.cid)).data
    opened = open_bundle(
        state.envelope,
        [ciphertext],
        named=Named(MODEL_ID, VERSION, manifest_sha256(state.envelope)),
        publisher=PUBLISHER_KEY,
        private_key=GATEWAY_KEY,
        gateway_id=GATEWAY,
    )
    assert bytes(opened.plaintext) == packed(parts())


async def test_a_publisher_who_is_not_on_the_list_gets_nothing_and_leaves_no_blocks(publish):
    bundler, store = publish
    with pytest.raises(PublishRefused, match="not-on-the-list") as refused:
        await bundler("stranger").bundle()
    assert refused.value.reason is PublishRefusal.AUTHORITY
    assert store.digests() == []
