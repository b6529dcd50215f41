"""Progress of long verbs, line by line on stderr, so that what a verb says last stands alone on stdout."""

from __future__ import annotations

import sys
from collections.abc import Callable

from labeling.tables import printable


def teller(quiet: bool) -> Callable[[str], None]:
    """Return what prints a line for people, or nothing where a program reads."""

    def tell(line: str) -> None:
        if not quiet:
            print(printable(line), file=sys.stderr, flush=True)

    return tell
