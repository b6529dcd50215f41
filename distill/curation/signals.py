"""Everything that may be wrong with the labels of a project, by every signal that needs nothing but labels.db."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from labeling.core.store import Store

from .company import company
from .disagreement import disagreement
from .doubts import Doubt
from .geometry import geometry
from .looks import looks
from .repeats import repeats
from .scenes import scenes
from .trust import learn_trust


def _machines(store: Store) -> Iterator[Doubt]:
    trust = learn_trust(scenes(store))
    return (doubt for scene in scenes(store) for doubt in disagreement(scene, trust))


SIGNALS: dict[str, Callable[[Store], Iterator[Doubt]]] = {
    "machines": _machines,
    "repeats": lambda store: (doubt for scene in scenes(store) for doubt in repeats(scene)),
    "geometry": lambda store: geometry(lambda: scenes(store)),
    "company": lambda store: company(lambda: scenes(store)),
    "looks": looks,
}
"""Each signal over a whole project, by name; "machines" speaks as "teacher" and "student"."""


def signals(store: Store) -> Iterator[Doubt]:
    """Yield the doubts of all signals.

    Args:
        store: labels.db; boxes that it has no features of are not judged by their looks.

    Raises:
        MissingExtraError: scipy or scikit-learn is not installed.
    """
    for signal in SIGNALS.values():
        yield from signal(store)
