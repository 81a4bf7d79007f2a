"""``model export``: bundles out of a block store into one CAR file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from gateway.cli.options import config_at
from gateway.cli.output import CliError, plain
from gateway.ops.exitcodes import ExitCode
from gateway.vault.blocks import BlockStore, BlockStoreFault
from gateway.vault.car_export import NotExported, export
from gateway.vault.cid import CidError, parse_cid
from gateway.vault.ipfs_sources import block_store

_ANY_BYTES: Final = 1 << 50


def export_bundles(names: Sequence[str], out: Path, store: Path | None, config_path: Path) -> dict[str, Any]:
    """Write the bundles of these manifests; what was written.

    Raises:
        CliError: a CID is none, a block is not there, or the file cannot be written.
    """
    try:
        cids = [parse_cid(name) for name in names]
    except CidError as error:
        raise CliError(ExitCode.USAGE, f"{error}: name the manifest's CID, as model show prints it") from None
    if store is not None and not store.is_dir():
        raise CliError(ExitCode.NO_INPUT, f"{plain(store)} is no block store")
    blocks = block_store(config_at(config_path)) if store is None else BlockStore(store, _ANY_BYTES)
    try:
        done = export(cids, blocks, out)
    except (NotExported, BlockStoreFault) as error:
        raise CliError(ExitCode.NO_INPUT, str(error)) from None
    except OSError as error:
        raise CliError(ExitCode.CANNOT_CREATE, f"{plain(out)} cannot be written: {error.strerror}") from None
    models = [f"{model_id} {version}" for model_id, version in done.models]
    return {"file": str(out), "models": models, "blocks": done.blocks, "bytes": done.bytes}
