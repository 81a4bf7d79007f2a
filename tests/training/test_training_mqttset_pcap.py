"""Captures: however the bytes were cut into segments, the same packets come out; no file does harm."""

import struct
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.training.mqttset_pcap import CaptureRefused, Frame, Packet, Segment, frames, packets, segments

SYN, ACK, FIN = 0x02, 0x10, 0x01
CLIENT, BROKER = bytes((10, 0, 0, 7)), bytes((10, 0, 0, 1))


def mqtt(kind, body, flags=0):
    length, size = b"", len(body)
    while True:
        size, low = divmod(size, 128)
        length += bytes((low | (0x80 if size else 0),))
        if not size:
            return bytes((kind << 4 | flags,)) + length + body


def publish(payload, topic=b"t"):
    return mqtt(3, len(topic).to_bytes(2, "big") + topic + payload)


def ip(content, sequence=0, flags=ACK, source=CLIENT, target=BROKER, ports=(5000, 1883)):
    tcp = struct.pack(">HHIIBBHHH", *ports, sequence % (1 << 32), 0, 5 << 4, flags, 0, 0, 0) + content
    return struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(tcp), 0, 0, 64, 6, 0) + source + target + tcp


def ethernet(packet):
    return bytes(12) + b"\x08\x00" + packet


