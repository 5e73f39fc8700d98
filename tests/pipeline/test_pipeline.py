"""Pipelines in Python: order, results on disk, what is run again, failures, resuming inside a stage."""

import json
import sys
import threading
from pathlib import Path
from typing import TypedDict

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import modularnas as mn
from modularnas.pipeline.result import decode, encode, read_result
from modularnas.pipeline.stage import fingerprint


def test_results_come_back_as_they_were_stored_whether_the_stage_ran_or_not(tmp_path):
    space = mn.SearchSpace({"k": mn.choice([3, 5])})

    def make(folder):
        folder.joinpath("a.txt").write_text("hello")
        weights = torch.arange(3.0)
        return {
            "state": {"w": weights, "also": weights, "half": torch.ones(2, 2, dtype=torch.bfloat16)},
            "array": np.arange(4, dtype=np.int16),
            "point": space.point({"k": 5}),
            "file": folder / "a.txt",
            "numbers": [np.float32(0.5), 2, True, None, (1, "x")],
            "$odd": {"$tensor": "no tensor"},
        }

    pipeline = mn.Pipeline({"make": mn.Stage(make)})
    for _ in range(2):
        result = pipeline.run(tmp_path / "out")["make"]
        assert torch.equal(result["state"]["w"], torch.arange(3.0))
        assert result["state"]["w"] is not result["state"]["also"]
        assert result["state"]["half"].dtype is torch.bfloat16
        assert result["array"].dtype == np.int16
        assert result["array"].tolist() == [0, 1, 2, 3]
        assert result["point"] == {"k": 5}
        assert result["file"].read_text() == "hello"
        assert result["numbers"] == [0.5, 2, True, None, [1, "x"]]
        assert result["$odd"] == {"$tensor": "no tensor"}


DATA = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(DATA)
@settings(deadline=None, max_examples=60)
def test_any_data_comes_back(value):
    encoded, tensors = encode(value, where="x", folder=None)
    assert decode(json.loads(json.dumps(encoded)), tensors, Path()) == value


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        ([1], "stage 'a' returned a list; expected a dict of results"),
        (
            {"net": torch.nn.Linear(1, 1)},
            r"the output 'a.net' is a Linear; expected data, tensors or paths. Of a network",
        ),
        ({"x": {1: 2}}, "the output 'a.x' has the key 1; expected text as keys"),
        ({"x": Path("/nowhere")}, None),
    ],
)
def test_a_result_that_is_no_data(returned, message, tmp_path):
    pipeline = mn.Pipeline({"a": mn.Stage(lambda: returned)})
    if message is None:
        assert pipeline.run(tmp_path)["a"] == {"x": "/nowhere"}  # a path elsewhere is text
        return
    with pytest.raises(mn.PipelineError, match=message):
        pipeline.run(tmp_path)


def counted():
    ran = []

    def first(width):
        ran.append("first")
        return {"even": width % 2 == 0, "width": width}

    def second(even):
        ran.append("second")
        return {"text": f"even: {even}"}

    def pipeline(width):
        return mn.Pipeline(
            {
                "first": mn.Stage(first, arguments={"width": width}),
                "second": mn.Stage(second, {"even": "first.even"}),
            }
        )

    return ran, pipeline


def test_only_what_depends_on_a_change_runs_again(tmp_path):
    ran, pipeline = counted()
    pipeline(2).run(tmp_path)
    pipeline(2).run(tmp_path)
    assert ran == ["first", "second"]
    pipeline(4).run(tmp_path)  # another width, but the input of the second is the same
    assert ran == ["first", "second", "first"]
    pipeline(2).run(tmp_path)  # the earlier result was put aside
    assert ran == ["first", "second", "first"]
    assert pipeline(4).plan(tmp_path).splitlines()[0].startswith("first   to run again: it changed")
    pipeline(2).run(tmp_path, force=["second"])
    assert ran[3:] == ["second"]
    pipeline(2).run(tmp_path, seed=1)
    assert ran[4:] == ["first", "second"]


