"""The page of parity names only tests that there are."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
NAMED = re.findall(
    r"`((?:docs|notebooks|tests|src)/[\w./-]*)(?:::(\w+))?`", (ROOT / "docs/modularnas-parity.md").read_text()
)


@pytest.mark.parametrize(("path", "test"), sorted(set(NAMED)))
def test_what_shows_a_row_is_there(path, test):
    place = ROOT / path
    assert place.exists()
    assert not test or f"def {test}(" in place.read_text()


def test_every_row_has_a_counterpart():
    rows = [line for line in (ROOT / "docs/modularnas-parity.md").read_text().splitlines() if line.startswith("| ")]
    assert len(rows) > 150
    assert all(len(cell.strip()) > 0 for line in rows for cell in re.split(r"(?<!\\)\|", line)[1:-1])
