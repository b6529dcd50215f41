"""Which labels of an image stand, as conditions of SQL on `annotations a` and `images i`.

People's labels stand where they have reviewed an image. Elsewhere a machine's do: the teacher's where it has any,
else a student's. What a student says beside the teacher's labels is a claim: a second opinion, and no label.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .store_rows import Labels

if TYPE_CHECKING:
    from .store import Store

MACHINE = "a.source IN ('teacher', 'student')"
_HUMAN = "a.source IN ('human', 'imported')"

MACHINE_STANDS = (
    f"{MACHINE} AND (a.source = 'teacher' OR NOT EXISTS "
    "(SELECT 1 FROM annotations t WHERE t.sha256 = a.sha256 AND t.source = 'teacher'))"
)
"""The label would stand if nobody had reviewed its image."""

STANDS = f"CASE WHEN i.state LIKE 'reviewed%' THEN {_HUMAN} ELSE {MACHINE_STANDS} END"

SPOKEN: dict[Labels, str] = {
    "best": f"i.state <> 'skipped' AND {STANDS}",
    "machine": MACHINE_STANDS,
    "human": f"i.state LIKE 'reviewed%' AND {_HUMAN}",
    "claims": f"{MACHINE} AND NOT ({STANDS})",
}
"""What is meant by each kind of labels; see ``Store.annotations_of``."""


def second_opinions(store: Store) -> int:
    """Return how many images that wait for people have labels of the teacher and a student's beside them."""
    sql = (
        "SELECT count(DISTINCT a.sha256) FROM annotations a JOIN images i USING (sha256) "
        f"WHERE i.state IN ('prelabelled', 'pushed') AND a.source = 'student' AND NOT ({MACHINE_STANDS})"
    )
    return int(store.rows(sql)[0][0])
