"""Our predictors on NAS-Bench-101 and 201 beside scikit-learn's and XGBoost's, on the same rows in one run.

    python tests/evaluate/figures/predictors.py DATA [--seeds 3]

All models learn the same encoded rows and the same normal scores of the accuracies, so that what differs is the model. The GP of
scikit-learn has the kernel of ours without a weight a decision: Matern 5/2, scale and noise, fitted by its optimizer.
"""

import argparse
import os
import warnings

import numpy as np
from scipy.stats import norm, rankdata
from sklearn.ensemble import RandomForestRegressor
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel
from xgboost import XGBRegressor

import modularnas as mn

OURS = ("gp", "forest", "boosting", "mlp", "ensemble")


def rivals(seed):
    kernel = ConstantKernel() * Matern(nu=2.5) + WhiteKernel()
    return {
        "scikit-learn GP": GaussianProcessRegressor(kernel, normalize_y=True, random_state=seed),
        "scikit-learn forest": RandomForestRegressor(100, random_state=seed),
        "XGBoost": XGBRegressor(n_estimators=100, nthread=1, random_state=seed),
    }


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("data")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", default="", help="a part of the benchmark's name and encoding, such as 101, path")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    b201 = mn.benchmarks.NASBench201(os.path.join(arguments.data, "nasbench201.npz"))
    b101 = mn.benchmarks.NASBench101(os.path.join(arguments.data, "nasbench101.npz"))
    for name, bench, metric in (("NAS-Bench-201", b201, "valid_accuracy"), ("NAS-Bench-101", b101, "test_accuracy")):
        for encoding in ("one_hot", "path"):
            if arguments.only not in f"{name}, {encoding}":
                continue
            print(f"{name}, {encoding}: Kendall, mean of {arguments.seeds} seeds")
            rows = {}
            for n in (50, 100, 200, 400):
                for seed in range(arguments.seeds):
                    train, test = draw(bench, metric, n, seed), draw(bench, metric, 500, 1000 + seed)
                    for model, tau in compare(bench.space, encoding, train, test, seed).items():
                        rows.setdefault(model, {}).setdefault(n, []).append(tau)
            for model, columns in rows.items():
                shown = " | ".join(f"{np.mean(taus):.3f}" for taus in columns.values())
                print(f"| {model} | {shown} |", flush=True)


def draw(bench, metric, n, seed):
    """Different points with their accuracies; points of NAS-Bench-101 that are no cell are left out."""
    points = list(dict.fromkeys(bench.space.samples(20 * n, seed=seed)))
    values = bench.query(points, metric)
    values = np.asarray(values[metric] if isinstance(values, dict) else values)
    known = np.flatnonzero(np.isfinite(values))[:n]
    return [points[i] for i in known], values[known]


def compare(space, encoding, train, test, seed):
    found = {}
    for kind in OURS:
        predictor = mn.evaluate.Predictor(space, kind, encoding=encoding, folds=0, seed=seed).fit(*train)
        found[f"ours: {kind}"] = predictor.predict(test[0])[0]
    predictor.encoding.learn(train[0])
    rows, unseen = predictor.encoding.rows(train[0]), predictor.encoding.rows(test[0])
    scores = norm.ppf((rankdata(train[1]) - 0.5) / len(train[1]))
    for name, model in rivals(seed).items():
        found[name] = model.fit(rows, scores).predict(unseen)
    return {name: mn.evaluate.rank_report(means, test[1], resamples=1).kendall for name, means in found.items()}


if __name__ == "__main__":
    main()
