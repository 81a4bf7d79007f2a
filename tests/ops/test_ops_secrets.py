import os

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from gateway.ops.secrets import MAX_SECRET_BYTES, SecretError, load_log_key, read_optional_secret, read_secret

SEED = b"\x10" * 32
KEY = Ed25519PrivateKey.from_private_bytes(SEED)


def pem(key, encryption=None):
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption or NoEncryption())


@pytest.fixture
def secret(tmp_path):
    def make(data, mode=0o600):
        path = tmp_path / "secret"
        path.write_bytes(data)
        path.chmod(mode)
        return str(path)

    return make


def test_the_log_key_is_its_seed(secret):
    assert load_log_key(secret(pem(KEY))) == SEED


def test_a_password_loses_its_line_break_and_an_empty_reference_is_none(secret):
    assert read_optional_secret(secret(b" pass word \r\n")) == b" pass word "
    assert read_optional_secret("") is None


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o601, 0o666])
def test_a_file_open_to_others_is_refused_with_the_command_that_closes_it(secret, mode):
    ref = secret(b"x", mode)
    with pytest.raises(SecretError, match=f"chmod 600 {ref}"):
        read_secret(ref)


def test_a_credential_is_read_from_where_systemd_put_it(tmp_path, monkeypatch):
    (tmp_path / "log-key").write_bytes(pem(KEY))
    (tmp_path / "log-key").chmod(0o440)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert load_log_key("credential:log-key") == SEED
    for ref in ("credential:", "credential:../x", "credential:..", "credential:a/b", "credential:a\0"):
        with pytest.raises(SecretError, match="no credential name"):
            read_secret(ref)
    with pytest.raises(SecretError, match="cannot be read"):
        read_secret("credential:other")


def test_a_credential_without_systemd_says_what_to_add_to_the_unit(monkeypatch):
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    with pytest.raises(SecretError, match="LoadCredential=log-key"):
        read_secret("credential:log-key")


@pytest.mark.parametrize(
    ("data", "words"),
    [(b"", "is empty"), (b"x" * (MAX_SECRET_BYTES + 1), "is larger"), (b"junk", "no private key")],
)
def test_what_is_no_secret_is_refused(secret, data, words):
    with pytest.raises(SecretError, match=words):
        load_log_key(secret(data))


def test_what_is_no_ed25519_key_or_is_locked_is_refused(secret):
    with pytest.raises(SecretError, match="no Ed25519 key"):
        load_log_key(secret(pem(generate_private_key(SECP256R1()))))
    with pytest.raises(SecretError, match="passphrase"):
        load_log_key(secret(pem(KEY, BestAvailableEncryption(b"x"))))


def test_no_file_a_directory_and_a_fifo_are_refused_without_waiting(tmp_path):
    os.mkfifo(tmp_path / "fifo", 0o600)
    for path in (tmp_path / "none", tmp_path, tmp_path / "fifo", "a\0b"):
        with pytest.raises(SecretError):
            read_secret(str(path))


def test_no_error_holds_what_the_file_holds(secret):
    with pytest.raises(SecretError) as caught:
        load_log_key(secret(b"hunter2"))
    assert "hunter2" not in str(caught.value)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root's commands look into the credential store")
def test_root_reads_the_credential_store_and_refuses_what_is_open_to_others(tmp_path, monkeypatch):
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    monkeypatch.setattr("gateway.ops.secrets.STORE", tmp_path)
    file = tmp_path / "securenet.token"
    file.write_bytes(b"secret")
    file.chmod(0o600)
    assert read_secret("credential:token") == b"secret"
    file.chmod(0o644)
    with pytest.raises(SecretError, match="read by others"):
        read_secret("credential:token")
