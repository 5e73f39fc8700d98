"""Writes docs/results.md from the json files of a results folder: `python docs/paper/write_results.py RESULTS [OUT]`.

A section that has no file there stays as the page has it; one that was never measured says which command makes it.
"""

import json
import shutil
import sys
import textwrap
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

#: What a table is of, and what it does not show; the sentences below it are calculated.
ABOUT = {
    "image": (
        "Networks found by evolution on a supernet (`searched`) and by random search on the same one, the "
        "unsearched one, and a random one, all trained for 8 epochs of 2,000 pictures. The steps are few: "
        "MobileNetV2 with torch's own first weights hardly leaves a guess on CIFAR-100 (0.01), and its rows there "
        "say nothing."
    ),
    "voice": (
        "A supernet of 6 epochs, a search of 24 candidates on it, and every network trained for 4 epochs. Rows of one "
        "speaker and of the official split have two runs, whose intervals say nothing; only the rows of all speakers "
        "together compare."
    ),
    "recommendation": (
        "Simple networks of this kind have been seen at 0.9045 (Adult), 0.768 (MovieLens) and 0.73 (Criteo). The "
        "first two are reached. Criteo's is not: of its file there are 7,200 rows to train on and 391 to test, on "
        "which the standard error of an AUC is about 0.03."
    ),
    "table3": (
        "Every row by its published method, trained for 282 steps from the first weights of `mn.ops.initialise`. "
        "Shown is that it runs, learns and what it costs. Not shown are published accuracies or which method is "
        "better: pictures have 16 pixels, networks are narrow, alpha has 12 steps, CIFAR-10 and ResNet-20 stand "
        "for ImageNet and ResNet-50, one seed."
    ),
    "table4": (
        "Every row by its published method on spoken digits. Shown is that it runs, learns and what it costs; not "
        "shown is which method is better: networks have 4 channels, trainings four epochs, alpha 12 steps, one "
        "seed."
    ),
    "table5": (
        "Every row by its published method on MovieLens. With so few rows of data interactions differ by less than "
        "seeds do; the published order is not shown."
    ),
    "table7": (
        "Lines of code other than imports and docstrings that a user writes for the voice task, beside the model "
        "and the training that the user has."
    ),
    "figure11": (
        "Networks of ResNet-20 with kernels 3, 5 and 7 found with one supernet for accuracy and one cost, each placed "
        "in the plots of the other costs. The processor's latency of one picture and of 64 stand for the paper's "
        "devices; it was measured while other programs ran. Of 500 pictures an accuracy has a standard error of "
        "0.022, and fronts span 0.02 to 0.04: what is shown is where networks that were found for one cost lie for "
        "another, not which is more accurate."
    ),
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
    """The tables that a page has and what is below them, by the titles of their sections."""
    parts = page.read_text(encoding="utf-8").split("\n## ")[1:] if page.exists() else []
    return {
        title: text[text.index("\n|") + 1 :]
        for title, _, text in (part.partition("\n") for part in parts)
        if "\n|" in text
    }


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    out = Path(sys.argv[2]) if len(sys.argv) > 2 else HERE.parent / "results.md"
    known = written(out)
    text = HEAD
    for name, title in TITLES.items():
        made = section(name, folder)
        kept = known.get(title, made) if made.startswith("Not measured") else made
        text += f"\n## {title}\n\n{textwrap.fill(ABOUT[name], 120)}\n\n{kept.rstrip()}\n"
    out.write_text(text, encoding="utf-8")
    if (picture := folder / "figure11.png").exists():
        shutil.copy(picture, out.parent)
