"""Extrapolated learning curves on TaskSet beside the last value that was seen.

python tests/evaluate/figures/learning_curves.py DATA
"""

import os
import sys

import numpy as np

import modularnas as mn


def main():
    z = np.load(os.path.join(sys.argv[1], "taskset_adam8p.npz"))
    rng = np.random.default_rng(0)
    print("task | steps | Kendall of the last value, extrapolated | median error of both | within two deviations")
    for task in range(0, 12, 3):
        curves = z["valid_loss"][task].astype(float)
        curves = curves[np.isfinite(curves).all(1) & (curves.max(1) < 100)]
        curves = np.log(curves[rng.choice(len(curves), min(120, len(curves)), replace=False)])
        end = curves[:, -1]
        for steps in (5, 10, 20):
            mean, std = np.array([mn.evaluate.extrapolate(curve[1 : steps + 1], 50) for curve in curves]).T
            last = curves[:, steps]
            taus = [mn.evaluate.rank_report(guess, end, resamples=1).kendall for guess in (last, mean)]
            errors = [np.median(np.abs(guess - end)) for guess in (last, mean)]
            within = np.mean(np.abs(mean - end) <= 2 * std)
            print(f"{task} | {steps} | {taus[0]:.3f}, {taus[1]:.3f} | {errors[0]:.4f}, {errors[1]:.4f} | {within:.0%}")


if __name__ == "__main__":
    main()
