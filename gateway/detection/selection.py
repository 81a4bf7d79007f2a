"""Which of several models a message is given to (pure, row A6).

First the selectors: the device, the content format, the readings that must be there. Among those that are meant for
the message the most particular comes first; the quality of the data has a veto: a model that would see mostly
replaced or clipped numbers steps back behind one that sees good ones. The same message, devices' past and models give
the same choice, on every gateway.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Final, NamedTuple

from gateway.detection.features import Pipeline, Row
from gateway.detection.port import UnscoredReason
from gateway.detection.spec import Selector
from gateway.envelope.readings import NotScorable

ENOUGH: Final = 0.5
"""The quality below which a model steps back behind the next one."""


class Candidate(NamedTuple):
    """What selection knows of a model; ``manifest_sha256`` breaks ties."""

    manifest_sha256: bytes
    selector: Selector
    pipeline: Pipeline


class Choice(NamedTuple):
    """The place of the chosen model among the candidates, and the row it is given."""

    place: int
    row: Row


def domain_of(selector: Selector, device_id: str) -> int | None:
    """How particular the domain is that holds the device: its length, 0 where any will do, None where none does."""
    if not selector.domains:
        return 0
    return max((len(domain) for domain in selector.domains if device_id.startswith(domain)), default=None)


def rank(
    candidates: Sequence[Candidate], device_id: str, content_format: int, names: Collection[str]
) -> tuple[int, ...]:
    """Put those that are meant for a message in order, the first choice first.

    In this order: has every reading it cannot do without; the longest domain; a content format named; the most
    readings named; the greatest share of its readings there; the most readings; the lower digest.
    """
    ranked: list[tuple[tuple[object, ...], int]] = []
    for place, (digest, selector, pipeline) in enumerate(candidates):
        domain = domain_of(selector, device_id)
        formats, readings = selector.content_formats, selector.readings
        if domain is None or (formats and content_format not in formats):
            continue
        if any(name not in names for name in readings):
            continue
        there = sum(name in names for name in pipeline.names)
        complete = all(name in names for name in pipeline.needed)
        share = there / len(pipeline.names) if pipeline.names else 1.0
        key = (not complete, -domain, not formats, -len(readings), -share, -len(pipeline.names), digest)
        ranked.append((key, place))
    return tuple(place for _, place in sorted(ranked))


def choose(ranked: Sequence[int], row_of: Callable[[int], Row | NotScorable]) -> Choice | NotScorable:
    """Take the first whose row is good enough, else the best row there is.

    Args:
        ranked: places of candidates, the first choice first.
        row_of: makes a candidate's row; asked in that order, and no further than needed.

    Returns:
        The choice, or why the first choice has no row when none has one.
    """
    best: Choice | None = None
    why: NotScorable | None = None
    for place in ranked:
        row = row_of(place)
        if isinstance(row, NotScorable):
            why = why or row
            continue
        if row.quality >= ENOUGH:
            return Choice(place, row)
        if best is None or row.quality > best.row.quality:
            best = Choice(place, row)
    return best or why or NotScorable(UnscoredReason.NO_FITTING_MODEL)
