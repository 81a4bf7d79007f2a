"""The traffic detectors, on captures made here: who counts as refused, what is told apart, what is counted how."""

import pytest

np = pytest.importorskip("numpy", reason="training needs the extra train")

from gateway.training import mqttset  # noqa: E402 -- only where NumPy is
from gateway.training.data import DataRefused  # noqa: E402 -- likewise
from gateway.training.mqttset_pcap import Packet  # noqa: E402 -- likewise

CONNECT, CONNACK, PUBLISH = 1, 2, 3


def sent(count, gap_ms, size=20, client="10.0.0.7", kind=PUBLISH):
    return [Packet(n * gap_ms, client, 5000, True, kind, size, False) for n in range(count)]


def knocks(count, gap_ms, *, refused):
    flow = []
    for n in range(count):
        flow.append(Packet(n * gap_ms, "10.0.0.66", n, True, CONNECT, 30, False))
        flow.append(Packet(n * gap_ms + 1, "10.0.0.66", n, False, CONNACK, 4, refused))
    return flow


def test_there_is_a_row_from_the_eighth_message_on():
    played = mqttset.replay(sent(10, 1000))
    assert played.times_ms.tolist() == [7000, 8000, 9000]
    assert played.values[-1].tolist() == [0.0, 20.0, 0.0, 20.0, 1.0, 0.0, 1.0]


def test_a_connect_that_is_turned_down_is_a_refused_message():
    assert mqttset.replay(knocks(20, 100, refused=True)).values[-1, 0] == 1.0
    assert mqttset.replay(knocks(20, 100, refused=False)).values[-1, 0] == 0.0


def test_a_packet_that_cannot_be_read_is_a_refused_message():
    assert mqttset.replay(sent(20, 100, kind=0)).values[-1, 0] == 1.0


def test_what_the_broker_sends_is_no_message_of_the_device():
    back = [packet._replace(from_client=False) for packet in sent(20, 100)]
    assert len(mqttset.replay(back).values) == 0


def test_every_client_has_statistics_of_its_own():
    flow = sorted(sent(20, 1000) + sent(20, 10, client="10.0.0.8"), key=lambda packet: packet.time_ms)
    played = mqttset.replay(flow)
    gap = 4
    medians = {float(np.nanmedian(played.values[played.devices == device, gap])) for device in (0, 1)}
    assert medians == {1.0, 0.01}


def test_windows_of_ten_seconds_belong_to_one_device_and_go_by_half():
    played = mqttset.Replay(np.zeros((5, 7)), np.array([0, 0, 0, 1, 1]), np.array([1000, 2000, 11_000, 1000, 2000]))
    called = mqttset.windows(np.array([True, False, False, False, False]), played)
    assert called.tolist() == [True, False, False]


def test_the_detectors_find_a_device_that_sends_a_thousand_times_as_often():
    quiet = mqttset.replay(sent(400, 1000) + sent(400, 1100, client="10.0.0.8"))
    loud = mqttset.replay(sent(400, 1, client="10.0.0.9"))
    columns = mqttset.columns_of(quiet.values)
    benign, attack = mqttset.rows_from(columns, quiet.values), mqttset.rows_from(columns, loud.values)
    attack = attack[1:]  # the first row has no gaps yet
    nearest = mqttset.fit_nearest(benign, quiet.devices)
    assert nearest(attack).min() > nearest(benign).max()
    taught = mqttset.fit_logistic([benign, attack])
    assert taught(attack).min() > taught(benign).max()


def test_a_folder_without_captures_is_refused(tmp_path):
    with pytest.raises(DataRefused, match="benign-5mb-train"):
        mqttset.evaluate(tmp_path)


def test_a_file_that_is_no_capture_is_refused_by_its_name(tmp_path):
    (tmp_path / "benign-5mb-train.pcap").write_bytes(b"GIF89a")
    with pytest.raises(DataRefused, match=r"benign-5mb-train\.pcap"):
        mqttset.evaluate(tmp_path)
