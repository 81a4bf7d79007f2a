"""The detector of records as a gateway runs it: ranges kept by the pipeline, a network that joins the answers.

The columns are the rule: one a part, its excess divided by its allowance. What is left for the model is the greatest
of them, as a number between 0 and 1: one half where a part leaves its range by its allowance.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from gateway.detection.features import Pipeline
from gateway.detection.records import EXCESS_MAX, RecordTable
from gateway.detection.spec import Column, ColumnKind, InputSpec, Record
from gateway.envelope.readings import NotScorable, Readings
from gateway.training.data import Floats, Singles
from gateway.training.export import litert
from gateway.training.libraries import tensorflow
from gateway.training.nab_records import SETTLED, Rule

READING: Final = "value"
_LOWEST: Final = -1.0
"""Inside its range a value is at most half a range from its ends."""
_ONE_DEVICE: Final = 1 << 20


def columns(rule: Rule) -> tuple[Column, ...]:
    """Return the columns that a rule is."""
    return tuple(
        Column(
            READING,
            ColumnKind.RECORD,
            low=_LOWEST,
            high=EXCESS_MAX,
            scale=allowance,
            record=Record(part.short, part.long, part.steps, SETTLED),
        )
        for part, allowance in rule.items()
    )


def inputs_of(rule: Rule) -> InputSpec:
    """Return the model's input."""
    return InputSpec(columns(rule), None, 1, (len(rule),))


def network() -> Any:  # noqa: ANN401 -- tensors are not typed
    """Return the function from a batch of rows (batch, parts) to answers (batch, 1)."""
    tf = tensorflow()

    def answer(rows: Any) -> Any:  # noqa: ANN401 -- likewise
        out = tf.nn.relu(tf.reduce_max(rows, axis=1, keepdims=True))
        return out / (1.0 + out)

    return answer


def rows(inputs: InputSpec, values: Sequence[float]) -> tuple[list[int], Singles]:
    """Make the rows of a file as a gateway makes those of a device: by its pipeline, one message after the other.

    Returns:
        Which readings have a row, and the rows.
    """
    pipeline, records = Pipeline(inputs), RecordTable(inputs.columns, _ONE_DEVICE)
    places: list[int] = []
    made = array("f")
    for place, value in enumerate(values):
        readings = Readings({READING: value}, {})
        row = pipeline.row(readings, None, records.push("device", readings.scalars))
        if not isinstance(row, NotScorable):
            places.append(place)
            made.extend(row.values)
    return places, np.array(made, dtype=np.float32).reshape(-1, pipeline.width)


def answers(model: bytes, inputs: InputSpec, values: Sequence[float]) -> Floats:
    """Score a file by the exported model; what a gateway does not score is silent."""
    found = np.zeros(len(values))
    places, made = rows(inputs, values)
    if places:
        found[places] = litert(model, made)[:, 0]
    return found
