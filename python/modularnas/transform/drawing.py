"""Drawing: nested boxes as SVG, without JavaScript or any package.

A box is as wide as its label or what is in it; what is in it is laid in lines, from left to right, as text is.
"""

from __future__ import annotations

import html
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

__all__ = ["Box", "draw"]

#: Fill and stroke by state; no state: no rule was meant for it.
COLOURS = {
    "searchable": ("#cfe8fc", "#1c7ed6"),
    "coupled": ("#d8f5dd", "#2f9e44"),
    "fixed": ("#ffe8cc", "#e8590c"),
    "": ("#ffffff", "#adb5bd"),
}
LEGEND = {
    "searchable": "searchable",
    "coupled": "coupled with another",
    "fixed": "fixed, with a reason",
    "": "as given",
}
WIDTH = 960
LINE, GAP, MARGIN = 16, 4, 6
#: Pixels of a character of the font, on average.
CHARACTER = 6.7


@dataclass
class Box:
    """A box with boxes inside.

    Attributes:
        label: what is written in it.
        state: a key of `COLOURS`.
        tooltip: what is shown while the pointer is on it.
        optional: whether its border is dashed.
        inside: the boxes inside.
    """

    label: str
    state: str
    tooltip: str
    optional: bool = False
    inside: list[Box] = field(default_factory=list)
    x: float = 0
    y: float = 0
    width: float = 0
    height: float = 0


def draw(box: Box, caption: Sequence[str]) -> str:
    """The box as an SVG picture, under a caption and a legend."""
    _lay_out(box, WIDTH)
    top = LINE * (len(caption) + 1) + 2 * MARGIN
    width, height = max(box.width, 560) + 2, top + box.height + 2
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" '
        f'height="{height:.0f}" font-family="Helvetica, Arial, sans-serif" font-size="11">',
        f'<rect width="{width:.0f}" height="{height:.0f}" fill="#ffffff"/>',
    ]
    parts += [
        f'<text x="1" y="{LINE * (i + 1)}" fill="#212529">{html.escape(line)}</text>' for i, line in enumerate(caption)
    ]
    x, y = 1.0, LINE * len(caption) + MARGIN
    for state, text in LEGEND.items():
        fill, stroke = COLOURS[state]
        parts.append(f'<rect x="{x:.0f}" y="{y}" width="12" height="12" fill="{fill}" stroke="{stroke}"/>')
        parts.append(f'<text x="{x + 17:.0f}" y="{y + 10}" fill="#212529">{text}</text>')
        x += 17 + CHARACTER * len(text) + 16
    parts += _drawn(box, 1, top)
    return "".join([*parts, "</svg>"])


def _lay_out(box: Box, room: float) -> None:
    """Gives a box and what is in it their sizes, and places inside of what holds them."""
    box.width = CHARACTER * len(box.label) + 2 * MARGIN
    box.height = LINE + 2
    if not box.inside:
        return
    x, y, line = float(MARGIN), float(LINE + 2), 0.0
    for part in box.inside:
        _lay_out(part, room - 2 * MARGIN)
        if x > MARGIN and x + part.width > room - MARGIN:
            x, y, line = MARGIN, y + line + GAP, 0
        part.x, part.y = x, y
        x, line = x + part.width + GAP, max(line, part.height)
        box.width = max(box.width, x - GAP + MARGIN)
    box.height = y + line + MARGIN


def _drawn(box: Box, x: float, y: float) -> Iterator[str]:
    fill, stroke = COLOURS[box.state]
    if box.inside and not box.state:
        fill = "#f8f9fa"
    dashes = ' stroke-dasharray="4 2"' if box.optional else ""
    yield f"<g><title>{html.escape(box.tooltip)}</title>"
    yield (
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{box.width:.1f}" height="{box.height:.1f}" rx="3" fill="{fill}" '
        f'stroke="{stroke}"{dashes}/>'
    )
    yield f'<text x="{x + MARGIN:.1f}" y="{y + 13:.1f}" fill="#212529">{html.escape(box.label)}</text></g>'
    for part in box.inside:
        yield from _drawn(part, x + part.x, y + part.y)