def test_a_damaged_result_is_made_again(tmp_path):
    def make(folder):
        folder.joinpath("x.bin").write_bytes(b"1234")
        return {"w": torch.ones(100), "x": folder / "x.bin"}

    pipeline = mn.Pipeline({"make": mn.Stage(make)})
    stage = tmp_path / "stages" / "make"
    for damage in (
        lambda: (stage / "tensors.pt").write_bytes(b"no tensors"),
        lambda: (stage / "x.bin").unlink(),
        lambda: (stage / "x.bin").write_bytes(b"12345"),
        lambda: (stage / "result.json").write_text('{"key": "'),
    ):
        pipeline.run(tmp_path)
        assert read_result(stage).intact()
        damage()
        result = pipeline.run(tmp_path)["make"]
        assert torch.equal(result["w"], torch.ones(100))
        assert result["x"].read_bytes() == b"1234"


def test_a_result_is_data_and_opening_it_runs_no_code(tmp_path):
    class Evil:
        def __reduce__(self):
            return (exec, ("raise SystemExit(3)",))

    ran = []
    pipeline = mn.Pipeline({"make": mn.Stage(lambda: ran.append(1) or {"w": torch.ones(2)})})
    pipeline.run(tmp_path)
    torch.save(Evil(), tmp_path / "stages" / "make" / "tensors.pt")
    pipeline.run(tmp_path)
    assert len(ran) == 2


def test_stages_that_are_ready_run_at_once(tmp_path):
    meet = threading.Barrier(2, timeout=20)

    def wait():
        meet.wait()
        return {"ok": True}

    stages = {"a": mn.Stage(wait), "b": mn.Stage(wait)}
    stages["c"] = mn.Stage(lambda a, b: {"both": a and b}, {"a": "a.ok", "b": "b.ok"})
    assert mn.Pipeline(stages).run(tmp_path, workers=2)["c"] == {"both": True}


def test_a_failure_ends_only_what_needs_it_and_is_told_with_its_cause(tmp_path):
    def fail():
        raise ZeroDivisionError("by nothing")

    stages = {
        "bad": mn.Stage(fail),
        "after_bad": mn.Stage(lambda x: {}, {"x": "bad.x"}),
        "good": mn.Stage(lambda: {"x": 1}),
        "after_good": mn.Stage(lambda x: {"x": x + 1}, {"x": "good.x"}),
    }
    with pytest.raises(mn.PipelineError) as caught:
        mn.Pipeline(stages).run(tmp_path)
    assert str(caught.value).startswith(
        "stage 'bad' failed: ZeroDivisionError: by nothing; not run: after_bad (traceback in "
    )
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    assert "ZeroDivisionError" in (tmp_path / "stages" / "bad" / "error.txt").read_text()
    assert read_result(tmp_path / "stages" / "after_good").value() == {"x": 2}


class Found(TypedDict):
    best: int


def promise() -> Found:
    return {"best": 1}


def break_promise() -> Found:
    return {}


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        ({}, "a pipeline is given no stages"),
        ({"a": promise}, "stage 'a' is a function; expected mn.Stage"),
        ({"a/b": mn.Stage(promise)}, "stage name 'a/b'; expected letters"),
        ({"a": mn.Stage(lambda x: {}, {"x": "search.best"}), "serch": mn.Stage(promise)}, "stage 'a' needs 'search', which is no stage; did you mean 'serch'"),
        ({"a": mn.Stage(lambda x: {}, {"x": "b.bst"}), "b": mn.Stage(promise)}, "stage 'a': 'x' is 'b.bst', and 'b' has no such output; did you mean 'best'"),
        ({"a": mn.Stage(lambda x: {}, {"x": "b.y"}), "b": mn.Stage(lambda y: {}, {"y": "a.x"})}, "the stages form a cycle: a -> b -> a|the stages form a cycle: b -> a -> b"),
        ({"a": mn.Stage(lambda x: {})}, "stage 'a': <lambda> needs 'x'; give it as an input"),
        ({"a": mn.Stage(break_promise)}, "stage 'a' promises the output 'best' and did not return it"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_before_anything_runs(stages, message, tmp_path):
    with pytest.raises(mn.PipelineError, match=message):
        mn.Pipeline(stages).run(tmp_path)


def test_wrong_stages_and_runs(monkeypatch):
    with pytest.raises(mn.PipelineError, match="a stage is given a int; expected a function"):
        mn.Stage(3)
    with pytest.raises(mn.PipelineError, match="promise has no argument 'x'"):
        mn.Stage(promise, arguments={"x": 1})
    with pytest.raises(mn.PipelineError, match="'x' is both an input and an argument"):
        mn.Stage(lambda x: {}, {"x": "a.b"}, arguments={"x": 1})
    with pytest.raises(mn.PipelineError, match="'nowhere:f' cannot be imported"):
        mn.Stage("nowhere:f")
    with pytest.raises(mn.PipelineError, match=r"there is no 'dmps' in json; did you mean 'dumps'"):
        mn.Stage("json:dmps")
    pipeline = mn.Pipeline({"a": mn.Stage(promise)})
    with pytest.raises(mn.PipelineError, match="executor is 'thread'; did you mean 'threads'"):
        pipeline.run("out", executor="thread")
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "ray", None)
        with pytest.raises(mn.MissingExtraError, match=r'executor="ray" needs Ray: pip install "modularnas\[ray\]"'):
            pipeline.run("out", executor="ray")
    with pytest.raises(mn.PipelineError, match="stage 'a' is a function of this process; a process of its own needs"):
        mn.Pipeline({"a": mn.Stage(lambda: {})}).run("out", executor="processes")
    with pytest.raises(mn.PipelineError, match="workers is 0; expected 1 or more"):
        pipeline.run("out", workers=0)
    with pytest.raises(mn.PipelineError, match="force names 'b', which is no stage"):
        pipeline.run("out", force="b")
    assert not Path("out").exists()


