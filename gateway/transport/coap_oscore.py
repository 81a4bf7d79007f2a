"""OSCORE (RFC 8613) and EDHOC (RFC 9528) for the CoAP transport, by aiocoap, as the extra ``oscore``.

The credentials file is aiocoap's JSON: ``{":meter-7": {"oscore": {"basedir": "meter-7"}}}``; a relative ``basedir``
is beside the file. EDHOC credentials need integer keys and are written in CBOR or its diagnostic notation.
Each context directory holds ``settings.json`` and ``secret.json``; aiocoap writes
``sequence.json`` there, so that no sequence number is used twice, even after a crash.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiocoap  # type: ignore[import-untyped] # aiocoap ships no types
import cbor2
from aiocoap import defaults
from aiocoap.credentials import CredentialsLoadError, CredentialsMap  # type: ignore[import-untyped] # likewise
from aiocoap.numbers.optionnumbers import OptionNumber  # type: ignore[import-untyped] # likewise

from gateway.transport.coap_codes import Response
from gateway.transport.coap_exchange import Origin
from gateway.transport.coap_resource import Answer
from gateway.transport.coap_socket import peer_of
from gateway.transport.coap_wire import Ask, read_options, response_options

MOST_EDHOC_CONTEXTS = 40  # aiocoap has 48 connection ids to give away, some of which the file may use
LARGEST_FILE_BYTES = 1 << 20
PATHS = frozenset({"basedir", "private-key-file", "private_key_file"})
_NO_ANSWER = 2 | 8 | 16  # RFC 7967 §2.1: no interest in any class of response

Handle = Callable[[Ask, bytes, Origin, Answer], None]


class OscoreError(RuntimeError):
    """OSCORE was asked for and cannot be had; the text says what to do."""


class _Credentials(CredentialsMap):  # type: ignore[misc] # untyped base
    """aiocoap's credentials with an end to the contexts that EDHOC makes.

    Anyone can begin a handshake and leave it at that: the oldest unfinished one goes first, then the oldest.
    """

    def __setitem__(self, name: str, item: Any) -> None:  # noqa: ANN401 -- one of aiocoap's untyped credentials
        if hasattr(item, "_incomplete"):
            made = [(key, each) for key, each in self.items() if hasattr(each, "_incomplete")]
            if len(made) >= MOST_EDHOC_CONTEXTS:
                unfinished = [key for key, each in made if each._incomplete]  # noqa: SLF001 -- nothing public tells
                del self[unfinished[0] if unfinished else made[0][0]]
        super().__setitem__(name, item)

    def close(self) -> None:
        """Write sequence numbers and replay windows back, and release the contexts' locks."""
        for item in self.values():
            if getattr(item, "lockfile", None) is not None:
                item._destroy()  # noqa: SLF001 -- aiocoap leaves it to the garbage collector, too late for a restart
        self.clear()


def load_credentials(content: bytes, folder: Path | None) -> _Credentials:
    """Load the contexts that the credentials file ``content`` names. Takes each context's lock and reads its files.

    ``folder`` is where relative directories start; None where the file has no place (a systemd credential).

    Raises:
        OscoreError: The extra is not installed, or the file or one of its contexts does not hold.
    """
    missing = defaults.oscore_missing_modules()
    if missing:
        raise OscoreError(
            f"coap.oscore_file is set, but OSCORE needs {', '.join(missing)}: "
            'pip install "securenet-gateway[oscore]", or leave coap.oscore_file empty'
        )
    import filelock  # noqa: PLC0415 -- comes with the extra

    made = {name: _absolute(folder, item) for name, item in _parse(content).items()}
    for item in made.values():
        _require_context(item)
    credentials = _Credentials()
    try:
        credentials.load_from_dict(made)
    except (CredentialsLoadError, ValueError, OSError, filelock.Timeout) as error:
        credentials.close()
        raise OscoreError(f"a credential of coap.oscore_file does not hold: {error}") from error
    return credentials


def _parse(content: bytes) -> dict[str, object]:
    """The file as a dictionary: JSON, CBOR, or CBOR's diagnostic notation; EDHOC's integer keys need one of these."""
    if len(content) > LARGEST_FILE_BYTES:
        raise OscoreError(f"coap.oscore_file is larger than {LARGEST_FILE_BYTES} bytes: no credentials file")
    tree: object = None
    for read in (json.loads, cbor2.loads, _read_notation):
        try:
            tree = read(content)
            break
        except (ValueError, cbor2.CBORDecodeError):  # the bytes are not in this notation
            continue
    if not isinstance(tree, dict) or not all(isinstance(name, str) for name in tree):
        raise OscoreError("coap.oscore_file must be an object of name to credential, in JSON, CBOR or EDN")
    return tree


