"""The published tables: what they say is what was published, and a benchmark is an evaluator like any other."""

import base64
import itertools
import json
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import modularnas as mn


@pytest.fixture(scope="module")
def nb201(data):
    return mn.benchmarks.NASBench201(data / "nasbench201.npz")


@pytest.fixture(scope="module")
def nb101(data):
    return mn.benchmarks.NASBench101(data / "nasbench101.npz")


def test_nasbench201_is_the_published_table(nb201, data):
    assert nb201.space.size == 15625
    assert nb201.objectives == {"valid_accuracy": "max"}
    assert nb201.fidelities == (12 / 200, 1.0)
    best = {name: nb201.optimum[name] for name in ("valid_accuracy", "test_accuracy")}
    assert best == pytest.approx({"valid_accuracy": 91.61, "test_accuracy": 94.3733}, abs=0.01)
    z = np.load(data / "nasbench201.npz")
    rows = nb201.query(z["ops"].astype(np.int32))
    np.testing.assert_array_equal(rows["test_accuracy"], z["test200"][:, 0].astype(np.float64))
    np.testing.assert_array_equal(rows["latency_raspi4_ms"], z["latency_ms"][:, list(z["devices"]).index("raspi4")])
    np.testing.assert_array_equal(
        nb201.query(z["ops"].astype(np.int32), "valid_accuracy", fidelity=0.1), z["valid12"][:, 0]
    )
    point = nb201.space.point({f"edge_{a}_{b}": "nor_conv_3x3" for b in range(4) for a in range(b)})
    assert nb201.query(point)["params"] == rows["params"].max()


@pytest.mark.parametrize(("dataset", "best"), [("cifar100", 73.5133), ("imagenet16-120", 47.3111)])
def test_other_data_sets(data, dataset, best):
    bench = mn.benchmarks.NASBench201(data / "nasbench201.npz", dataset=dataset)
    assert bench.optimum["test_accuracy"] == pytest.approx(best, abs=1e-3)


def test_the_ways_to_query_agree(nb201):
    points = nb201.space.samples(50, seed=1)
    arrays = nb201.query(nb201.space.indices(points))
    for way in (points, [dict(p) for p in points], iter(points)):
        again = nb201.query(way)
        assert all(np.array_equal(arrays[name], again[name]) for name in nb201.metrics)
    for i, point in enumerate(points):
        assert nb201.query(point, "macs") == nb201.query(dict(point))["macs"] == arrays["macs"][i]
        assert nb201.query(point, ["macs", "params"]) == {"macs": arrays["macs"][i], "params": arrays["params"][i]}


def test_a_study_on_a_benchmark_is_the_same_natively_and_through_python(nb201):
    def run(evaluator):
        study = mn.Study(
            nb201.space, "hyperband", objectives={"valid_accuracy": "max"}, constraints={"params": (None, 6e5)}
        )
        study.optimize(evaluator, trials=100, progress=False)
        return [(t.point, t.state, t.values["valid_accuracy"], t.values["params"], t.fidelity) for t in study.trials]

    class Crossing:
        evaluate = staticmethod(nb201.evaluate)

    assert run(nb201) == run(Crossing())
    study = mn.Study(nb201.space, "random", objectives={"valid_accuracy": "max"})
    study.optimize(nb201, trials=5, progress=False)
    assert set(study.best_trial.values) == {"valid_accuracy", "test_accuracy"}


def test_a_study_that_does_not_fit_is_refused(nb201):
    other = mn.SearchSpace({"a": mn.choice([1, 2])})
    with pytest.raises(mn.StudyError, match="searches another space than benchmark 'nasbench201'"):
        mn.Study(other, "random", objectives={"valid_accuracy": "max"}).optimize(nb201, trials=1)
    with pytest.raises(mn.EvaluationError, match="has no metric 'accuracy'"):
        mn.Study(nb201.space, "random", objectives={"accuracy": "max"}).optimize(nb201, trials=1)


def test_nasbench101_is_the_published_table(nb101):
    assert nb101.space.size == 509_607_936
    assert nb101.objectives == {"test_accuracy": "max"}
    assert nb101.optimum["test_accuracy"] == pytest.approx(94.3176, abs=1e-4)


