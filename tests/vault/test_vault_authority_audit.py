"""The audit: a line that was altered, cut out or cut off is found and named; a process may die anywhere."""

import json
import os
from itertools import pairwise

import pytest
from authority_kit import NOW_MS, Killed, killed_at
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.vault.authority_audit import Audit, Event, Head, begin_anew, encode_head, encode_line, verify
from gateway.vault.authority_disk import StoreRefused

KEY = b"\x07" * 32
FILE = "audit-000001.jsonl"


def begun(directory, lines=0, file_bytes=1 << 20):
    directory.mkdir(exist_ok=True)
    audit = Audit(directory, KEY, file_bytes)
    audit.begin(Event("init"), NOW_MS)
    for number in range(2, lines + 1):
        audit.append(event(number), NOW_MS + number)
    return audit


def event(number):
    return Event("issue", "acme", "ab" * 32, "https", "kdd", number, {"made": True})


def resumed(directory, file_bytes=1 << 20):
    audit = Audit(directory, KEY, file_bytes)
    audit.resume(NOW_MS)
    return audit


def problems(directory, key=KEY):
    return [f"{found.file}:{found.line} {found.problem}" for found in verify(directory, key).findings]


@pytest.fixture
def ten(tmp_path):
    begun(tmp_path, 10)
    return tmp_path


def lines_of(directory, name=FILE):
    return (directory / "audit" / name).read_bytes().splitlines(keepends=True)


def put(directory, lines, name=FILE):
    (directory / "audit" / name).write_bytes(b"".join(lines))


def test_every_line_holds_the_sha256_of_the_one_before(ten):
    told = []
    report = verify(ten, KEY, told.append)
    assert (report.files, report.lines, report.first, report.findings) == (1, 10, 1, ())
    assert [line.seq for line in told] == list(range(1, 11))
    assert all(after.prev == before.sha256 for before, after in pairwise(told))
    assert told[4].members["publisher"] == "acme"
    assert told[4].members["time"] == NOW_MS + 5


@pytest.mark.parametrize("at", range(10))
def test_an_altered_line_is_named(ten, at):
    lines = lines_of(ten)
    lines[at] = lines[at].replace(b'"via":"', b'"via":"x')
    put(ten, lines)
    assert any(found.startswith(f"{FILE}:{at + 1} this line was altered") for found in problems(ten))


@pytest.mark.parametrize("at", range(1, 9))
def test_a_line_that_was_cut_out_is_named(ten, at):
    lines = lines_of(ten)
    del lines[at]
    put(ten, lines)
    assert problems(ten) == [f"{FILE}:{at + 1} lines {at + 1} to {at + 1} are missing before this one"]


@pytest.mark.parametrize("kept", range(1, 10))
def test_lines_that_were_cut_off_are_missed(ten, kept):
    put(ten, lines_of(ten)[:kept])
    assert problems(ten) == [f"{FILE}:{kept} lines {kept + 1} to 10 are cut off after this one"]
    with pytest.raises(StoreRefused, match="does not hold"):
        resumed(ten)


def test_lines_and_head_cannot_be_put_back_together_without_the_key(ten):
    put(ten, lines_of(ten)[:5])
    head = verify(ten, None).head
    (ten / "audit" / "head.json").write_bytes(encode_head(b"another key".ljust(32), head))
    assert problems(ten, None) == []
    assert "did not write it" in problems(ten)[0]


def test_a_missing_head_an_old_head_and_a_missing_audit_are_findings(ten):
    head = ten / "audit" / "head.json"
    old = head.read_bytes()
    audit = resumed(ten)
    for number in (11, 12):
        audit.append(event(number), NOW_MS)
    newest = head.read_bytes()
    head.write_bytes(old)
    assert problems(ten) == ["head.json:0 it is old: it names line 10, and the audit has 12"]
    head.unlink()
    assert "it is missing" in problems(ten)[0]
    head.write_bytes(newest)
    head.chmod(0o644)
    assert "may be read by others" in problems(ten)[0]
    head.chmod(0o600)
    assert problems(ten) == []
    (ten / "audit" / FILE).unlink()
    assert "cut off" in problems(ten)[0]
    head.unlink()
    assert "it is missing" in problems(ten)[0]
    with pytest.raises(StoreRefused):
        resumed(ten)


def test_without_a_head_a_single_line_is_no_audit_be_it_the_first_one_or_a_forged_one(ten):
    first = lines_of(ten)[:1]
    forged = [encode_line(Event("init", detail={"by": "a stranger"}), Head(), NOW_MS) + b"\n"]
    (ten / "audit" / "head.json").unlink()
    for kept in (first, forged):
        put(ten, kept)
        assert problems(ten) == ["head.json:0 it is missing: nobody knows where the audit ended"]
        with pytest.raises(StoreRefused, match="does not hold"):
            resumed(ten)


def test_lines_in_another_order_or_twice_are_found(ten):
    lines = lines_of(ten)
    for changed in ([*lines[:3], lines[4], lines[3], *lines[5:]], [*lines[:4], *lines[3:]], [b"{}\n", *lines]):
        put(ten, changed)
        assert problems(ten)


def test_a_forged_history_before_the_first_line_is_found(ten):
    lines = lines_of(ten)
    first = json.loads(lines[0]) | {"prev": "11" * 32}
    put(ten, [json.dumps(first).encode() + b"\n", *lines[1:]])
    assert any("names one before it" in found for found in problems(ten))


