"""Writes docs/results.md from the json files of a results folder: `python docs/paper/write_results.py RESULTS [OUT]`.

A section that has no file there stays as the page has it; one that was never measured says which command makes it.
"""

import json
import shutil
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import experiment
import results
import table7
import yaml

HERE = Path(__file__).parent
HEAD = """# Results

Made by the scripts of `docs/paper/` and put here by `docs/paper/write_results.py`; networks are small and trainings
short, so that every table takes minutes on one thread of a processor. Sizes, seeds, hardware and time are below each
table. Seconds of processor time are wall time on an idle core; seconds of wall time are of a machine that other work
shared. MACs and latency are those of one picture, recording or row; ± is half a 95 % interval over seeds, in the tables
of the paper the standard deviation. The figures compare rows of one table, trained alike; they are no reproduction of
published accuracies. What a table shows is said below it, by a calculation. Table 6 is in [benchmarks](benchmarks.md).
"""
TITLES = {
    "image": "Image classification: MobileNetV2, ResNet kernels and DARTS cells on pictures of 16 pixels",
    "voice": "Voice: a searched ResNet-34 variant on the official split and with one speaker left out",
    "recommendation": "Recommendation: searched interactions and each fixed one",
    "table3": "The paper's table 3",
    "table4": "The paper's table 4",
    "table5": "The paper's table 5",
    "table7": "The paper's table 7: lines of user code",
    "figure11": "The paper's figure 11",
}


def section(name, folder):
    """A table as markdown, or the command that makes it."""
    if name in results.TABLES:
        file = folder / f"{name}.json"
        command = f"python docs/paper/results.py {name} --data DATA"
        if file.exists():
            return results.report(name, json.loads(file.read_text()))
    elif name == "table7":
        return table7.report()
    elif name == "figure11":
        file, command = folder / "figure11.md", "python docs/paper/figure11.py --data DATA"
        if file.exists():
            return (
                file.read_text(encoding="utf-8")
                + "\n![The fronts of each search, plotted for each cost](figure11.png)\n"
            )
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


def written(page):
    """The sections that a page has, by their titles."""
    parts = page.read_text(encoding="utf-8").split("\n## ")[1:] if page.exists() else []
    return {title: text.lstrip("\n") for title, _, text in (part.partition("\n") for part in parts)}


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    out = Path(sys.argv[2]) if len(sys.argv) > 2 else HERE.parent / "results.md"
    known = written(out)
    text = HEAD
    for name, title in TITLES.items():
        made = section(name, folder)
        kept = known.get(title, made) if made.startswith("Not measured") else made
        text += f"\n## {title}\n\n{kept.rstrip()}\n"
    out.write_text(text, encoding="utf-8")
    if (picture := folder / "figure11.png").exists():
        shutil.copy(picture, out.parent)
