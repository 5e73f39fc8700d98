"""Writes docs/results.md from the json files of a results folder: `python docs/paper/write_results.py RESULTS [OUT]`.

Only what was measured is in it; what has no file says which command makes it.
"""

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import experiment
import results
import yaml

HERE = Path(__file__).parent
HEAD = """# Results

Made by the scripts of `docs/paper/` and put here by `docs/paper/write_results.py`; networks are small and trainings
short, so that every table takes minutes on one thread of a processor. Sizes, seeds, hardware and time are below each
table. Seconds of processor time are wall time on an idle core; seconds of wall time are of a machine that other work
shared. MACs and latency are those of one picture, recording or row; ± is half a 95 % interval over seeds. The figures
compare rows of one table, trained alike; they are no reproduction of published accuracies. What a table shows is said
below it, by a calculation.
"""
TITLES = {
    "image": "Image classification: MobileNetV2, ResNet kernels and DARTS cells on pictures of 16 pixels",
    "voice": "Voice: a searched ResNet-34 variant on the official split and with one speaker left out",
    "recommendation": "Recommendation: searched interactions and each fixed one",
    "table3": "The paper's table 3",
    "table4": "The paper's table 4",
    "table5": "The paper's table 5",
    "figure11": "The paper's figure 11",
}


def section(name, folder):
    """A table as markdown, or the command that makes it."""
    if name in results.TABLES:
        file = folder / f"{name}.json"
        command = f"python docs/paper/results.py {name} --data DATA"
        if file.exists():
            return results.report(name, json.loads(file.read_text()))
    elif name == "figure11":
        file, command = folder / "figure11.md", "python docs/paper/figure11.py --data DATA"
        if file.exists():
            return file.read_text(encoding="utf-8")
    else:
        file, command = folder / f"{name}-cpu.json", f"python docs/paper/{name}.py --data DATA"
        if file.exists():
            description = yaml.safe_load((HERE / f"{name}.yaml").read_text(encoding="utf-8"))
            done = json.loads(file.read_text())
            rows = {key.partition("/")[0] for key in done}
            missing = [row["row"] for row in description["rows"] if row["row"] not in rows]
            note = f"\nNot measured: rows {', '.join(missing)} (`{command}`).\n" if missing else ""
            return experiment.report(description, done, "cpu") + note
    return f"Not measured: `{command}`.\n"


if __name__ == "__main__":
    text = HEAD + "".join(f"\n## {title}\n\n{section(name, Path(sys.argv[1]))}" for name, title in TITLES.items())
    out = Path(sys.argv[2]) if len(sys.argv) > 2 else HERE.parent / "results.md"
    out.write_text(text, encoding="utf-8")
