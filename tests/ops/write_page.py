"""Writes docs/ops.md from the registry: `python tests/ops/write_page.py`."""

import inspect
import pathlib
import sys

import modularnas as mn
from modularnas.ops.aliases import ALIASES

PAGE = pathlib.Path(__file__).parents[2] / "docs" / "ops.md"

HEAD = """\
# Candidate ops

Written by `python tests/ops/write_page.py` from the registry; `modularnas ops` prints the same list.

An op is what a slot can become: `mn.rules.replace(nn.Conv2d, ["original", "sep_conv_3x3", "mbconv_k5_e3_se"])`, or
`mn.rules.slots([...])` for `mn.Slot` placeholders. It fits the slot: its number of channels, its stride, its bias, and
1-D, 2-D or 3-D inputs.

A name is plain or of a pattern. In a pattern `{k}` is any integer of 1 or more (the same one wherever it stands),
`{act:relu|silu}` one of the words, `[...]` may be left out: `conv_{k}x{k}[_d{dilation}][_g{groups}]` spells `conv_3x3`,
`conv_11x11_d2` and `conv_3x3_g4`. `mn.ops.names()` lists the usual names, `mn.ops.describe(name)` says what one is,
`@mn.ops.register("my_op_{k}")` adds one.

Inputs: 1d `(N, C, L)`, 2d `(N, C, H, W)`, 3d `(N, C, D, H, W)`; features `(N, D)` and sequence `(N, L, D)`, for which a
placeholder is `mn.Slot(in, out, layout="features")`; fields `(N, fields, dim)` to `(N, out)`,
`mn.Slot(fields, out, layout="fields")`.
"""


def write():
    """The page."""
    ops = [mn.ops.describe(name) for name in mn.ops.names() if mn.ops.describe(name).family != "user"]
    text = [HEAD]
    for family in sorted({op.family for op in ops}):
        module = sys.modules[f"modularnas.ops.{family}"]
        text.append(f"\n## {family}\n\n{inspect.getdoc(module).splitlines()[0]}\n")
        text.append("\n| pattern | what | inputs | usual names |\n|---|---|---|---|\n")
        mine = [op for op in ops if op.family == family]
        for pattern in dict.fromkeys(op.pattern for op in mine):
            same = [op for op in mine if op.pattern == pattern]
            shown = pattern.replace("|", "\\|")
            build = mn.ops.find(same[0].name)
            what = inspect.getdoc(getattr(build, "func", build)).splitlines()[0]
            names = "" if same[0].name == pattern and len(same) == 1 else ", ".join(f"`{op.name}`" for op in same)
            text.append(f"| `{shown}` | {what} | {', '.join(same[0].inputs)} | {names} |\n")
    text.append("\n## Aliases\n\nNames that other libraries and papers use.\n\n| theirs | ours |\n|---|---|\n")
    text += [f"| `{alias}` | `{name}` |\n" for alias, name in ALIASES.items()]
    return "".join(text)


if __name__ == "__main__":
    PAGE.write_text(write(), encoding="utf-8")
