"""A picture of a graph of stages as SVG.

Columns by depth; a box says what a stage runs and where its inputs come from. Arrows that follow from others are left
out; one that spans columns gets a place in each, so that it passes between the boxes (Sugiyama, Tagawa and Toda 1981).
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from html import escape

__all__ = ["draw"]

_CHARACTER, _LINE, _GAP_X, _GAP_Y, _MARGIN = 6.3, 14, 46, 16, 10  # pixels


def draw(
    order: Sequence[str],
    needs: Mapping[str, Sequence[str]],
    lines: Mapping[str, Sequence[str]],
    done: set[str],
) -> str:
    """The picture.

    Args:
        order: the stages, each after those it needs.
        needs: stage to those it needs.
        lines: stage to what stands below its name.
        done: stages to fill.
    """
    depth: dict[str, int] = {}
    for name in order:
        depth[name] = max((depth[needed] + 1 for needed in needs[name]), default=0)
    paths = _paths(_reduced(order, needs), depth)
    columns = _columns(order, depth, paths)
    widths = [
        max((_CHARACTER * max(map(len, [name, *lines[name]])) + 16 for name in column if name in lines), default=0)
        for column in columns
    ]
    heights = {name: 22 + _LINE * len(lines[name]) if name in lines else 2 for column in columns for name in column}
    tall = [sum(heights[name] + _GAP_Y for name in column) - _GAP_Y for column in columns]
    place: dict[str, tuple[float, float]] = {}  # the left end and the middle
    x = float(_MARGIN)
    for column, width, height in zip(columns, widths, tall, strict=True):
        y = _MARGIN + (max(tall) - height) / 2
        for name in column:
            place[name] = x, y + heights[name] / 2
            y += heights[name] + _GAP_Y
        x += width + _GAP_X
    parts = [_arrow(path, place, [widths[depth[path[0]] + i] for i in range(len(path))]) for path in paths]
    parts += [_box(*place[n], widths[depth[n]], heights[n], n, lines[n], n in done) for n in order]
    size = f"{x - _GAP_X + _MARGIN:g}", f"{max(tall) + 2 * _MARGIN:g}"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {size[0]} {size[1]}" width="{size[0]}" '
        f'height="{size[1]}" font-family="sans-serif" font-size="11">'
        '<defs><marker id="head" markerWidth="8" markerHeight="8" refX="7" refY="4" orient="auto">'
        '<path d="M0,0.5 L7,4 L0,7.5" fill="none" stroke="#555"/></marker></defs>'
        f'<rect width="{size[0]}" height="{size[1]}" fill="white"/>{"".join(parts)}</svg>'
    )


def _reduced(order: Sequence[str], needs: Mapping[str, Sequence[str]]) -> list[tuple[str, str]]:
    """The arrows that do not follow from others."""
    before: dict[str, set[str]] = {}
    for name in order:
        before[name] = set(needs[name]).union(*(before[needed] for needed in needs[name]))
    return [
        (needed, name)
        for name in order
        for needed in needs[name]
        if not any(needed in before[other] for other in needs[name])
    ]


def _paths(arrows: Sequence[tuple[str, str]], depth: Mapping[str, int]) -> list[list[str]]:
    """Each arrow as its ends, and a name of its own in every column between them."""
    return [
        [source, *(f"{source} {target} {d}" for d in range(depth[source] + 1, depth[target])), target]
        for source, target in arrows
    ]


def _columns(order: Sequence[str], depth: Mapping[str, int], paths: Sequence[Sequence[str]]) -> list[list[str]]:
    """What stands in each column, from top to bottom: near to what it comes from."""
    columns: list[list[str]] = [[name for name in order if depth[name] == d] for d in range(max(depth.values()) + 1)]
    before: dict[str, list[str]] = {}
    for path in paths:
        for i, (left, right) in enumerate(itertools.pairwise(path)):
            before.setdefault(right, []).append(left)
            if right not in depth:
                columns[depth[path[0]] + i + 1].append(right)
    position = {name: float(i) for i, name in enumerate(columns[0])}
    for column in columns[1:]:
        means = {
            name: sum(position[left] for left in before.get(name, [])) / max(len(before.get(name, [])), 1)
            for name in column
        }
        column.sort(key=lambda name: means[name])
        position.update({name: i - len(column) / 2 for i, name in enumerate(column)})
    return columns


def _box(x: float, y: float, width: float, height: float, name: str, lines: Sequence[str], done: bool) -> str:
    fill = "#d9ead3" if done else "#f3f3f3"
    top = y - height / 2
    text = "".join(
        f'<text x="{x + 8:g}" y="{top + 16 + _LINE * (i + 1):g}" fill="#555">{escape(line)}</text>'
        for i, line in enumerate(lines)
    )
    return (
        f'<rect x="{x:g}" y="{top:g}" width="{width:g}" height="{height:g}" rx="6" fill="{fill}" stroke="#555"/>'
        f'<text x="{x + 8:g}" y="{top + 16:g}" font-weight="bold">{escape(name)}</text>{text}'
    )


def _arrow(path: Sequence[str], place: Mapping[str, tuple[float, float]], widths: Sequence[float]) -> str:
    x, y = place[path[0]]
    x += widths[0]
    drawn = f"M{x:g},{y:g}"
    for name, width in zip(path[1:], widths[1:], strict=True):
        next_x, next_y = place[name]
        bend = (next_x - x) / 2
        drawn += f" C{x + bend:g},{y:g} {next_x - bend:g},{next_y:g} {next_x:g},{next_y:g}"
        x, y = next_x, next_y
        if name != path[-1]:
            x += width
            drawn += f" L{x:g},{y:g}"
    return f'<path d="{drawn}" fill="none" stroke="#555" marker-end="url(#head)"/>'