def _read_notation(content: bytes) -> object:
    import cbor_diag  # noqa: PLC0415 -- comes with the extra

    return cbor2.loads(cbor_diag.diag2cbor(content.decode()))


def _absolute(folder: Path | None, item: object) -> object:
    """``item`` with its relative paths made absolute."""
    if not isinstance(item, dict):
        return item
    made: dict[object, object] = {}
    for kind, fields in item.items():
        made[kind] = fields
        if isinstance(fields, dict):
            made[kind] = {name: _place(folder, value) if name in PATHS else value for name, value in fields.items()}
    return made


def _place(folder: Path | None, value: object) -> object:
    if not isinstance(value, str):
        return value
    path = Path(value)
    if not path.is_absolute() and folder is None:
        raise OscoreError(f"coap.oscore_file comes as a credential, so {value} in it must be an absolute path")
    return str(path if folder is None else folder / path)


def _require_context(item: object) -> None:
    """Look at a context before aiocoap does: it makes a missing directory, and cannot let go of half a context."""
    fields = item.get("oscore") if isinstance(item, dict) else None
    folder = fields.get("basedir") if isinstance(fields, dict) else None
    if not isinstance(folder, str):
        return
    names: set[str] = set()
    for part in ("settings.json", "secret.json"):
        try:
            names |= set(json.loads((Path(folder) / part).read_bytes()))
        except FileNotFoundError:
            continue
        except (OSError, ValueError, TypeError) as error:
            raise OscoreError(f"the OSCORE context {folder} does not hold: {part}: {error}") from error
    have = {name.removesuffix("_hex").removesuffix("_ascii") for name in names}
    lacking = {"sender-id", "recipient-id", "secret"} - have
    if lacking:
        raise OscoreError(f"the OSCORE context {folder} does not hold: no {', '.join(sorted(lacking))}")


class ProtectedSite:
    """What aiocoap's OSCORE layer finds behind it: a request that came out of its protection goes to ``handle``."""

    def __init__(self, handle: Handle) -> None:
        self._handle = handle

    async def render_to_pipe(self, pipe: Any) -> None:  # noqa: ANN401 -- aiocoap's Pipe, untyped
        """Answer one request (the method that aiocoap calls)."""
        request = pipe.request
        under = getattr(request.remote, "underlying_address", None)
        if under is None:
            raise aiocoap.error.Unauthorized  # plain requests are answered before they come here
        options = [(int(option.number), option.encode()) for option in request.opt.option_list()]
        ask = read_options(int(request.code), options)._replace(protected=True)
        origin = Origin(request.remote.blockwise_key, peer_of(under.sockaddr))
        answered: asyncio.Future[Response] = asyncio.get_running_loop().create_future()

        def answer(response: Response) -> None:
            if not answered.done():  # the client may have gone, and its task with it
                answered.set_result(response)

        self._handle(ask, request.payload, origin, answer)
        pipe.add_response(_message_of(await answered), is_last=True)


def _message_of(response: Response) -> Any:  # noqa: ANN401 -- aiocoap's Message, untyped
    message = aiocoap.Message(code=response.code, payload=response.payload)
    for number, value in response_options(response):
        message.opt.add_option(OptionNumber(number).create_option(decode=value))
    return message


def protected_site(handle: Handle, credentials: CredentialsMap) -> object:
    """The aiocoap site that takes OSCORE and EDHOC off and hands the request to ``handle``."""
    from aiocoap.oscore_sitewrapper import (  # type: ignore[import-untyped] # noqa: PLC0415 -- needs the extra
        OscoreSiteWrapper,
    )

    class Wrapper(OscoreSiteWrapper):  # type: ignore[misc] # untyped base
        async def render_to_pipe(self, pipe: Any) -> None:  # noqa: ANN401 -- aiocoap's Pipe, untyped
            """Serve a request, and end it where aiocoap says nothing: it would remember it for good."""
            await super().render_to_pipe(pipe)
            if pipe._event_callbacks:  # noqa: SLF001 -- nothing public tells that no last response was given
                pipe.add_response(aiocoap.Message(code=aiocoap.UNAUTHORIZED, no_response=_NO_ANSWER), is_last=True)

    return Wrapper(ProtectedSite(handle), credentials)


def protect_requests(context: Any) -> None:  # noqa: ANN401 -- aiocoap's Context, untyped
    """Let requests of ours that a credential of the file matches go out under OSCORE."""
    from aiocoap.transports.oscore import (  # type: ignore[import-untyped] # noqa: PLC0415 -- needs the extra
        TransportOSCORE,
    )

    context.request_interfaces.insert(0, TransportOSCORE(context, context))
