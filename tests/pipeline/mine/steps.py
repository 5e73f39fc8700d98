"""A user's stages for processes of their own."""

import os
import signal


def look(number):
    print("looking at", number)
    return {"trials": [{"point": {"n": i}, "values": {"x": i % number, "y": -i}} for i in range(10)]}


def count(checkpoint, folder, to, die_at=None):
    """Counts, and is killed once on the way."""
    state = checkpoint.load() or {"n": 0, "began_at": []}
    state["began_at"].append(state["n"])
    while state["n"] < to:
        state["n"] += 1
        checkpoint.save(**state)
        if state["n"] == die_at and not (folder / "died").exists():
            (folder / "died").touch()
            os.kill(os.getpid(), signal.SIGKILL)
    return state


def refuse(reason):
    raise ValueError(reason)
