"""Who says what about the same images: people, the teacher, a second person, a student."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from labeling.ahead import Ahead
from labeling.core.errors import BackendError, StateError
from labeling.core.records import Annotation, Provenance
from labeling.core.store import Store
from labeling.core.store_decisions import DecisionLedger
from labeling.core.store_studio import Answer, StudioLedger
from labeling.images import LoadedImage
from labeling.studio.answers import by_time
from labeling.studio.convert import Drawn, read
from labeling.teachers.memory import is_out_of_memory

from .objects import Objects
from .students import Predictor

PhotoOf = Callable[[str], LoadedImage | None]
_Photo = tuple[str, LoadedImage | None]

_REVIEWED = ("reviewed", "reviewed-empty")
_WAITING = ("prelabelled", "pushed")


@dataclass(frozen=True, slots=True)
class Said:
    """What somebody says about some of the images that were asked for.

    Attributes:
        objects: one per image that could be asked about, in the order of the question.
        left_out: the other images, by reason.
        helped: in how many of the images the answer began with the teacher's labels; people only.
    """

    objects: tuple[Objects, ...]
    left_out: Mapping[str, tuple[str, ...]]
    helped: int = 0

    @property
    def images(self) -> tuple[str, ...]:
        """The images that are spoken about, sha256 each."""
        return tuple(one.sha256 for one in self.objects)


def with_truth(store: Store, images: Sequence[str], *, unreviewed: bool = False) -> tuple[list[str], Counter[str]]:
    """Return the images for which ``truth`` has an answer, in order, and how many others there are, by reason.

    Args:
        store: labels.db.
        images: sha256 each.
        unreviewed: the teacher's labels count as the truth where nobody has reviewed an image, if there are any: that
            it saw nothing says nothing. A student's never do, or students would be judged by students.
    """
    states, sizes = store.states(), store.sizes()
    dropped = DecisionLedger(store).images("drop", whole=True)
    waiting = [sha256 for sha256 in images if states.get(sha256) in _WAITING]
    labelled = _known(store, waiting, masks=False) if unreviewed else {}
    kept, left_out = [], Counter[str]()
    for sha256 in images:
        state = states.get(sha256)
        if sha256 in dropped:
            left_out["it was decided to drop the image"] += 1
        elif sha256 not in sizes or state not in (*_REVIEWED, *_WAITING):
            left_out[f"the image is {state or 'unknown'}"] += 1
        elif state in _WAITING and not labelled.get(sha256):
            left_out["nobody has reviewed the image" + (" and it has no label" if unreviewed else "")] += 1
        else:
            kept.append(sha256)
    return kept, left_out


def truth(
    store: Store, images: Sequence[str], names: Sequence[str], *, unreviewed: bool = False, masks: bool = True
) -> list[Objects]:
    """Return what people say, one per image and in order; labels that were decided to be dropped are left out.

    Args:
        store: labels.db.
        images: those of ``with_truth``.
        names: the classes, in the order of the ontology.
        unreviewed: see ``with_truth``.
        masks: with masks, where there are any.

    Raises:
        StateError: an image of which nobody knows the truth.
    """
    usable, left_out = with_truth(store, images, unreviewed=unreviewed)
    if left_out:
        first = next(sha256 for sha256 in images if sha256 not in set(usable))
        raise StateError(
            f"{store.path}: expected reviewed images, {store.names_of([first])[first]} is none of them "
            f"({next(iter(left_out))}): have it reviewed, or make the split anew (labelstill split)"
        )
    return _objects(store, images, names, _known(store, images, masks=masks))


def teacher(store: Store, images: Sequence[str], names: Sequence[str], *, masks: bool = True) -> list[Objects]:
    """Return what the teacher says, in order and with its scores, also about reviewed images.

    Images that it was never shown, such as those that were imported, have no entry. Its labels begin at its own
    threshold, so its average precision ends at the recall that it has there.

    Args:
        store: labels.db.
        images: sha256 each.
        names: the classes, in the order of the ontology.
        masks: with masks, where there are any.
    """
    done_keys = store.done_keys("teacher")
    asked = [sha256 for sha256 in images if done_keys.get(sha256)]
    spoken = {
        sha256: [one for one in labels if one.provenance.source == "teacher"]
        for sha256, labels in store.annotations_of_images(asked, "machine", masks=masks).items()
    }
    return _objects(store, asked, names, spoken)


def second_people(
    store: Store,
    images: Sequence[str],
    names: Sequence[str],
    class_of: Callable[[str], str | None] = lambda label: label,
) -> Said:
    """Return what another person answered in Label Studio than the one whose answer became the truth.

    Of several others the one who answered last. Drafts and skipped tasks say nothing. Images that one person alone has
    answered are neither spoken about nor left out.

    Args:
        store: labels.db.
        images: sha256 each; reviewed ones are looked at.
        names: the classes, in the order of the ontology.
        class_of: label in Label Studio -> class, None where it is none.
    """
    sizes, states = store.sizes(), store.states()
    asked = [sha256 for sha256 in images if states.get(sha256) in _REVIEWED and sha256 in sizes]
    spoken: dict[str, list[Annotation]] = {}
    left_out: dict[str, list[str]] = {}
    helped = 0
    for sha256, labels in store.annotations_of_images(asked, "human", masks=False).items():
        answers = _by_person(store, sha256)
        if len(answers) < 2:
            continue
        author = _author(labels, answers, sizes[sha256])
        if author not in answers:
            left_out.setdefault(author, []).append(sha256)
            continue
        second = max((one for one in answers.values() if one.annotator != author), key=by_time)
        drawn, refused = read(second.result, sizes[sha256])
        if refused or any(class_of(one.class_name) not in names for one in drawn):
            left_out.setdefault("a region of the second answer cannot be read or is of no class", []).append(sha256)
            continue
        spoken[sha256] = [_label(sha256, one, class_of, second.annotator) for one in drawn]
        helped += second.from_prediction
    found = _objects(store, [sha256 for sha256 in asked if sha256 in spoken], names, spoken)
    return Said(tuple(found), {reason: tuple(some) for reason, some in left_out.items()}, helped)


def student(
    predictor: Predictor,
    images: Sequence[str],
    photo_of: PhotoOf,
    names: Sequence[str],
    *,
    batch: int = 8,
    floor: float = 0.001,
    progress: Callable[[int, int], None] | None = None,
) -> Said:
    """Return what a student sees; photos are decoded in a thread while it looks at those before.

    A photo that cannot be read is left out; ask all others about ``Said.images`` alone, so that everyone speaks of the
    same images. So is one on which the student fails.

    Args:
        predictor: the student.
        images: sha256 each.
        photo_of: decodes an image, None where no file holds it any more; called in another thread.
        names: the classes of the project; the student may know fewer, or have them in another order.
        batch: images in one call of the student; about three times as many are in memory.
        floor: smallest score.
        progress: is told after each batch how many of how many images are through.

    Raises:
        StateError: the student knows a class that the project does not have.
        BackendError: it fails on every image.
    """
    if unknown := [name for name in predictor.names if name not in names]:
        raise StateError(
            f"the student knows the class {unknown[0]!r}, expected classes of this project: {', '.join(names)}; it was "
            "trained elsewhere, name one of this project"
        )
    ids = np.array([list(names).index(name) for name in predictor.names], dtype=np.int64)
    objects: list[Objects] = []
    left_out: dict[str, list[str]] = {}
    failure: Exception | None = None
    done = 0
    with Ahead(_decoded(images, photo_of, batch), name="photos of the student") as batches:
        for some in batches:
            photos = [(sha256, photo) for sha256, photo in some if photo is not None]
            for sha256, answer in _seen(predictor, photos, floor):
                if isinstance(answer, Objects):
                    objects.append(replace(answer, sha256=sha256, class_ids=ids[answer.class_ids]))
                else:
                    failure = answer
                    left_out.setdefault(f"the student failed: {answer}", []).append(sha256)
            for sha256, photo in some:
                if photo is None:
                    left_out.setdefault("the photo cannot be read any more", []).append(sha256)
            done += len(some)
            if progress is not None:
                progress(done, len(images))
    if failure is not None and not objects:
        raise BackendError(f"the student failed on every image, lastly with: {failure}") from failure
    return Said(tuple(objects), {reason: tuple(some) for reason, some in left_out.items()})


def _known(store: Store, images: Sequence[str], *, masks: bool) -> dict[str, list[Annotation]]:
    """Return the labels that are held to be true, by image."""
    gone = DecisionLedger(store).dropped_labels()
    return {
        sha256: [one for one in labels if one.id not in gone and one.provenance.source != "student"]
        for sha256, labels in store.annotations_of_images(images, masks=masks).items()
    }


def _objects(
    store: Store, images: Sequence[str], names: Sequence[str], spoken: Mapping[str, Sequence[Annotation]]
) -> list[Objects]:
    sizes, ids = store.sizes(), {name: place for place, name in enumerate(names)}
    return [Objects.of(sha256, sizes[sha256], spoken[sha256], ids) for sha256 in images]


def _by_person(store: Store, sha256: str) -> dict[str, Answer]:
    """Return the last answer of each person who submitted one."""
    ledger = StudioLedger(store)
    answers = [one for target in ledger.targets() for one in ledger.answers(target, sha256)]
    return {one.annotator: one for one in sorted(answers, key=by_time) if one.kind == "submitted"}


def _author(labels: Sequence[Annotation], answers: Mapping[str, Answer], size_wh: tuple[int, int]) -> str:
    """Return whose answer became the truth, or why it is nobody's."""
    if not labels:
        empty = [one for one in answers.values() if not read(one.result, size_wh)[0]]
        return max(empty, key=by_time).annotator if empty else "the truth is empty and nobody's answer is"
    people = {one.provenance.annotator or "" for one in labels}
    (author, *others) = people
    if others or (author not in answers and set(author.split(", ")) <= answers.keys()):
        return "several people's answers became the truth together"
    return author if author in answers else "the truth comes from elsewhere than these answers"


