"""Pipelines: stages that use one another's results, in a folder where a run that was cut goes on.

A graph (`pipeline.py`) of functions (`stage.py`), run in some place (`execute.py`), with results that are data
(`result.py`) in a run folder (`folder.py`); described in Python or in YAML (`described.py`). The ready stages are in
`stages/`, one a file; copy `stages/derive.py`. `published/` has the pipelines of the papers. The room knows the other
rooms only in `stages/`.
"""

from modularnas.pipeline.checkpoint import Checkpoint
from modularnas.pipeline.pipeline import Pipeline
from modularnas.pipeline.stage import Stage

__all__ = ["Checkpoint", "Pipeline", "Stage"]
