"""The list of an import: any bytes give applicants and faults, never anything else."""

import csv
import io
import json

from cli_chain_kit import b64, csv_of, device_key
from hypothesis import given
from hypothesis import strategies as st

from gateway.chain.contracts import ChainAlg
from gateway.cli.device_file import COLUMNS, MAX_FAULTS, read_csv, read_jsonl

IDS = st.from_regex(r"[A-Za-z0-9._:-]{1,64}", fullmatch=True).filter(lambda text: text not in {".", "..", "gateway"})
FLEETS = st.from_regex(r"[A-Za-z0-9._:-]{1,32}", fullmatch=True).filter(
    lambda text: text not in {".", "..", "gateway"}
)
DEVICES = st.lists(st.tuples(IDS, FLEETS, st.integers(1, 5)), unique_by=lambda each: each[0], max_size=20)


@given(DEVICES, st.permutations(COLUMNS), st.sampled_from(["\n", "\r\n"]), st.booleans(), st.booleans())
def test_what_a_spreadsheet_writes_is_read_back(devices, columns, newline, mark, quoted):
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator=newline, quoting=csv.QUOTE_ALL if quoted else csv.QUOTE_MINIMAL)
    writer.writerow(columns)
    for name, fleet, number in devices:
        row = {"id": name, "fleet": fleet, "alg": "Ed25519", "public_key": b64(device_key(number))}
        writer.writerow([row[column] for column in columns])
    listed = read_csv(out.getvalue().encode("utf-8-sig" if mark else "utf-8"))
    assert listed.faults == []
    assert [tuple(each) for each in listed.applicants] == [
        (line, name, fleet, ChainAlg.ED25519, device_key(number))
        for line, (name, fleet, number) in enumerate(devices, 2)
    ]


@given(st.binary(max_size=500) | st.text(max_size=300).map(str.encode))
def test_any_bytes_end_in_applicants_or_faults(data):
    for read in (read_csv, read_jsonl):
        listed = read(data)
        assert all(fault.problem and fault.hint for fault in listed.faults)
        json.dumps([fault._asdict() for fault in listed.faults])


@given(st.lists(st.text(max_size=30), min_size=4, max_size=4))
def test_a_row_of_any_text_is_taken_or_told_with_its_line(row):
    out = io.StringIO(newline="")
    csv.writer(out).writerows([COLUMNS, row])
    listed = read_csv(out.getvalue().encode("utf-8", "surrogatepass"))
    assert len(listed.applicants) + len(listed.faults) <= 1


def test_the_list_is_read_to_a_limit_of_faults():
    listed = read_csv(("id,fleet,alg,public_key\n" + "x,x,x,x\n" * (MAX_FAULTS + 5)).encode())
    assert len(listed.faults) == MAX_FAULTS + 1
    assert "not read" in listed.faults[-1].hint


def test_another_header_says_what_it_has_to_be():
    assert "commas" in read_csv(b"id;fleet;alg;public_key\n").faults[0].hint
    assert "id,fleet,alg,public_key" in read_csv(b"a,b\n").faults[0].hint
    assert read_csv(b"").faults[0].problem == "is empty"


def test_an_open_quote_is_no_csv():
    listed = read_csv(csv_of(1).encode() + b'"dev-2,plant\n')
    assert len(listed.applicants) == 1
    assert listed.faults[0].line == 3
    assert "no CSV" in listed.faults[0].problem
