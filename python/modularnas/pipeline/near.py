"""What was probably meant by an unknown word."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = ["near"]


def near(word: str, known: Iterable[str]) -> str:
    """A hint at the known word that was probably meant, and all of them."""
    known = list(known)
    found = difflib.get_close_matches(word, known, n=1)
    hint = f"; did you mean '{found[0]}'?" if found else ""
    return f"{hint} (known: {', '.join(known)})" if known else hint