def test_an_output_that_is_not_there_is_told_when_its_stage_is_done(tmp_path):
    stages = {"a": mn.Stage(lambda: {"best": {"lr": 1}}), "b": mn.Stage(lambda x: {}, {"x": "a.best.lrr"})}
    with pytest.raises(
        mn.PipelineError, match="stage 'b' failed: 'x' is 'a.best.lrr', and there is no 'lrr'; did you mean 'lr'"
    ):
        mn.Pipeline(stages).run(tmp_path)


def test_one_folder_has_one_run(tmp_path, monkeypatch):
    monkeypatch.setattr("modularnas.pipeline.folder._PATIENCE_S", 0.1)
    pipeline = mn.Pipeline({"a": mn.Stage(promise)})

    def again():
        pipeline.run(tmp_path)
        return {}

    with pytest.raises(mn.PipelineError, match="is in use by another run"):
        mn.Pipeline({"outer": mn.Stage(again)}).run(tmp_path)


def train(checkpoint, report, stop_at, epochs=6):
    state = checkpoint.load() or {"epoch": 0, "w": torch.zeros(3), "seen": []}
    for epoch in range(state["epoch"], epochs):
        if epoch == stop_at.get("epoch"):
            stop_at.clear()
            raise KeyboardInterrupt
        w = state["w"] + torch.randn(3) + float(np.random.rand())
        state = {"epoch": epoch + 1, "w": w, "seen": [*state["seen"], epoch]}
        report(epoch, norm=w.norm())
        checkpoint.save(**state)
    return {"w": state["w"], "seen": state["seen"]}


