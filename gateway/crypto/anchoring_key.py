"""The account that anchors: a secp256k1 key that signs transactions and shows its address, and nothing else.

The Ethereum libraries come with the extra ``chain`` and are imported when they are first needed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NoReturn

from cryptography.hazmat.primitives.asymmetric.ec import SECP256K1, derive_private_key, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

PRIVATE_KEY_BYTES: Final = 32
ADDRESS_BYTES: Final = 20
_ORDER: Final = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
"""SEC 2 §2.4.1: the order of secp256k1's base point."""


class ChainExtraMissing(Exception):
    """The Ethereum libraries are not installed; ``hint`` has the command that installs them."""

    problem: Final = "needs the Ethereum libraries, which are not installed"
    hint: Final = "run: pip install 'securenet-gateway[chain]'"

    def __init__(self) -> None:
        super().__init__(f"{self.problem}; {self.hint}")


class AnchoringKey:
    """A private key that leaves this object in signatures alone: no repr, copy or pickle has it."""

    __slots__ = ("_address", "_private")

    def __init__(self, private: bytes) -> None:
        """Take a private key for which ``is_private_key`` holds."""
        self._private = private
        self._address = address_of(private)

    @property
    def address(self) -> bytes:
        """The account's address, 20 bytes."""
        return self._address

    def sign_transaction(self, fields: Mapping[str, Any]) -> bytes:
        """Sign a transaction; the same fields give the same bytes (RFC 6979).

        Args:
            fields: as JSON-RPC names them: nonce, chainId, to, data, value, gas, and gasPrice or maxFeePerGas and
                maxPriorityFeePerGas. Addresses are bytes or EIP-55 text.

        Returns:
            The raw transaction, for ``eth_sendRawTransaction``; its keccak256 is the transaction's hash.

        Raises:
            TypeError, ValueError: a field is missing, unknown or of a wrong kind.
            ChainExtraMissing: the Ethereum libraries are not installed.
        """
        try:
            from eth_account import Account  # noqa: PLC0415 -- half a second, and only where a chain is configured
        except ImportError:
            raise ChainExtraMissing from None
        return bytes(Account.sign_transaction(dict(fields), self._private).raw_transaction)

    def __repr__(self) -> str:
        return f"AnchoringKey(0x{self._address.hex()})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("an anchoring key is neither copied nor pickled")


def is_private_key(private: bytes) -> bool:
    """Whether the bytes are a private key of secp256k1: 32 of them, above 0 and below the order."""
    return len(private) == PRIVATE_KEY_BYTES and 0 < int.from_bytes(private, "big") < _ORDER


def new_private_key() -> bytes:
    """A new private key, by the system's randomness."""
    secret = generate_private_key(SECP256K1()).private_numbers().private_value
    return secret.to_bytes(PRIVATE_KEY_BYTES, "big")


def address_of(private: bytes) -> bytes:
    """The address of a private key's account: the last 20 bytes of its public key's keccak256."""
    public = derive_private_key(int.from_bytes(private, "big"), SECP256K1()).public_key()
    return keccak256(public.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)[1:])[-ADDRESS_BYTES:]


def checksum_address(address: bytes) -> str:
    """An address as people write it, with the check of EIP-55 in its capitals."""
    digits = address.hex()
    check = keccak256(digits.encode("ascii")).hex()
    return "0x" + "".join(
        digit.upper() if int(nibble, 16) > 7 else digit  # noqa: PLR2004 -- EIP-55: the nibble's highest bit
        for digit, nibble in zip(digits, check, strict=False)
    )


def keccak256(data: bytes) -> bytes:
    """Ethereum's hash, which is not SHA3-256.

    Raises:
        ChainExtraMissing: the Ethereum libraries are not installed.
    """
    try:
        from eth_hash.auto import keccak  # noqa: PLC0415 -- of the extra chain

        return keccak(data)  # finds its backend at the first call
    except ImportError:
        raise ChainExtraMissing from None
