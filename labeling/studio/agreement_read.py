"""From labels.db to what every person drew on every image."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from ..core.store import Store
from ..core.store_studio import Answer, StudioLedger
from .agreement import Seen
from .answers import by_time
from .convert import read


def people_saw(store: Store, class_of: Callable[[str], str | None]) -> tuple[list[Seen], Counter[str]]:
    """Return what people submitted, one entry per image with an answer, by sha256; and what is left out, by reason.

    Of several answers of one person about one image the one that was changed last counts. Drafts and skipped tasks
    say nothing.

    Args:
        store: of the project.
        class_of: label in Label Studio -> class; a label without a class counts under its own name.
    """
    sizes = store.sizes()
    latest: dict[str, dict[str, Answer]] = {}
    left_out = Counter[str]()
    for answer in StudioLedger(store).answers():
        if answer.kind != "submitted":
            continue
        if answer.sha256 not in sizes:
            left_out["answer about an image that cannot be read any more"] += 1
            continue
        known = latest.setdefault(answer.sha256, {})
        known[answer.annotator] = max(known.get(answer.annotator, answer), answer, key=by_time)
    seen = []
    for sha256, answers in latest.items():
        objects = {}
        for annotator, answer in answers.items():
            drawn, refused = read(answer.result, sizes[sha256])
            left_out.update(region.reason for region in refused)
            objects[annotator] = [(class_of(one.class_name) or one.class_name, one.box_xyxy) for one in drawn]
        seen.append(Seen(sha256, objects))
    return seen, left_out
