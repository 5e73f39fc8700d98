"""A process for one stage: `python -m modularnas.pipeline TASK`, started by `executor="processes"`."""

import json
import os
import sys
import threading

from modularnas.pipeline.execute import Task, execute


def _end_with_the_parent() -> None:
    os.read(0, 1)  # ends when the pipe's other side is closed, however that process ended
    os._exit(1)


if __name__ == "__main__":
    threading.Thread(target=_end_with_the_parent, daemon=True).start()
    record = json.loads(sys.argv[1])
    sources = {argument: tuple(source) for argument, source in record.pop("inputs").items()}
    execute(Task(**record, inputs=sources))
