"""Non-dominated sorting, the first front and the hypervolume of NumPy arrays, against moocore and pymoo."""

import numpy as np
import pytest

import modularnas as mn

pytestmark = pytest.mark.benchmark


def cloud(kind, n, m):
    """Uniform points, or points near a trade-off surface (few fronts, a large first one)."""
    rng = np.random.default_rng(n + m)
    if kind == "uniform":
        return rng.random((n, m))
    sphere = np.abs(rng.standard_normal((n, m)))
    sphere /= np.linalg.norm(sphere, axis=1, keepdims=True)
    return 1 - sphere * (1 - 0.02 * rng.random((n, 1)))


def report(title, times):
    ours, *rivals = times.items()
    ratios = "".join(f"   {name} {1e3 * time:9.3f} ms  {ours[1] / time:5.2f}" for name, time in rivals)
    print(f"  {title:34} {1e3 * ours[1]:9.3f} ms{ratios}")


@pytest.mark.parametrize("m", [2, 3, 4])
def test_sorting(m, seconds, installed):
    print(f"\nranks and first front of {m} losses: ours, rivals, ours / rival")
    moocore = installed("moocore")
    pymoo = installed("pymoo.util.nds.non_dominated_sorting")
    for kind in ("uniform", "front"):
        for n in (1_000, 10_000, 100_000):
            losses = cloud(kind, n, m)
            ranks = {"ours": lambda losses=losses: mn.pareto_ranks(losses)}
            front = {"ours": lambda losses=losses: mn.pareto_front(losses)}
            if moocore:
                ranks["moocore"] = lambda losses=losses: moocore.pareto_rank(losses)
                front["moocore"] = lambda losses=losses: moocore.is_nondominated(losses, keep_weakly=True)
                np.testing.assert_array_equal(mn.pareto_ranks(losses), ranks["moocore"]())
            if pymoo and n < 100_000:
                ranks["pymoo"] = lambda losses=losses: pymoo.NonDominatedSorting().do(losses)
            report(f"ranks, {kind}, {n}", seconds(ranks, at_least=0.01))
            report(f"front, {kind}, {n}", seconds(front, at_least=0.01))


@pytest.mark.parametrize("m", [2, 3, 4])
def test_hypervolume(m, seconds, installed):
    print(f"\nhypervolume of a front of {m} losses: ours, moocore, ours / moocore")
    moocore = installed("moocore")
    reference = np.full(m, 1.1)
    for n in (1_000, 10_000, 100_000):
        losses = cloud("front", n, m)
        runs = {"ours": lambda losses=losses: mn.hypervolume(losses, reference)}
        if moocore:
            runs["moocore"] = lambda losses=losses: moocore.hypervolume(losses, ref=reference)
            assert runs["ours"]() == pytest.approx(runs["moocore"](), rel=1e-12)
        report(f"{n}", seconds(runs, at_least=0.01))