def bits(n, mask):
    return {(x, y): mask >> (x + y * (y - 1) // 2) & 1 for y in range(n) for x in range(y)}


def as_point(n, mask, ops):
    """A cell of n vertices as a point of the space of seven: its output is vertex 6."""
    place = [*range(n - 1), 6]
    edges = {(place[x], place[y]) for (x, y), bit in bits(n, mask).items() if bit}
    point = {f"edge_{x}_{y}": int((x, y) in edges) for y in range(7) for x in range(y)}
    names = ["conv3x3-bn-relu", "conv1x1-bn-relu", "maxpool3x3"]
    return {**point, **{f"op_{v}": names[ops[v - 1] if v <= len(ops) else 0] for v in range(1, 6)}}


def test_every_cell_of_nasbench101_is_found_by_its_point(nb101, data):
    z = np.load(data / "nasbench101.npz")
    rng = np.random.default_rng(0)
    for row in [int(z["test_k"].argmax()), 0, 1, *rng.integers(len(z["n"]), size=300)]:
        n, code = int(z["n"][row]), int(z["ops"][row])
        ops = [code // 3**k % 3 for k in range(n - 2)]
        found = nb101.query(as_point(n, int(z["adj"][row]), ops))
        assert found == {"test_accuracy": z["test_k"][row] * (100 / 29952), "params": z["params"][row]}
    best = int(z["test_k"].argmax())
    point = as_point(7, int(z["adj"][best]), [int(z["ops"][best]) // 3**k % 3 for k in range(5)])
    assert nb101.cell_key(point) == "02e5a0247bbdcf2860b7e96f74961594"


def test_cells_that_are_none_fail(nb101):
    nothing = as_point(7, 0, [0] * 5)
    with pytest.raises(mn.EvaluationError, match="refuses the point: no path leads from the input to the output"):
        nb101.query(nothing)
    assert np.isnan(nb101.query([nothing], "params"))
    study = mn.Study(nb101.space, "random", objectives=nb101.objectives)
    study.optimize(nb101, trials=100, progress=False)
    failed = [t for t in study.trials if t.state == "failed"]
    assert 10 < len(failed) < 50
    assert {t.error for t in failed} <= {
        "no path leads from the input to the output of the cell",
        "the cell has more than 9 edges",
    }


def test_nasbench_macro(data):
    bench = mn.benchmarks.NASBenchMacro(data / "nasbench_macro.npz")
    assert bench.space.size == 3**8
    assert bench.optimum["test_accuracy"] == pytest.approx(93.1267, abs=1e-3)
    z = np.load(data / "nasbench_macro.npz")
    np.testing.assert_array_equal(bench.query(z["arch"].astype(np.int32), "params"), z["params"])


@pytest.mark.parametrize("dataset", ["cora", "pubmed", "proteins"])
def test_nasbench_graph_knows_every_point_but_the_untrained(data, dataset):
    bench = mn.benchmarks.NASBenchGraph(data / "nasbench_graph.npz", dataset)
    codes = np.array(list(itertools.product(*(range(len(d.choices)) for d in bench.space.decisions))), np.int32)
    assert len(codes) == bench.space.size
    found = np.stack([*bench.query(codes).values()], 1)
    skips = (codes[:, 1:] == len(bench.space.decisions[1].choices) - 1).all(1)
    assert np.isnan(found[skips]).all()
    assert skips.sum() == 9
    # All others are some row of the table, and together they are all of its rows.
    z = np.load(data / "nasbench_graph.npz")
    if dataset == "proteins":
        columns = [z[f"proteins_{name}"] for name in ("valid", "test", "latency_s", "params_M")]
    else:
        d = [*z["datasets"]].index(dataset)
        columns = [z[name][:, d] for name in ("valid", "test", "latency_s", "params_M")]
    rows = np.stack(columns, 1).astype(np.float64) * [100, 100, 1, 1e6]
    np.testing.assert_array_equal(np.unique(found[~skips], axis=0), np.unique(rows, axis=0))


def test_taskset_has_curves(data):
    bench = mn.benchmarks.HPOTaskSet(data / "taskset_adam8p.npz", task=3)
    z = np.load(data / "taskset_adam8p.npz")
    assert len(bench.fidelities) == 50
    row = int(np.nanargmin(z["valid_loss"][3][:, -1]))
    point = dict(zip(map(str, z["hp_names"]), map(float, z["hp"][row]), strict=True))
    assert bench.query(point, "valid_loss") == bench.optimum["valid_loss"] == float(z["valid_loss"][3, row, -1])
    curve = [bench.query(point, "valid_loss", fidelity=step / 50) for step in range(1, 51)]
    np.testing.assert_array_equal(curve, z["valid_loss"][3, row, 1:].astype(np.float64))
    with pytest.raises(mn.EvaluationError, match="task is 12; expected 0 to 11 or a name"):
        mn.benchmarks.HPOTaskSet(data / "taskset_adam8p.npz", task=12)


@pytest.mark.parametrize("make", [mn.benchmarks.NASBench201, mn.benchmarks.NASBench101, mn.benchmarks.NASBenchGraph])
def test_missing_and_wrong_files_are_one_clear_error(make, tmp_path):
    with pytest.raises(
        mn.EvaluationError, match=r"there is no file '.*'; expected the NAS-Bench-.* table, an npz file with"
    ):
        make(tmp_path / "none.npz")
    text = tmp_path / "text.npz"
    text.write_text("hello")
    with pytest.raises(mn.EvaluationError, match="cannot be read"):
        make(text)
    np.savez(tmp_path / "other.npz", ops=np.zeros(3))
    with pytest.raises(mn.EvaluationError, match="has no array"):
        make(tmp_path / "other.npz")


def test_wrong_arguments_are_explained(nb201, data):
    with pytest.raises(mn.EvaluationError, match="NASBench201 has no dataset 'mnist'; known: cifar10, cifar100"):
        mn.benchmarks.NASBench201(data / "nasbench201.npz", dataset="mnist")
    with pytest.raises(mn.EvaluationError, match="fidelity is 0"):
        nb201.query(nb201.space.sample(), fidelity=0)
    with pytest.raises(mn.EvaluationError, match="did you mean 'test_accuracy'"):
        nb201.query(nb201.space.sample(), "test_acuracy")
    with pytest.raises(mn.SpaceError, match="edge_0_1"):
        nb201.query(np.full((2, 6), 5, np.int32))
    with pytest.raises(mn.EvaluationError, match="the array has 5 columns; expected 6"):
        nb201.query(np.zeros((2, 5), np.int32))


# --- the official file of NAS-Bench-101, written here in its exact format ---------------------------------------------


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def masked(data):
    crc = crc32c(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def varint(n):
    out = b""
    while n >= 0x80:
        out += bytes([n & 0x7F | 0x80])
        n >>= 7
    return out + bytes([n])


def record(key, epochs, matrix, ops, params, moments):
    metrics = b""
    for moment in moments:
        inner = b"".join(bytes([field << 3 | 1]) + struct.pack("<d", x) for field, x in enumerate(moment, 1))
        metrics += b"\x0a" + varint(len(inner)) + inner
    metrics += b"\x10" + varint(params) + b"\x19" + struct.pack("<d", 20.0)
    payload = json.dumps([key, epochs, matrix, ops, base64.b64encode(metrics).decode()]).encode()
    length = struct.pack("<Q", len(payload))
    return length + struct.pack("<I", masked(length)) + payload + struct.pack("<I", masked(payload))


@pytest.fixture(scope="module")
def official():
    """Two cells at 108 epochs, three trainings each."""
    out = b""
    for repeat in range(3):
        for key, matrix, ops, base in [
            ("043721b9c7fe8c5fad811d47d83132ec", "0100", "input,output", 0.8),
            ("0" * 31 + "1", "010001000", "input,maxpool3x3,output", 0.7),
        ]:
            a = base + repeat / 100
            moments = [(0, 0, 0.1, 0.1, 0.1), (54, 10, a / 2, a / 2, a / 2), (108, 20, a + 0.1, a, a - 0.01)]
            out += record(key, 108, matrix, ops, 1000 + len(ops), moments)
    return out


def test_the_official_file_is_read(official, tmp_path):
    path = tmp_path / "nasbench_only108.tfrecord"
    path.write_bytes(official)
    for _ in range(2):  # the second time from the compact copy
        bench = mn.benchmarks.NASBench101(path)
        assert bench.objectives == {"valid_accuracy": "max"}
        assert bench.fidelities == (0.5, 1.0)
        expected = {
            "valid_accuracy": 81,
            "test_accuracy": 80,
            "train_accuracy": 91,
            "training_seconds": 20,
            "params": 1012,
        }
        assert bench.query(as_point(2, 1, [])) == pytest.approx(expected, abs=1e-4)
        assert bench.query(as_point(3, 0b101, [2]), "valid_accuracy", fidelity=0.5) == pytest.approx(35.5, abs=1e-4)
        assert path.with_suffix(".compact").is_file()
    single = mn.benchmarks.NASBench101(path, repeat=2, cache=False)
    assert single.query(as_point(2, 1, []), "valid_accuracy") == pytest.approx(82, abs=1e-4)
    with pytest.raises(mn.EvaluationError, match="repeat is 3; expected 0, 1, 2"):
        mn.benchmarks.NASBench101(path, repeat=3)
    with pytest.raises(mn.EvaluationError, match="there is no file"):
        mn.benchmarks.NASBench101(tmp_path / "none.tfrecord")


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_a_damaged_official_file_is_an_error(official, tmp_path_factory, data):
    place = data.draw(st.integers(0, len(official) - 1))
    bad = bytearray(official)
    bad[place] ^= data.draw(st.integers(1, 255))
    if data.draw(st.booleans()):
        bad = bad[:place]
    path = tmp_path_factory.mktemp("nb") / "damaged.tfrecord"
    path.write_bytes(bad)
    with pytest.raises(mn.EvaluationError, match=r"damaged\.tfrecord' is not an official NAS-Bench-101 file|in a cell"):
        mn.benchmarks.NASBench101(path, cache=False)
