"""What this gateway ran of each model: there after a restart, a migration and a salvage."""

import sqlite3

from hypothesis import given
from hypothesis import strategies as st

from gateway.config.model import JournalConfig
from gateway.journal import (
    ModelEnvelope,
    ModelRow,
    RanState,
    RanVersion,
    ReportRow,
    accesses,
    models,
    open_journal,
    open_reader,
)
from gateway.journal.schema import DATABASE, MIGRATIONS, migrate, schema_version

ORIGIN = "securenet/plant/gw-1"
GOOD, BEFORE, ASIDE = RanState.GOOD, RanState.BEFORE, RanState.ASIDE


def ran(version, state=GOOD):
    return RanVersion(version, bytes([version]) * 32, state)


def row(*versions, highest=None):
    return ModelRow("pump", highest or max(version.version for version in versions), versions)


def opened(folder):
    return open_journal(folder, JournalConfig(), origin=ORIGIN).journal


async def test_what_ran_is_there_after_a_restart_with_its_manifest(tmp_path):
    journal = opened(tmp_path)
    await journal.record_model(row(ran(3)), ModelEnvelope(3, b"third"))
    await journal.record_model(row(ran(4), ran(3, BEFORE)), ModelEnvelope(4, b"fourth"))
    await journal.close()
    journal = opened(tmp_path)
    assert await journal.models() == [row(ran(4), ran(3, BEFORE))]
    assert await journal.model_envelope("pump", 4) == b"fourth"
    assert await journal.model_envelope("pump", 3) == b"third"
    assert await journal.model_envelope("fan", 3) is None
    await journal.close()


async def test_a_manifest_goes_with_its_version_and_none_is_kept_of_what_was_put_aside(tmp_path):
    journal = opened(tmp_path)
    await journal.record_model(row(ran(3)), ModelEnvelope(3, b"third"))
    await journal.record_model(row(ran(4), ran(3, BEFORE)), ModelEnvelope(4, b"fourth"))
    await journal.record_model(row(ran(4, ASIDE), ran(3)))
    assert await journal.model_envelope("pump", 4) is None
    assert await journal.model_envelope("pump", 3) == b"third"
    other = ModelRow("pump", 4, (RanVersion(3, bytes(32), GOOD),))
    await journal.record_model(other)
    assert await journal.model_envelope("pump", 3) is None
    assert await journal.models() == [other]
    await journal.close()


async def test_what_ran_survives_a_database_that_had_to_be_set_aside(tmp_path):
    journal = opened(tmp_path)
    await journal.record_model(row(ran(3), highest=9), ModelEnvelope(3, b"third"))
    await journal.report_model(ReportRow(5, "pump", 3, 1, ""))
    journal._writer.suspect()
    await journal.close()
    found = open_journal(tmp_path, JournalConfig(), origin=ORIGIN)
    assert found.set_aside is not None
    assert await found.journal.models() == [row(ran(3), highest=9)]
    assert await found.journal.model_envelope("pump", 3) == b"third"
    with open_reader(tmp_path) as reader:
        assert reader.model_reports() == [ReportRow(5, "pump", 3, 1, "")]
    await found.journal.close()


def test_a_journal_of_the_second_version_gains_the_tables(tmp_path):
    connection = sqlite3.connect(tmp_path / DATABASE, isolation_level=None)
    migrate(connection, MIGRATIONS[:2])
    assert migrate(connection) == 2
    assert schema_version(connection) == len(MIGRATIONS)
    assert models.rows(connection) == []
    connection.close()


def test_the_newest_reports_are_kept():
    connection = sqlite3.connect(":memory:", isolation_level=None)
    for statement in (*models.TABLES, *accesses.TABLES):
        connection.execute(statement)
    for number in range(models.REPORTS_KEPT + 7):
        models.add_report(connection, ReportRow(number, "pump", number, 2, "revoked"))
    kept = models.reports(connection, 5000)
    assert [report.time_ms for report in kept] == list(range(models.REPORTS_KEPT + 6, 6, -1))
    connection.close()


versions = st.lists(st.builds(ran, st.integers(1, 9), st.sampled_from(RanState)), unique_by=lambda each: each.version)


@given(st.lists(st.tuples(st.sampled_from(["pump", "fan"]), st.integers(1, 99), versions), max_size=8))
def test_the_last_row_of_each_model_is_what_is_read(steps):
    connection = sqlite3.connect(":memory:", isolation_level=None)
    for statement in models.TABLES:
        connection.execute(statement)
    said = {}
    for name, highest, found in steps:
        ordered = tuple(sorted(found, key=lambda each: -each.version))
        said[name] = ModelRow(name, highest, ordered)
        models.store(connection, said[name], None)
    assert models.rows(connection) == [said[name] for name in sorted(said)]
    connection.close()