def _label(sha256: str, drawn: Drawn, class_of: Callable[[str], str | None], annotator: str) -> Annotation:
    name = class_of(drawn.class_name) or drawn.class_name
    return Annotation(
        drawn.region_id, sha256, name, drawn.box_xyxy, Provenance("human", annotator=annotator), drawn.rle
    )


def _decoded(images: Sequence[str], photo_of: PhotoOf, batch: int) -> Generator[list[_Photo], None, None]:
    for start in range(0, len(images), batch):
        yield [(sha256, photo_of(sha256)) for sha256 in images[start : start + batch]]


def _seen(
    predictor: Predictor, photos: Sequence[tuple[str, LoadedImage]], floor: float
) -> list[tuple[str, Objects | Exception]]:
    """Return what the student sees in each photo; where a call fails, each half is tried alone, down to one photo."""
    if not photos:
        return []
    try:
        answers = predictor.predict([photo.pixels for _, photo in photos], floor)
        return [(sha256, answer) for (sha256, _), answer in zip(photos, answers, strict=True)]
    except Exception as error:
        if not isinstance(error, BackendError) and not is_out_of_memory(error):
            raise
        failure = error.with_traceback(None)  # or its frames would keep the tensors of the failed call alive
    if len(photos) == 1:
        return [(photos[0][0], failure)]
    half = len(photos) // 2
    return _seen(predictor, photos[:half], floor) + _seen(predictor, photos[half:], floor)
