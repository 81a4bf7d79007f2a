"""What became of a model stands in the log, in its order, and is sealed at the end."""

from gateway.config.model import LogConfig
from gateway.ingest.clerk import Clerk, Duty, LogKeys
from gateway.tlog.entry import ModelEntry, parse_entry


class Log:
    """The ledger, as far as the clerk cares."""

    size = 0

    def append_entry(self, draft, entry):
        draft.entries.append(entry)


def clerk(log):
    return Clerk(LogConfig(), log, origin="securenet/plant/gw-1", keys=LogKeys(b"k", b"k"), wall_ms=lambda: 1000)


def test_what_became_of_a_model_is_written_once_and_in_order():
    found = clerk(Log())
    found.model("pump", 3, bytes(32), "loaded", None)
    found.model("pump", 4, b"\1" * 32, "refused", "manifest-signature")
    draft = found.draft(Duty.MODELS)
    assert [parse_entry(entry) for entry in draft.entries] == [
        ModelEntry(1000, "pump", 3, bytes(32), "loaded", None),
        ModelEntry(1000, "pump", 4, b"\1" * 32, "refused", "manifest-signature"),
    ]
    assert found.draft(Duty.MODELS) is None


def test_at_the_end_models_are_written_before_the_log_is_sealed():
    closing = clerk(Log()).closing()
    assert closing.index(Duty.MODELS) < closing.index(Duty.CHECKPOINT)
