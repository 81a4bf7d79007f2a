"""Models and their provenance: from the publisher's signature to the first score, as far as this gateway knows it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from aiohttp import web

from gateway.journal import ModelRow, Reader, ReportRow
from gateway.journal.queries import LogHit, LogQuestion, Queries, QueryTooLongError
from gateway.ops.http.keys import VIEW
from gateway.ops.page.desk import DESK
from gateway.ops.page.shapes import seen_row, text_of
from gateway.tlog.entry import MessageEntry, ModelEntry
from gateway.vault.manifest import Manifest, parse_envelope, parse_payload
from gateway.vault.refusal import ModelRefused

RESULTS: Final = {1: "loaded", 2: "refused", 3: "returned"}
_REPORTS: Final = 50
_LOOKED_THROUGH: Final = 512
_AROUND_MS: Final = 5_000


async def models(request: web.Request) -> web.Response:
    """``GET /api/models``: each model that this gateway is to run, or ever ran."""
    view, desk = request.app[VIEW], request.app[DESK]
    known = view.status().get("models")
    status: Mapping[str, Any] = known if isinstance(known, Mapping) else {}

    def read(reader: Reader) -> tuple[list[ModelRow], list[ReportRow], dict[tuple[str, int], bytes]]:
        rows = reader.models()
        kept = {
            (row.model_id, ran.version): data
            for row in rows
            for ran in row.versions
            if (data := reader.model_envelope(row.model_id, ran.version)) is not None
        }
        return rows, reader.model_reports(_REPORTS), kept

    rows, reports, kept = await desk.read(request, read)
    in_log = await desk.ask(request, lambda queries: _traces(queries, reports))
    memory = {row.model_id: row for row in rows}
    wanted: Mapping[str, Any] = status.get("models") or {}
    names = sorted({*view.config.models.enabled, *memory, *wanted})
    gateway_id = view.config.gateway.id
    return web.json_response(
        {
            "enabled": bool(view.config.models.enabled),
            "contract": view.config.chain.model_registry or None,
            "caught_up": status.get("caught_up"),
            "frozen": status.get("frozen"),
            "scoring": status.get("scoring"),
            "sources": status.get("sources") or [],
            "models": [
                {
                    "model": name,
                    "chain": wanted.get(name),
                    "versions": _versions(memory.get(name), kept, gateway_id),
                    "reports": [_report(each, in_log) for each in reports if each.model_id == name],
                }
                for name in names
            ],
        }
    )


def _versions(row: ModelRow | None, kept: Mapping[tuple[str, int], bytes], gateway_id: str) -> list[dict[str, Any]]:
    if row is None:
        return []
    return [
        {
            "version": ran.version,
            "manifest_sha256": ran.manifest_sha256.hex(),
            "state": ran.state.value,
            "manifest": _manifest(kept.get((row.model_id, ran.version)), gateway_id),
        }
        for ran in row.versions
    ]


def _manifest(envelope: bytes | None, gateway_id: str) -> dict[str, Any] | None:
    """What the publisher signed; its signature was verified before the version ran."""
    if envelope is None:
        return None
    try:
        signed = parse_envelope(envelope)
        manifest: Manifest = parse_payload(signed.payload)
    except ModelRefused as fault:
        return {"fault": text_of(str(fault))}
    return {
        "signed_by": signed.alg.value,
        "ciphertext_cid": manifest.ciphertext.cid,
        "ciphertext_bytes": manifest.ciphertext.size,
        "ciphertext_sha256": manifest.ciphertext.sha256.hex(),
        "plaintext_bytes": manifest.plaintext.size,
        "plaintext_sha256": manifest.plaintext.sha256.hex(),
        "training_data_sha256": manifest.training_data.hex(),
        "recipients": len(manifest.wrapped),
        "wrapped_for_us": gateway_id in manifest.wrapped,
        "created_ms": manifest.created_ms,
        "expires_ms": manifest.expires_ms,
    }


def _report(report: ReportRow, in_log: Mapping[ReportRow, dict[str, Any]]) -> dict[str, Any]:
    return {
        "time_ms": report.time_ms,
        "version": report.version,
        "result": RESULTS.get(report.result, str(report.result)),
        "reason": text_of(report.reason),
        **in_log.get(report, {"entry": None, "first_score": None}),
    }


def _traces(queries: Queries, reports: list[ReportRow]) -> dict[ReportRow, dict[str, Any]]:
    """Each report's entry in the log, and the first message that the model judged, as far as time allows."""
    found: dict[ReportRow, dict[str, Any]] = {}
    try:
        for report in reports:
            entry = _entry_of(queries, report)
            judged = (
                None if entry is None or RESULTS.get(report.result) == "refused" else _first_score(queries, entry)
            )
            found[report] = {"entry": None if entry is None else entry.index, "first_score": seen_row(judged)}
    except QueryTooLongError:
        pass
    return found


def _entry_of(queries: Queries, report: ReportRow) -> LogHit | None:
    asked = LogQuestion(kind="model", from_ms=report.time_ms - _AROUND_MS, to_ms=report.time_ms + _AROUND_MS)
    for hit in queries.log(asked, 64, patience_s=0.1).hits:
        entry = hit.entry
        if isinstance(entry, ModelEntry) and (entry.model_id, entry.version) == (report.model_id, report.version):
            return hit
    return None


def _first_score(queries: Queries, loaded: LogHit) -> LogHit | None:
    """The first message with a verdict of this model, among those that came next."""
    if not isinstance(loaded.entry, ModelEntry):
        return None
    index = loaded.index + 1
    for _ in range(_LOOKED_THROUGH):
        hit = queries.at_or_after(index)
        if hit is None:
            return None
        if isinstance(hit.entry, MessageEntry) and hit.entry.model == loaded.entry.manifest:
            return hit
        index = hit.index + 1
    return None
