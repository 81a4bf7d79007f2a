"""The reader of ``.tflite`` files: seen or refused with a name, whatever the bytes. See ``fuzz_targets``."""

from collections.abc import Callable
from typing import Final

from gateway.vault.genuine import look_at
from gateway.vault.genuine_operators import ALLOWED
from gateway.vault.publisher_words import PublishRefusal, PublishRefused

_REASONS: Final = {PublishRefusal.MODEL_STRUCTURE, PublishRefusal.MODEL_OPERATOR, PublishRefusal.MODEL_SHAPE}


def _tflite(data: bytes) -> None:
    """With the file's mark in its place, so that the way in is always open."""
    try:
        seen = look_at(data[:4] + b"TFL3" + data[8:], steps=20_000)
    except PublishRefused as refused:
        if refused.reason not in _REASONS or not str(refused).isprintable():
            raise AssertionError("a refusal that is none") from None
        return
    if not set(seen.operators) <= set(ALLOWED.values()) or len(seen.input_shape) > 8:
        raise AssertionError("a model that should have been refused")


TARGETS: Final[dict[str, Callable[[bytes], None]]] = {"tflite": _tflite}