@pytest.fixture(scope="module")
def several(tmp_path_factory):
    directory = tmp_path_factory.mktemp("audit")
    begun(directory, 6, file_bytes=700)
    return directory


def meaning(data):
    try:
        return json.loads(data)
    except ValueError:
        return data


@settings(max_examples=200)
@given(data=st.data())
def test_whatever_is_changed_in_the_files_is_found(several, data):
    path = data.draw(st.sampled_from(sorted((several / "audit").iterdir())))
    whole = path.read_bytes()
    start = data.draw(st.integers(0, len(whole)))
    end = data.draw(st.integers(start, len(whole)))
    changed = whole[:start] + data.draw(st.binary(max_size=40)) + whole[end:]
    try:
        path.write_bytes(changed)
        report = verify(several, KEY)
    finally:
        path.write_bytes(whole)
    same = changed == whole or (path.name == "head.json" and meaning(changed) == meaning(whole))
    torn_at_the_end = report.torn_bytes and changed.startswith(whole)
    assert report.findings or same or torn_at_the_end


def test_files_are_closed_at_a_size_and_the_chain_goes_through_them(tmp_path):
    begun(tmp_path, 30, file_bytes=1000)
    report = verify(tmp_path, KEY)
    assert (report.lines, report.findings) == (30, ())
    assert report.files > 5
    audit = resumed(tmp_path, 1000)
    audit.append(event(31), NOW_MS)
    assert verify(tmp_path, KEY).lines == 31
    files = sorted((tmp_path / "audit").glob("*.jsonl"))
    first = files[0].read_bytes().splitlines()
    files[0].unlink()
    archived = verify(tmp_path, KEY)
    assert archived.findings == ()
    assert archived.first == len(first) + 1
    resumed(tmp_path, 1000)
    files[2].unlink()
    assert "are missing before this one" in problems(tmp_path)[0]


def test_a_process_that_dies_anywhere_leaves_an_audit_that_goes_on(tmp_path):
    for file_bytes in (1 << 20, 600):
        for step in range(1, 6):
            directory = tmp_path / f"{file_bytes}-{step}"
            audit = begun(directory, 4, file_bytes)
            try:
                with killed_at(step):
                    audit.append(event(5), NOW_MS)
            except Killed:
                pass
            audit = resumed(directory, file_bytes)
            audit.append(event(6), NOW_MS)
            told = []
            assert verify(directory, KEY, told.append).findings == ()
            assert {line.members["event"] for line in told} <= {"init", "issue", "resumed"}
            assert not list((directory / "audit").glob("*.tmp"))


def test_a_torn_line_was_answered_by_nobody_and_is_taken_off_in_public(ten):
    path = ten / "audit" / FILE
    path.write_bytes(path.read_bytes() + b'{"seq":11,"ti')
    assert verify(ten, KEY).torn_bytes == 13
    resumed(ten)
    last = json.loads(lines_of(ten)[-1])
    assert (last["seq"], last["event"]) == (11, "resumed")
    assert last["detail"] == {"torn_bytes": 13, "lines_after_head": 0}
    assert problems(ten) == []


def test_a_torn_line_in_a_new_file_is_taken_off_too(tmp_path):
    begun(tmp_path, 3, file_bytes=100)
    (tmp_path / "audit" / "audit-000004.jsonl").write_bytes(b'{"seq"')
    (tmp_path / "audit" / "audit-000004.jsonl").chmod(0o600)
    audit = resumed(tmp_path, 100)
    audit.append(event(5), NOW_MS)
    assert problems(tmp_path) == []


def test_one_line_after_the_head_is_taken_up_and_two_are_not(ten):
    head = ten / "audit" / "head.json"
    old = head.read_bytes()
    audit = resumed(ten)
    audit.append(event(11), NOW_MS)
    head.write_bytes(old)
    resumed(ten)
    assert json.loads(lines_of(ten)[-1])["detail"] == {"torn_bytes": 0, "lines_after_head": 1}
    head.write_bytes(old)
    with pytest.raises(StoreRefused, match="old"):
        resumed(ten)


def test_after_a_failed_write_nothing_more_is_taken(ten, monkeypatch):
    audit = resumed(ten)

    def failing(*_):
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", failing)
        with pytest.raises(OSError, match="Input/output"):
            audit.append(event(11), NOW_MS)
    with pytest.raises(OSError, match="could not be written"):
        audit.append(event(11), NOW_MS)
    resumed(ten).append(event(12), NOW_MS)
    assert problems(ten) == []


def test_an_audit_that_does_not_hold_is_put_aside_and_kept(ten):
    put(ten, lines_of(ten)[:5])
    old = begin_anew(ten, KEY, "old-1", NOW_MS)
    assert old.is_dir()
    assert [json.loads(line)["event"] for line in lines_of(ten)] == ["begun-anew"]
    resumed(ten)


def test_the_audit_of_another_store_is_not_written_over(ten):
    with pytest.raises(StoreRefused, match="another store"):
        Audit(ten, KEY).begin(Event("init"), NOW_MS)


def test_a_line_has_a_bound():
    with pytest.raises(ValueError, match="too much"):
        encode_line(Event("issue", detail={"for": ["g" * 64] * 10_000}), Head(), NOW_MS)
