"""The report of a rewrite: every decision, and every module that a rule was meant for and could not open."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

from modularnas.transform.drawing import Box, draw

if TYPE_CHECKING:
    from modularnas.transform.supernet import Supernet

__all__ = ["Report", "Row"]

#: What a row can say of a module, from most to least freedom.
STATES = ("searchable", "coupled", "fixed", "fused", "plain")


class Row(NamedTuple):
    """One thing that the report says of a module."""

    path: str
    #: The module's class.
    kind: str
    #: "searchable", "coupled" (it follows another module), "fixed" (a rule was meant for it and could not open it), or
    #: how candidates are summed when relaxed: "fused" or "plain".
    state: str
    #: Its choices, with whom it is coupled, why it is fixed, or how candidates are summed.
    text: str


_PLAIN = "candidates run one by one when relaxed: fuse=False, or the place gives other than one tensor"


class Report:
    """What varies in a supernet.

    `str(report)` is text, `rich.print(report)` a table, and a notebook draws the network: a box a module, coloured by
    what can vary, with the choices and reasons in the tooltips.

    Attributes:
        rows: what is to be said, in the order of the modules.
        n_decisions: the number of decisions.
        size: the number of points.

    Example:
        >>> net = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU())
        >>> report = mn.rewrite(net, [mn.rules.kernel_size(3, 5)], example=torch.randn(1, 3, 8, 8)).report()
        >>> print(report)
        0  Conv2d  searchable  kernel size: 3, 5
        1 decision, 2 points
        params             224 to 608
        macs               13,824 to 38,400
        activation_bytes   4,096 (every point)
    """

    def __init__(self, supernet: Supernet) -> None:
        plan = supernet._plan
        self._classes = {record["path"]: record["class"] for record in plan.modules}
        self._candidates = {record["path"] for record in plan.modules if record["place"] is not None}
        self._space = supernet.space
        order = {path: i for i, path in enumerate(self._classes)}
        rows: list[Row] = []
        self._choices: dict[str, list[str]] = {}
        self._optional: set[str] = set()

        def say(path: str, state: str, text: str) -> None:
            rows.append(Row(path, self._classes[path], state, text))

        places = [iter([module for module, _ in switch]) for switch in supernet._switches]
        for action in plan.actions:
            decision = plan.space.decisions[action["decision"]]
            choices = ", ".join(map(str, decision.choices))
            condition = ""
            if decision.active_if:
                name, values = decision.active_if
                condition = f" (while {name} is {' or '.join(map(str, values))})"
            kind = decision.name.rpartition(".")[2].replace("_", " ")
            say(action["path"], "searchable", f"{kind}: {choices}{condition}")
            self._choices.setdefault(action["path"], []).append("|".join(map(str, decision.choices)))
            for path in action.get("with", ()):
                say(path, "coupled", f"{kind}: with {decision.name}")
            for path, present in action.get("blocks", ()):
                if not all(present):
                    say(path, "searchable", f"may be left out: {decision.name}")
                    self._optional.add(path)
            if action["action"] == "choice":
                mixed = next(places[action["decision"]])
                state, note = ("fused", mixed.form.note) if mixed.form is not None else ("plain", _PLAIN)
                say(action["path"], state, note)
        for fixed in plan.fixed:
            say(fixed["path"], "fixed", f"{fixed['rule']}: {fixed['reason']}")
        self.rows = sorted(rows, key=lambda row: order[row.path])
        self.n_decisions = len(plan.space)
        self.size = plan.space.size

    @cached_property
    def bounds(self) -> dict[str, tuple[int, int]]:
        """The exact least and greatest of every cost."""
        spans = {metric: self._space.bounds(metric) for metric in self._space.metrics}
        return {metric: (int(low), int(high)) for metric, (low, high) in spans.items()}

    def _summary(self) -> list[str]:
        plural = "" if self.n_decisions == 1 else "s"
        lines = [f"{self.n_decisions} decision{plural}, {self.size:,} points"]
        for metric, (low, high) in self.bounds.items():
            span = f"{low:,} (every point)" if low == high else f"{low:,} to {high:,}"
            lines.append(f"{metric:<18} {span}")
        return lines

    def __str__(self) -> str:
        widths = [max((len(row[i]) for row in self.rows), default=0) for i in range(3)]
        lines = ["  ".join([*(row[i].ljust(widths[i]) for i in range(3)), row.text]).rstrip() for row in self.rows]
        return "\n".join([*lines, *self._summary()])

    __repr__ = __str__

    def __rich__(self) -> Any:
        """A table, for `rich.print`; it is called by rich, so rich is there."""
        from rich.table import Table
        from rich.text import Text

        table = Table(caption="\n".join(self._summary()), caption_justify="left")
        for column in ("module", "class", "state", "choices, with whom, or why not"):
            table.add_column(column, overflow="fold")
        styles = {"searchable": "bold cyan", "coupled": "green", "fixed": "dim", "fused": "blue", "plain": "dim"}
        for row in self.rows:
            table.add_row(*map(Text, row[:2]), Text(row.state, styles[row.state]), Text(row.text))
        return table

    def _repr_html_(self) -> str:
        return f'<div style="overflow-x:auto">{self.svg()}</div>'

    def svg(self) -> str:
        """The network drawn: boxes of modules in boxes of what holds them, coloured by what can vary."""
        said: dict[str, list[Row]] = {}
        for row in self.rows:
            said.setdefault(row.path, []).append(row)
        boxes: dict[str, Box] = {}
        for path, kind in self._classes.items():
            if path in self._candidates:
                continue
            rows = said.get(path, [])
            state = min((row.state for row in rows), key=STATES.index, default="")
            name = path.rpartition(".")[2]
            named = [kind] if not name else [name, kind] if name.isdigit() else [name]
            label = " ".join([*named, *self._choices.get(path, ())])
            tooltip = "\n".join([f"{path or 'the model'} ({kind})", *(f"{row.state}, {row.text}" for row in rows)])
            boxes[path] = Box(label, state, tooltip, optional=path in self._optional)
            if path:
                boxes[path.rpartition(".")[0]].inside.append(boxes[path])
        return draw(boxes[""], self._summary())
