"""The libraries of the extra ``train``, imported by the function that needs them and never by ``import``.

They take seconds to load and none of them is needed to read a card, score a benchmark or draw a plot.
"""

from __future__ import annotations

import importlib
import os
from typing import Any


class TrainExtraMissing(Exception):
    """A library is not installed; the message says how to get it."""


def library(name: str) -> Any:  # noqa: ANN401 -- these libraries are not typed
    """Import a module by its name.

    Raises:
        TrainExtraMissing: it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise TrainExtraMissing(
            f"{name} is not installed; install the extra: pip install 'securenet-gateway[train]'"
        ) from error


def tensorflow() -> Any:  # noqa: ANN401 -- likewise
    """TensorFlow, without its greetings."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
    return library("tensorflow")
