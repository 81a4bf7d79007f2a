"""dag-pb: a node with links and data, in its one canonical form (ipld.io/specs/codecs/dag-pb; pure).

Links come first, then the data; within a link hash, name, size. Other orders, fields and wire types are refused, so
that whatever is decoded is encoded to the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from gateway.vault import varint

HASH_MAX: Final = 256
_VARINT, _BYTES = 0, 2
_DATA, _LINKS = 1, 2
_HASH, _NAME, _SIZE = 1, 2, 3


class DagPbError(ValueError):
    """The bytes are no dag-pb node in its canonical form."""


class TooManyLinks(DagPbError):
    """The node has more links than are followed."""


class Link(NamedTuple):
    """A link: the binary CID of a block, and what the writer said of it. ``size`` counts the whole tree below."""

    hash: bytes
    name: bytes | None
    size: int | None


class Node(NamedTuple):
    """A node. ``data`` is None when there is no such field, which is not the same as an empty one."""

    links: Sequence[Link]
    data: bytes | None


class Field(NamedTuple):
    """One field of a protobuf message: a number, or bytes."""

    number: int
    value: int | bytes


def varint_field(number: int, value: int) -> bytes:
    """Write a field that holds a number."""
    return varint.write(number << 3 | _VARINT) + varint.write(value)


def bytes_field(number: int, value: bytes) -> bytes:
    """Write a field that holds bytes."""
    return varint.write(number << 3 | _BYTES) + varint.write(len(value)) + value


def fields(data: bytes) -> Iterator[Field]:
    """Read a protobuf message, field by field.

    Raises:
        DagPbError: it is none, or has fields that are neither numbers nor bytes.
    """
    at = 0
    try:
        while at < len(data):
            key, at = varint.read(data, at)
            value, at = varint.read(data, at)
            if key & 7 == _BYTES:
                if value > len(data) - at:
                    raise DagPbError("a field that is longer than the message")
                at += value
                yield Field(key >> 3, data[at - value : at])
            elif key & 7 == _VARINT:
                yield Field(key >> 3, value)
            else:
                raise DagPbError("a field that is neither a number nor bytes")
    except varint.VarintError as error:
        raise DagPbError(str(error)) from None


def encode_node(node: Node) -> bytes:
    """Write a node."""
    parts = [bytes_field(_LINKS, _encode_link(link)) for link in node.links]
    if node.data is not None:
        parts.append(bytes_field(_DATA, node.data))
    return b"".join(parts)


def decode_node(data: bytes, max_links: int) -> Node:
    """Read a node.

    Raises:
        TooManyLinks: it has more than ``max_links``.
        DagPbError: it is not canonical dag-pb.
    """
    links: list[Link] = []
    payload: bytes | None = None
    for number, value in fields(data):
        if payload is not None:
            raise DagPbError("a field behind the data, which come last")
        if number == _LINKS and isinstance(value, bytes):
            if len(links) == max_links:
                raise TooManyLinks(f"a node with more than {max_links} links")
            links.append(_decode_link(value))
        elif number == _DATA and isinstance(value, bytes):
            payload = value
        else:
            raise DagPbError("a field that no node has")
    return Node(links, payload)


def _encode_link(link: Link) -> bytes:
    out = bytes_field(_HASH, link.hash)
    if link.name is not None:
        out += bytes_field(_NAME, link.name)
    if link.size is not None:
        out += varint_field(_SIZE, link.size)
    return out


def _decode_link(data: bytes) -> Link:
    found: dict[int, int | bytes] = {}
    last = 0
    for number, value in fields(data):
        if number <= last or number > _SIZE or isinstance(value, bytes) is (number == _SIZE):
            raise DagPbError("a link whose fields are not hash, name, size")
        found[number] = value
        last = number
    target, name, size = found.get(_HASH), found.get(_NAME), found.get(_SIZE)
    if not isinstance(target, bytes) or not 0 < len(target) <= HASH_MAX:
        raise DagPbError("a link without the CID that it leads to")
    return Link(target, name if isinstance(name, bytes) else None, size if isinstance(size, int) else None)
