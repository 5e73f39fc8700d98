"""Three tasks on real data, end to end: `image`, `voice`, `recommendation` (the experiments of ModularNAS).

A task is data, a ready space and a recipe: it trains a baseline, random architectures and a supernet, searches, trains
what was found as long as the others, and writes a card and the exported network. One task is one file with a function
that reads data and gives a `Task`; `recipe` runs any of them. The room is a user of all others.
"""

from modularnas.tasks import image, recommendation, voice
from modularnas.tasks.recipe import Batches, Plan, Result, Task, names, register, run

__all__ = ["Batches", "Plan", "Result", "Task", "image", "names", "recommendation", "register", "run", "voice"]
