"""Runs the published pipelines and the user's in small size, and writes the table of docs/pipelines.md.

    python tests/pipeline/write_runs.py run NAME DATA OUT       one of them, in OUT/NAME; goes on where it was cut
    python tests/pipeline/write_runs.py write OUT               the table of all that are done in OUT, into the page

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

PAGE = Path(__file__).parents[2] / "docs" / "pipelines.md"
BEGIN, END = "<!-- runs: written by tests/pipeline/write_runs.py -->\n", "<!-- end -->\n"
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


def write(out: Path) -> None:
    lines = [
        "| pipeline | stages | accuracy, searched | MACs | accuracy, not searched | MACs | CPU min | wall min | seed |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for times in sorted(out.glob("*.json")):
        name = times.stem
        took = json.loads(times.read_text())
        record = json.loads((out / name / "pipeline.json").read_text())
        cells = []
        for stage in PAIRS.get(name, ("evaluate", "evaluate_unsearched")):
            values = read_result(out / name / "stages" / stage).value()["values"]
            cells += [f"{100 * values['accuracy']:.1f} %", f"{values['macs'] / 1e6:.2f} M"]
        cpu, wall = (sum(row[key] for row in took) / 60 for key in ("cpu_s", "wall_s"))
        cells = [f"`{name}`", str(len(record["stages"])), *cells, f"{cpu:.1f}", f"{wall:.1f}", str(record["seed"])]
        lines.append(f"| {' | '.join(cells)} |")
    before, rest = PAGE.read_text(encoding="utf-8").split(BEGIN)
    PAGE.write_text(f"{before}{BEGIN}{chr(10).join(lines)}\n{END}{rest.split(END, 1)[1]}", encoding="utf-8")


if __name__ == "__main__":
    if sys.argv[1:2] == ["run"]:
        run(sys.argv[2], sys.argv[3], Path(sys.argv[4]))
    else:
        write(Path(sys.argv[2]))
