"""A picture of a graph of stages as SVG: columns by depth, an arrow for what is handed on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

__all__ = ["draw"]

_WIDTH, _HEIGHT, _GAP_X, _GAP_Y, _MARGIN = 150, 46, 90, 22, 12  # pixels


def draw(
    order: Sequence[str], edges: Mapping[str, Mapping[str, Sequence[str]]], labels: Mapping[str, str], done: set[str]
) -> str:
    """The picture.

    Args:
        order: the stages, each after those it needs.
        edges: stage to what it needs, with the outputs it uses.
        labels: stage to what it runs.
        done: stages to fill.
    """
    depth: dict[str, int] = {}
    for name in order:
        depth[name] = max((depth[needed] + 1 for needed in edges[name]), default=0)
    columns = [[n for n in order if depth[n] == d] for d in range(max(depth.values()) + 1)]
    rows = max(map(len, columns))
    place = {}
    for d, column in enumerate(columns):
        top = (rows - len(column)) * (_HEIGHT + _GAP_Y) / 2
        for row, name in enumerate(column):
            place[name] = (_MARGIN + d * (_WIDTH + _GAP_X), _MARGIN + top + row * (_HEIGHT + _GAP_Y))
    width = 2 * _MARGIN + len(columns) * (_WIDTH + _GAP_X) - _GAP_X
    height = 2 * _MARGIN + rows * (_HEIGHT + _GAP_Y) - _GAP_Y
    parts = [_arrow(place[needed], place[name], outputs) for name in order for needed, outputs in edges[name].items()]
    parts += [_box(*place[name], name, labels[name], name in done) for name in order]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height:g}" width="{width}" height="{height:g}" '
        'font-family="sans-serif" font-size="12">'
        '<defs><marker id="head" markerWidth="8" markerHeight="8" refX="7" refY="4" orient="auto">'
        '<path d="M0,0.5 L7,4 L0,7.5" fill="none" stroke="#555"/></marker></defs>'
        f'<rect width="{width}" height="{height:g}" fill="white"/>{"".join(parts)}</svg>'
    )


def _box(x: float, y: float, name: str, label: str, done: bool) -> str:
    fill = "#d9ead3" if done else "#f3f3f3"
    below = "" if label == name else escape(label)
    middle = x + _WIDTH / 2
    title_y = y + (_HEIGHT / 2 + 4 if not below else _HEIGHT / 2 - 3)
    return (
        f'<rect x="{x:g}" y="{y:g}" width="{_WIDTH}" height="{_HEIGHT}" rx="7" fill="{fill}" stroke="#555"/>'
        f'<text x="{middle:g}" y="{title_y:g}" text-anchor="middle" font-weight="bold">{escape(name)}</text>'
        f'<text x="{middle:g}" y="{y + _HEIGHT / 2 + 13:g}" text-anchor="middle" fill="#555">{below}</text>'
    )


def _arrow(source: tuple[float, float], target: tuple[float, float], outputs: Sequence[str]) -> str:
    x0, y0 = source[0] + _WIDTH, source[1] + _HEIGHT / 2
    x1, y1 = target[0], target[1] + _HEIGHT / 2
    bend = _GAP_X / 2
    label = escape(", ".join(dict.fromkeys(outputs)))
    # Beside the arrow's end, where arrows of one stage have parted already.
    return (
        f'<path d="M{x0:g},{y0:g} C{x0 + bend:g},{y0:g} {x1 - bend:g},{y1:g} {x1:g},{y1:g}" fill="none" stroke="#555" '
        'marker-end="url(#head)"/>'
        f'<text x="{x1 - 8:g}" y="{y1 - 6:g}" text-anchor="end" fill="#555" font-size="10">{label}</text>'
    )
