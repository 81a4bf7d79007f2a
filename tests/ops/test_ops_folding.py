from hypothesis import given
from hypothesis import strategies as st

from gateway.ops.folding import EventFolder


def test_the_first_few_pass_the_rest_is_folded_and_counted_on_the_next_window():
    folder = EventFolder(window_s=10, burst=2)
    assert [folder.admit("down", now) for now in (0, 1, 2, 3)] == [0, 0, None, None]
    assert folder.admit("down", 10) == 2
    assert folder.admit("down", 20) == 0


def test_kinds_do_not_disturb_each_other():
    folder = EventFolder(burst=1)
    assert [folder.admit(kind, 0) for kind in "aab"] == [0, None, 0]


def test_flush_takes_the_counts_of_windows_that_are_over_or_of_all():
    folder = EventFolder(window_s=10, burst=1)
    for now, kind in ((0, "old"), (1, "old"), (8, "new"), (9, "new"), (9, "once")):
        folder.admit(kind, now)
    assert folder.flush(11) == [("old", 1)]
    assert folder.flush(11, everything=True) == [("new", 1)]
    assert folder.flush(99, everything=True) == []


def test_the_table_is_bounded_and_what_falls_out_is_counted():
    folder = EventFolder(burst=1, max_kinds=4)
    for number in range(100):
        for _twice in range(2):
            folder.admit(f"kind {number}", 0)
    assert len(folder._windows) == 4
    assert folder.forgotten + sum(count for _kind, count in folder.flush(0, everything=True)) == 100


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.floats(0, 30)), max_size=200))
def test_every_event_is_written_reported_or_still_counted(events):
    folder = EventFolder(window_s=5, burst=2, max_kinds=3)
    written = reported = now = 0
    for kind, step in events:
        now += step
        folded = folder.admit(kind, now)
        written += folded is not None
        reported += folded or 0
    reported += sum(count for _kind, count in folder.flush(now, everything=True))
    assert written + reported + folder.forgotten == len(events)
