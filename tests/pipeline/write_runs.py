"""Runs the published pipelines and the user's in small size, and writes the table of docs/pipelines.md.

    python tests/pipeline/write_runs.py run NAME DATA OUT       one of them, in OUT/NAME; goes on where it was cut
    python tests/pipeline/write_runs.py table OUT               the table of all that are in OUT

One thread. A run is `modularnas run NAME --small`; here its CPU time is taken as well.
"""

import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

from modularnas.pipeline.result import read_result

MINE = Path(__file__).parent / "mine" / "mine.yaml"
#: The stages whose networks are compared: searched, and what it has to beat.
PAIRS = {
    "morphism": ("evaluate", "evaluate_given"),
    "mine": ("evaluate", "evaluate_given"),
}


def run(name: str, data: str, out: Path) -> None:
    file = MINE if name == "mine" else name
    command = [sys.executable, "-m", "modularnas", "run", str(file), "--small", "--set", f"data={data}"]
    started_s = time.monotonic()
    subprocess.run([*command, "--out", str(out / name)], check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    took = {"wall_s": time.monotonic() - started_s, "cpu_s": usage.ru_utime + usage.ru_stime}
    times = out / f"{name}.json"
    before = json.loads(times.read_text()) if times.is_file() else []
    times.write_text(json.dumps([*before, took]))


def table(out: Path) -> None:
    print(
        "| pipeline | stages | accuracy, searched | MACs | accuracy, not searched | MACs | CPU min | wall min | seed |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    for times in sorted(out.glob("*.json")):
        name = times.stem
        took = json.loads(times.read_text())
        stages = [folder for folder in sorted((out / name / "stages").iterdir()) if not folder.name.startswith(".")]
        cells = []
        for stage in PAIRS.get(name, ("evaluate", "evaluate_unsearched")):
            values = read_result(out / name / "stages" / stage).value()["values"]
            cells += [f"{100 * values['accuracy']:.1f} %", f"{values['macs'] / 1e6:.2f} M"]
        cpu, wall = (sum(row[key] for row in took) / 60 for key in ("cpu_s", "wall_s"))
        seed = json.loads((out / name / "pipeline.json").read_text())["seed"]
        print(f"| `{name}` | {len(stages)} | {' | '.join(cells)} | {cpu:.1f} | {wall:.1f} | {seed} |")


if __name__ == "__main__":
    if sys.argv[1:2] == ["run"]:
        run(sys.argv[2], sys.argv[3], Path(sys.argv[4]))
    else:
        table(Path(sys.argv[2]))
