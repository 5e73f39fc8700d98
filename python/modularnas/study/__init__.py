"""The study (the paper's Algorithm 1): the loop over a search algorithm and an evaluator, and its memory.

The loop and the file are the native half's. Here is what a user types (`study.py`), what happens when something goes
wrong (`faults.py`, `interrupt.py`), evaluation in processes of one machine (`processes.py`, `worker.py`), and the ways
out and in (`tables.py`, `optuna.py`).
"""

from modularnas.study.study import Study

__all__ = ["Study"]