@pytest.mark.filterwarnings("ignore")  # of tensorboard's imports
def test_a_stage_goes_on_inside_where_it_was_with_the_same_random_numbers(tmp_path):
    def pipeline(stop_at):
        return mn.Pipeline({"train": mn.Stage(lambda checkpoint, report: train(checkpoint, report, stop_at))})

    whole = pipeline({}).run(tmp_path / "whole")["train"]
    cut = {"epoch": 4}
    with pytest.raises(KeyboardInterrupt):
        pipeline(cut).run(tmp_path / "cut")
    assert cut == {}
    np.random.rand(), torch.randn(1)
    resumed = pipeline(cut).run(tmp_path / "cut")["train"]
    assert resumed["seen"] == [0, 1, 2, 3, 4, 5]
    assert torch.equal(resumed["w"], whole["w"])
    metrics = [json.loads(line) for line in (tmp_path / "cut/stages/train/metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in metrics] == [0, 1, 2, 3, 4, 5]


def test_the_run_folder_says_what_ran_and_where(tmp_path):
    pipeline = mn.Pipeline({"a": mn.Stage(promise, after=())}, name="mine")
    pipeline.run(tmp_path, seed=7)
    pipeline.run(tmp_path, seed=7)
    record = json.loads((tmp_path / "pipeline.json").read_text())
    assert (record["name"], record["seed"]) == ("mine", 7)
    starts = json.loads((tmp_path / "environment.json").read_text())
    assert len(starts) == 2
    assert starts[0]["torch"] == torch.__version__
    log = (tmp_path / "log.txt").read_text()
    assert "a: started" in log
    assert "a: done before" in log


def test_every_stage_has_random_numbers_of_its_own(tmp_path):
    def draw():
        return {"x": torch.rand(1).item()}

    one = mn.Pipeline({"a": mn.Stage(draw), "b": mn.Stage(draw)}).run(tmp_path / "1", workers=1)
    assert one["a"] != one["b"]
    torch.rand(3)
    assert mn.Pipeline({"b": mn.Stage(draw)}).run(tmp_path / "2")["b"] == one["b"]


def test_processes_give_the_same_results_and_failures(tmp_path):
    def stages(number):
        return {
            "half": mn.Stage("fractions:Fraction", arguments={"numerator": 1}),
            "ready": mn.Stage("modularnas.pipeline.stages.pareto:pareto", {"a": "look.trials"}, arguments={"objectives": {"x": "max", "y": "min"}}),
            "look": mn.Stage(f"{Path(__file__).parent / 'mine' / 'steps.py'}:look", arguments={"number": number}),
        }  # fmt: skip

    with pytest.raises(mn.PipelineError, match="stage 'half' failed: .*stage 'half' returned a Fraction"):
        mn.Pipeline(stages(3)).run(tmp_path / "p", executor="processes", workers=2)
    with pytest.raises(mn.PipelineError, match="stage 'half' returned a Fraction"):
        mn.Pipeline(stages(3)).run(tmp_path / "t")
    one, other = (read_result(tmp_path / place / "stages" / "ready").outputs for place in "pt")
    assert one == other
    assert "looking at 3" in (tmp_path / "p/stages/look/log.txt").read_text()


def test_a_fingerprint_is_the_code_and_what_it_stands_on():
    def make(constant, listed):
        def f(x, y=2):
            return [x + y + constant, listed]

        return f

    assert fingerprint(make(1, [])) == fingerprint(make(1, [3]))
    assert fingerprint(make(1, [])) != fingerprint(make(2, []))
    assert fingerprint(lambda x: x + 1) == fingerprint(lambda x: x + 1)
    assert fingerprint(lambda x: x + 1) != fingerprint(lambda x: x + 2)
    assert fingerprint(lambda x: x.a) != fingerprint(lambda x: x.b)


def test_the_picture_shows_every_stage_and_what_is_done(tmp_path):
    import xml.etree.ElementTree as ElementTree

    stages = {"a": mn.Stage(promise), "b": mn.Stage(lambda x: {"y": x}, {"x": "a.best"})}
    stages["c"] = mn.Stage(lambda x, y: {}, {"x": "a.best", "y": "b.y"})
    pipeline = mn.Pipeline(stages)
    pipeline.run(tmp_path)
    root = ElementTree.fromstring(pipeline.svg(tmp_path))
    texts = [element.text for element in root.iter() if element.text]
    assert {"a", "b", "c", "x ← a.best", "y ← b.y"} <= set(texts)
    assert sum(element.get("fill") == "#d9ead3" for element in root.iter()) == 3
    # a -> c follows from a -> b -> c
    assert sum(element.get("marker-end") is not None for element in root.iter()) == 2
    assert pipeline._repr_svg_().count("#d9ead3") == 0


def test_two_runs_in_one_process_never_touch_each_other(tmp_path):
    results = {}

    def run(seed):
        space = mn.SearchSpace({"x": mn.real(0, 1)})

        def search(seed, folder):
            study = mn.Study(space, mn.search.Random(), {"x": "max"}, storage=folder / "study.db", seed=seed)
            study.optimize(lambda point: point["x"], trials=20, progress=False)
            return {"points": [dict(trial.point) for trial in study.trials]}

        results[seed] = mn.Pipeline({"search": mn.Stage(search)}).run(tmp_path / str(seed), seed=seed)["search"]

    threads = [threading.Thread(target=run, args=(seed,)) for seed in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    together = dict(results)
    for seed in (0, 1):
        (tmp_path / str(seed)).rename(tmp_path / f"old{seed}")
        run(seed)
    assert together == results
    assert results[0] != results[1]
