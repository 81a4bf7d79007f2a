"""RT-IoT2022 and SKAB are read and split as their pages say; a plot says in words what it shows."""

from __future__ import annotations

from xml.etree import ElementTree as ET

import pytest

np = pytest.importorskip("numpy")

from gateway.training import plot, rtiot, rtiot_evaluate, skab  # noqa: E402 -- after the skip
from gateway.training.data import DataRefused  # noqa: E402 -- likewise
from gateway.training.metrics import roc  # noqa: E402 -- likewise

NUMBERS = 79
HEAD = ["", "id.orig_p", "id.resp_p", "proto", "service", *(f"n{at}" for at in range(NUMBERS)), "Attack_type"]


@pytest.fixture(scope="module")
def flows_folder(tmp_path_factory):
    generator, place, lines = np.random.default_rng(2), tmp_path_factory.mktemp("rt"), [",".join(HEAD)]
    kinds = ["MQTT_Publish"] * 60 + ["Thing_Speak"] * 40 + ["DOS_SYN_Hping"] * 50 + ["NMAP_FIN_SCAN"] * 10
    for number, kind in enumerate(kinds):
        attack = kind not in rtiot.NORMAL
        fixed = kind == "DOS_SYN_Hping"
        values = (
            ["7"] * NUMBERS if fixed else [f"{generator.exponential(9 if attack else 2):.4f}" for _ in range(NUMBERS)]
        )
        lines.append(",".join([str(number), str(number), "1883", "tcp", "mqtt", *values, kind]))
    lines.append(lines[1].replace("0,0,", "999,0,", 1))
    (place / "RT_IOT2022.csv").write_text("\n".join(lines) + "\n")
    return place


def test_duplicates_index_and_ports_are_dropped(flows_folder):
    flows = rtiot.read(flows_folder)
    assert (len(flows), flows.dropped) == (160, 1)
    assert not {"", "id.orig_p", "id.resp_p", "Attack_type"} & set(flows.features)
    assert flows.kinds == ("DOS_SYN_Hping", "MQTT_Publish", "NMAP_FIN_SCAN", "Thing_Speak")
    assert int(flows.attack.sum()) == 60


def test_a_flood_without_its_ports_is_one_vector_and_falls_into_one_fold(flows_folder):
    flows = rtiot.read(flows_folder)
    assert len(rtiot.firsts(flows)) == 111
    for part in rtiot.folds_by_vector(flows, 5, seed=1):
        assert not set(flows.vector[part.train]) & set(flows.vector[part.held])
    leaking = [set(flows.vector[p.train]) & set(flows.vector[p.held]) for p in rtiot.folds_by_row(flows, 5, seed=1)]
    assert all(leaking)


def test_a_class_is_thinned_to_at_most_so_many(flows_folder):
    flows = rtiot.read(flows_folder)
    kept = rtiot.thinned(flows, np.arange(len(flows)), 20, seed=1)
    assert np.bincount(flows.kind[kept]).tolist() == [20, 20, 10, 20]


def test_a_normal_only_detector_is_measured_over_all_folds(flows_folder):
    found = rtiot_evaluate.novelty("PCA residual, 8", rtiot.read(flows_folder))
    assert found.auc > 0.9
    assert found.at_threshold.recall > 0.5


def test_another_flow_file_is_refused(tmp_path):
    (tmp_path / "RT_IOT2022.csv").write_text("a,b\n1,2\n")
    with pytest.raises(DataRefused, match="85 columns"):
        rtiot.read(tmp_path)


def series(name, length=700, at=(500, 560), seed=1):
    generator = np.random.default_rng(seed)
    values = generator.normal(size=(length, skab.SENSORS))
    anomaly = np.zeros(length, dtype=bool)
    anomaly[slice(*at)] = True
    return skab.Series(name, values + 25.0 * anomaly[:, None], anomaly)


def test_the_look_ahead_rule_waits_for_every_window_and_the_causal_one_for_none():
    one = series("valve1/0")
    fitted = skab.WindowPca.of(one.values[:400], one.values[400:])
    causal, ahead = fitted.causal(300), fitted.ahead(300)
    assert causal[100:160].all()
    assert causal[160:218].all()
    assert not causal[:100].any()
    assert not causal[230:].any()
    assert set(np.flatnonzero(ahead)) <= set(range(95, 165))
    assert ahead[101:159].all()


def test_every_skab_method_is_told_with_its_false_alarms():
    every = [series("valve1/0"), series("valve1/1", seed=2), series("other/1", at=(600, 650), seed=3)]
    found = {pooled.method: pooled for pooled in skab.evaluate(every, series("free", at=(0, 0), seed=4))}
    assert len(found) == 5
    assert found["always anomalous"].figures.false_alarms == 1.0
    assert found["row positions of valve1, no sensor"].figures.recall == pytest.approx(120 / 170)
    assert found["window PCA, causal"].alarms_on_free == pytest.approx(0.0, abs=0.05)


def test_a_skab_file_is_read_and_another_refused(tmp_path):
    head = ";".join(["datetime", *(f"s{at}" for at in range(8)), "anomaly", "changepoint"])
    (tmp_path / "0.csv").write_text(head + "\n" + "2020-01-01;" + ";".join(["1.5"] * 8) + ";1.0;0.0\n")
    one = skab.read_file(tmp_path / "0.csv")
    assert one.values.shape == (1, 8)
    assert one.anomaly.tolist() == [True]
    (tmp_path / "1.csv").write_text("a;b\n1;2\n")
    with pytest.raises(DataRefused, match="eight sensors"):
        skab.read_file(tmp_path / "1.csv")


def test_a_plot_is_small_wellformed_and_described():
    generator = np.random.default_rng(1)
    attack = np.repeat([True, False], 5000)
    curve = roc(attack, generator.normal(size=10000) + 2 * attack)
    text = plot.draw("A < B", "What it shows.", [plot.Curve("one & only", curve, (0.05, 0.6))])
    root = ET.fromstring(text)
    assert [child.text for child in root[:2]] == ["A < B", "What it shows."]
    assert "prefers-color-scheme: dark" in text
    assert len(text) < 20_000
    with pytest.raises(ValueError, match="told apart"):
        plot.draw("", "", [plot.Curve("", curve, (0, 0))] * 7)