def pcap(contents, link=1, order="<"):
    head = struct.pack(order + "IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, link)
    return head + b"".join(
        struct.pack(order + "IIII", second, 500_000, len(content), len(content)) + content
        for second, content in enumerate(contents)
    )


def pcapng(contents, link=1, resolution=None):
    def block(kind, body):
        body += bytes(-len(body) % 4)
        return struct.pack("<II", kind, len(body) + 12) + body + struct.pack("<I", len(body) + 12)

    options = b"" if resolution is None else struct.pack("<HHB3x", 9, 1, resolution)
    blocks = [
        block(0x0A0D0D0A, struct.pack("<IHHq", 0x1A2B3C4D, 1, 0, -1)),
        block(1, struct.pack("<HHI", link, 0, 65535) + options),
    ]
    ticks = 10 ** (6 if resolution is None else resolution)
    for second, content in enumerate(contents):
        time = second * ticks + ticks // 2
        words = (0, time >> 32, time & 0xFFFFFFFF, len(content), len(content))
        blocks.append(block(6, struct.pack("<5I", *words) + content))
    return b"".join(blocks)


def stream(pieces, start=100):
    """Segments of one client that send the pieces in order."""
    sent = []
    for number, piece in enumerate(pieces):
        sent.append(Segment(number, "10.0.0.7", 5000, True, start % (1 << 32), ACK, piece))
        start += len(piece)
    return sent


messages = st.lists(st.binary(max_size=300).map(publish) | st.just(mqtt(12, b"")), min_size=1, max_size=8)


@pytest.mark.parametrize("write", [pcap, lambda c: pcap(c, order=">"), pcapng, lambda c: pcapng(c, resolution=9)])
def test_every_kind_of_file_gives_the_same_frames(write):
    contents = [b"one", b"another", b""]
    assert list(frames(write(contents))) == [Frame(n * 1000 + 500, 1, content) for n, content in enumerate(contents)]


def test_a_capture_that_is_cut_off_gives_what_came_before():
    whole = pcap([b"one", b"another"])
    assert [frame.content for frame in frames(whole[:-1])] == [b"one"]
    assert [frame.content for frame in frames(pcapng([b"one", b"another"])[:-1])] == [b"one"]


@pytest.mark.parametrize("content", [b"", b"GIF89a", b"\x0a\x0d\x0d\x0a" + bytes(20), b"\xd4\xc3\xb2\xa1"])
def test_other_files_are_refused(content):
    with pytest.raises(CaptureRefused):
        list(frames(content))


@given(st.binary(max_size=200), st.sampled_from([pcap([b""]), pcapng([b""])]))
def test_no_bytes_behind_a_header_raise(tail, head):
    list(packets(segments(frames(head + tail))))


@given(st.integers(0, 400), st.integers(0, 255))
def test_a_damaged_byte_never_raises(place, value):
    capture = bytearray(pcap([ethernet(ip(publish(b"x" * 40))), ethernet(ip(publish(b"y"), sequence=45))]))
    capture[24 + place % (len(capture) - 24)] = value
    list(packets(segments(frames(bytes(capture)))))


def test_frames_become_segments_of_the_client():
    there = ethernet(ip(b"up", 7))
    back = ethernet(ip(b"down", 9, source=BROKER, target=CLIENT, ports=(1883, 5000)))
    cooked = bytes(14) + b"\x08\x00" + ip(b"cooked", 11)
    found = list(segments([Frame(1, 1, there), Frame(2, 1, back), Frame(3, 113, cooked), Frame(4, 105, there)]))
    assert [(s.client, s.port, s.from_client, s.content) for s in found] == [
        ("10.0.0.7", 5000, True, b"up"),
        ("10.0.0.7", 5000, False, b"down"),
        ("10.0.0.7", 5000, True, b"cooked"),
    ]


def test_other_ports_and_padding_are_left_out():
    other = ethernet(ip(b"http", ports=(5000, 80)))
    padded = ethernet(ip(b"up")) + bytes(6)
    assert [s.content for s in segments([Frame(1, 1, other), Frame(2, 1, padded)])] == [b"up"]


@given(messages, st.lists(st.integers(0, 2500), max_size=12), st.integers(0, (1 << 32) - 1))
def test_the_same_packets_come_out_however_the_stream_was_cut(sent, cuts, start):
    whole = b"".join(sent)
    cuts = sorted({min(cut, len(whole)) for cut in cuts} | {0, len(whole)})
    pieces = [whole[one:other] for one, other in pairwise(cuts)]
    assert [p.size for p in packets(stream(pieces, start))] == [len(message) for message in sent]


@given(messages, st.integers(0, 7))
def test_what_is_sent_again_counts_once(sent, again):
    flow = stream(sent)
    flow.insert(again % len(flow) + 1, flow[again % len(flow)])
    assert [p.size for p in packets(flow)] == [len(message) for message in sent]


def test_after_a_gap_reading_begins_anew():
    flow = stream([publish(b"a" * 50)[:20], b"?" * 30, mqtt(12, b"")])
    assert [p.kind for p in packets([flow[0], flow[2]])] == [12]


def test_a_connack_that_refuses_is_seen():
    yes, no = mqtt(2, b"\0\0"), mqtt(2, b"\0\5")
    flow = [s._replace(from_client=False) for s in stream([yes, no])]
    assert [p.refused for p in packets(flow)] == [False, True]


@pytest.mark.parametrize(
    "content",
    [
        b"\x00\x00",
        b"\x36\x03\x00\x01t",
        b"\x11\x00",
        b"\xc0\xff\xff\xff\xff",
        b"\x30\x02\xff\xff",
        b"\xc0\xff\xff\xff\x7f",
    ],
)
def test_what_no_broker_would_take_is_malformed(content):
    assert [p.kind for p in packets(stream([content]))] == [0]


def test_a_syn_takes_one_number_and_a_fin_forgets():
    ended = []
    flow = [
        Segment(0, "10.0.0.7", 5000, True, 9, SYN, b""),
        Segment(1, "10.0.0.7", 5000, True, 10, ACK, publish(b"x")[:3]),
        Segment(2, "10.0.0.7", 5000, True, 13, ACK | FIN, b""),
        Segment(3, "10.0.0.7", 5000, True, 900, ACK, mqtt(12, b"")),
    ]
    assert list(packets(flow, ended.append)) == [Packet(3, "10.0.0.7", 5000, True, 12, 2, False)]
    assert [segment.sequence for segment in ended] == [13]
