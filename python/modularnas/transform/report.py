"""The report of a rewrite: every decision, and every module that a rule was meant for and could not open."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from modularnas.transform.supernet import Supernet

__all__ = ["Report"]


_PLAIN = "candidates run one by one when relaxed: fuse=False, or the place gives other than one tensor"


class Report:
    """What varies in a supernet. `str(report)` is text; a notebook shows a table.

    Attributes:
        rows: (module path, class, state, text), in the order of the modules: "searchable" with the choices, "coupled"
            with whom, "fixed" with the reason, "fused" or "plain" with how candidates are summed when relaxed.
        n_decisions: the number of decisions.
        size: the number of points.
    """

    def __init__(self, supernet: Supernet) -> None:
        plan = supernet._plan
        classes = {record["path"]: record["class"] for record in plan.modules}
        order = {path: i for i, path in enumerate(classes)}
        rows = []
        places = [iter([module for module, _ in switch]) for switch in supernet._switches]
        for action in plan.actions:
            decision = plan.space.decisions[action["decision"]]
            choices = ", ".join(map(str, decision.choices))
            condition = ""
            if decision.active_if:
                name, values = decision.active_if
                condition = f" (while {name} is {' or '.join(map(str, values))})"
            kind = decision.name.rpartition(".")[2].replace("_", " ")
            rows.append((action["path"], classes[action["path"]], "searchable", f"{kind}: {choices}{condition}"))
            for path in action.get("with", ()):
                rows.append((path, classes[path], "coupled", f"{kind}: with {decision.name}"))
            for path, present in action.get("blocks", ()):
                if not all(present):
                    rows.append((path, classes[path], "searchable", f"may be left out: {decision.name}"))
            if action["action"] == "choice":
                mixed = next(places[action["decision"]])
                state, note = ("fused", mixed.form.note) if mixed.form is not None else ("plain", _PLAIN)
                rows.append((action["path"], classes[action["path"]], state, note))
        for fixed in plan.fixed:
            rows.append((fixed["path"], classes[fixed["path"]], "fixed", f"{fixed['rule']}: {fixed['reason']}"))
        self.rows = sorted(rows, key=lambda row: order[row[0]])
        self.n_decisions = len(plan.space)
        self.size = plan.space.size

    def __str__(self) -> str:
        widths = [max((len(row[i]) for row in self.rows), default=0) for i in range(3)]
        lines = ["  ".join([*(row[i].ljust(widths[i]) for i in range(3)), row[3]]).rstrip() for row in self.rows]
        return "\n".join([*lines, f"{self.n_decisions} decisions, {self.size} points"])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        cells = "".join(
            "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in self.rows
        )
        return (
            f"<table><caption>{self.size} points</caption>"
            "<tr><th>module</th><th>class</th><th>state</th><th>choices or reason</th></tr>"
            f"{cells}</table>"
        )
