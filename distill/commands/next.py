"""`labelstill next`: which images people should label next, and why, from labels.db alone."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from labeling.image_files import display
from labeling.project import Project
from labeling.tables import table

from .next_gold import draw, write_paths

if TYPE_CHECKING:
    from labeling.core.records import Annotation
    from labeling.core.store import Store

_COLUMNS = ("rank", "doubt", "unlike")
_ALIKE = 0.25
_RULES = (
    "doubt: how many corrections the scores of the boxes let expect",
    "unlike: distance to the nearest image that is reviewed or stands before it, from 0 to 1",
)


@dataclass(frozen=True, slots=True)
class Choice:
    """One image to label next.

    Attributes:
        sha256: the image.
        path: its first file as the file system has it.
        state: new or prelabelled.
        doubt: expected corrections, 0 or more.
        unlike: distance to what is reviewed or comes before, in [0, 1]; None where the image has no features.
        why: in words.
    """

    sha256: str
    path: Path
    state: str
    doubt: float
    unlike: float | None
    why: str


@dataclass(frozen=True, slots=True)
class Choices:
    """What to label next, the most useful first.

    Attributes:
        images: as many as were asked for, where so many wait.
        waiting: images that wait to be handed to people.
        pushed: images that people have and did not answer yet.
        set_aside: images that were decided to be dropped, or to repeat another one.
        encoder: whose features say how unlike images are; None where no image has any.
    """

    images: tuple[Choice, ...] = ()
    waiting: int = 0
    pushed: int = 0
    set_aside: int = 0
    encoder: str | None = None


def run(
    count: Annotated[
        int | None, typer.Argument(metavar="N", min=1, help="So many images.  [default: 20; 100 with --gold]")
    ] = None,
    project: Annotated[Path, typer.Option("--project", metavar="DIR", help="Folder of the project.")] = Path(),
    out: Annotated[Path | None, typer.Option("--out", metavar="FILE", help="Write their paths there, too.")] = None,
    gold: Annotated[
        bool, typer.Option("--gold", help="Draw a gold set of N images by lot, 30 to 200, and keep it as a decision.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Say which images to label next: those in doubt that are unlike what is labelled. Nothing is sent or changed.

    `labelstill push` takes images in the same order, apart from those that it draws by lot. With --gold, draw the
    images that `calibrate`, `feasibility` and `accept` are judged by; a larger N adds to those drawn before.
    """
    opened = Project.open(project)
    if gold:
        draw(opened, 100 if count is None else count, out, as_json=as_json)
        return
    with opened.open_store() as store:
        found = choices(store, 20 if count is None else count)
    if out is not None:
        write_paths([one.path for one in found.images], out.expanduser().absolute())
    folder = shlex.quote(display(opened.root))
    if as_json:
        print(json.dumps(_as_dict(found)))
    else:
        print("\n".join([*_lines(found), *([f"wrote {display(out.expanduser().absolute())}"] if out else [])]))
        print(_next(found, folder))


def choices(store: Store, count: int) -> Choices:
    """Return the images to label next.

    Candidates are the images that wait: not reviewed or skipped, not handed over, not set aside by a decision.

    Args:
        store: labels.db.
        count: at most so many.
    """
    from labeling.queue import order, set_aside
    from labeling.vectors import image_encoder

    left_out = set_aside(store)
    states: dict[str, str] = dict(store.rows("SELECT sha256, state FROM v_images WHERE sha256 IS NOT NULL"))
    waiting = [sha256 for sha256, state in states.items() if state in ("new", "prelabelled")]
    candidates = [sha256 for sha256 in waiting if sha256 not in left_out]
    queue = list(islice(order(store, candidates, audit_share=0), min(count, len(candidates))))
    labels = store.annotations_of_images([one.sha256 for one in queue], "machine")
    encoder = image_encoder(store)
    return Choices(
        tuple(
            Choice(
                one.sha256,
                store.files_of(one.sha256)[0],
                states[one.sha256],
                one.doubt or 0.0,
                one.apart,
                _why(states[one.sha256], labels[one.sha256], one.apart),
            )
            for one in queue
        ),
        waiting=len(candidates),
        pushed=sum(state == "pushed" for state in states.values()),
        set_aside=len(waiting) - len(candidates),
        encoder=encoder.model if encoder else None,
    )


def _why(state: str, labels: Sequence[Annotation], unlike: float | None) -> str:
    if state == "new":
        why = "no teacher has looked at it"
    elif not labels:
        why = "the teacher found nothing"
    else:
        number = "1 box" if len(labels) == 1 else f"{len(labels)} boxes"
        scored = [label for label in labels if label.provenance.score is not None]
        why = f"{number}, none has a score"
        if scored:
            least = min(scored, key=lambda label: label.provenance.score or 0.0)
            sure = f"{least.class_name} at {least.provenance.score:.2f}"
            why = f"{number}, {sure}" if len(labels) == 1 else f"{number}, the least sure {sure}"
    if unlike is not None and unlike <= _ALIKE:
        why += "; much like one before"
    return why


def _as_dict(found: Choices) -> dict[str, Any]:
    return {
        "images": [
            {
                "rank": rank,
                "sha256": one.sha256,
                "path": display(one.path),
                "state": one.state,
                "doubt": round(one.doubt, 4),
                "unlike": None if one.unlike is None else round(one.unlike, 4),
                "why": one.why,
            }
            for rank, one in enumerate(found.images, 1)
        ],
        "waiting": found.waiting,
        "pushed": found.pushed,
        "set_aside": found.set_aside,
        "encoder": found.encoder,
    }


def _lines(found: Choices) -> list[str]:
    others: Mapping[str, int] = {"with people": found.pushed, "set aside by a decision": found.set_aside}
    more = "".join(f", {number:,} {words}" for words, number in others.items() if number)
    lines = [f"{found.waiting:,} {'image waits' if found.waiting == 1 else 'images wait'} for people{more}"]
    if not found.images:
        return lines
    rows = [
        (
            f"{display(one.path)}: {one.why}",
            (f"{rank}", f"{one.doubt:.1f}", "-" if one.unlike is None else f"{one.unlike:.2f}"),
        )
        for rank, one in enumerate(found.images, 1)
    ]
    lines += [*table(_COLUMNS, rows), *(f"  {rule}" for rule in _RULES)]
    if found.encoder is None:
        lines.append("note: no image has features, so the order rests on doubt alone and may repeat like images")
    return lines


def _next(found: Choices, folder: str) -> str:
    blind = sum(one.state == "new" for one in found.images)
    if blind:
        those = "1 of them has" if blind == 1 else f"{blind:,} of them have"
        return f"{those} no labels to correct yet: labelstill label PHOTOS --project {folder}, then labelstill push"
    if found.images:
        return f"next: labelstill push --limit {len(found.images)} --project {folder} (a tenth of them by lot)"
    if found.pushed:
        return f"next: labelstill pull --project {folder}"
    return f"next: labelstill status --project {folder}"
