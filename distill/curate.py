"""The bridge between labels.db and FiftyOne: a dataset that is only a view of it, and tags that become decisions."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labeling.core.errors import StateError
from labeling.core.store import Store
from labeling.core.store_decisions import Decided, DecisionLedger
from labeling.project import Project

from .curation import datasets
from .curation.content import content, remarks_of, shown_scenes
from .curation.datasets import Key, Tagged
from .curation.originals import Names, Originals
from .curation.samples import declare, sample
from .curation.shown_files import Gone, shown_files
from .curation.tags import JOINED, Notes, Problem, merged, parse, remarks, sweeping, understand
from .curation.views import save_views

if TYPE_CHECKING:
    from .curation.findings import Findings

_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class Built:
    """A dataset that shows a project.

    Attributes:
        name: of the dataset in FiftyOne.
        images: samples in it.
        reused: it was there already.
        left_out: why images are not in it, by the name of their photo.
        refused: single values that are not in it, one sentence each.
    """

    name: str
    images: int
    reused: bool
    left_out: dict[str, str]
    refused: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Applied:
    """How tags became decisions.

    Attributes:
        added: decisions that are new in labels.db, or have other remarks.
        removed: decisions that were taken back.
        unchanged: so many stand as they stood.
        problems: tags that could not be understood; they stay where they are.
        to_relabel: images that people shall label again, by now.
        datasets: so many of the project were in FiftyOne; without any nothing can have been tagged.
    """

    added: tuple[Decided, ...]
    removed: tuple[Decided, ...]
    unchanged: int
    problems: tuple[Problem, ...]
    to_relabel: int = 0
    datasets: int = 1


def build(project: Project, store: Store, findings: Findings) -> Built:
    """Make the dataset of a project, or find it as it is; FiftyOne must be connected already.

    Its name holds a hash of what it shows, so one that is there and complete is used again. One that was cut off is
    removed, and so are older ones, once the tags in them that were never applied are taken over.

    Args:
        project: where upright copies of some photos are kept, under curation/media.
        store: labels.db.
        findings: what to show beside the labels.

    Raises:
        StateError: another process is at it for very long.
        InputError: the project folder cannot be written.
    """
    with datasets.one_at_a_time(project):
        name = datasets.prefix(project) + content(store, findings)
        others = [other for other in datasets.names(project) if other != name]
        dataset = datasets.load(name)
        reused = dataset is not None
        if dataset is None:
            dataset = _fill(name, project, store, findings)
        else:
            _restore_copies(project, store, dataset)
        for other in others:
            if (older := datasets.load(other)) is not None:
                datasets.carry_over(older, dataset)
        if not reused:
            dataset.info[datasets.COMPLETE] = True
            dataset.save()
        for other in others:
            datasets.delete(other)
        info = dataset.info
        return Built(name, len(dataset), reused, dict(info["left_out"]), tuple(info["refused"]))


def pending(store: Store, name: str) -> tuple[list[Decided], list[Decided]]:
    """Return the decisions that the tags of a dataset add to labels.db, and those that they take back.

    Raises:
        StateError: there is no such dataset, or it is not complete.
    """
    dataset = datasets.load(name)
    if dataset is None:
        raise StateError(f"{name}: no such dataset in FiftyOne: run labelstill curate")
    step = _read(store, dataset)
    return step.added, step.removed


def apply(project: Project, store: Store, *, sure: bool = False) -> Applied:
    """Write what was tagged into labels.db, and take back what is not tagged any more; again changes nothing.

    Decisions that came into labels.db by another way stay. A tag that cannot be understood stays in FiftyOne.

    Args:
        project: whose datasets are read.
        store: labels.db.
        sure: write even what would newly cover most of the images, see ``sweeping``.

    Raises:
        StateError: labels.db cannot be written, another process is at it for very long, or nobody is sure; nothing
            is written then.
    """
    added: list[Decided] = []
    removed: list[Decided] = []
    unchanged, problems = 0, list[Problem]()
    with datasets.one_at_a_time(project):
        found = [one for name in datasets.names(project) if (one := datasets.load(name)) is not None]
        if not sure:
            _check(store, [one for dataset in found for one in _read(store, dataset).added])
        for dataset in found:
            step = _read(store, dataset)
            if step.added or step.removed:
                DecisionLedger(store).change(step.added, step.removed)
            datasets.bring_up(dataset, step.in_step)
            added += step.added
            removed += step.removed
            unchanged += step.unchanged
            problems += step.problems
        to_relabel = len(DecisionLedger(store).images("relabel"))
    return Applied(tuple(added), tuple(removed), unchanged, tuple(problems), to_relabel, len(found))


def _check(store: Store, added: list[Decided]) -> None:
    """Refuse what a missed click may have tagged. Raises StateError."""
    ((images,),) = store.rows("SELECT count(*) FROM images WHERE state <> 'quarantined'")
    if many := sweeping(added, DecisionLedger(store).all(), images):
        counts = " and ".join(f"{decision!r} on {count} images" for decision, count in many.items())
        raise StateError(
            f"the tags newly say {counts}, of {images} in the project: nothing was written: remove the tags in the app "
            "if that was a missed click, or run the same command with --yes"
        )


def _fill(name: str, project: Project, store: Store, findings: Findings) -> Any:
    import fiftyone as fo

    datasets.delete(name)
    dataset = fo.Dataset(name, persistent=True)
    declare(dataset)
    left_out: dict[str, str] = {}
    refused: list[str] = []
    remarks_on = remarks_of(store, findings)
    for scenes in shown_scenes(store, _AT_ONCE):
        files = dict(shown_files(project, store, [scene.sha256 for scene in scenes]))
        samples = []
        for scene in scenes:
            file = files[scene.sha256]
            if isinstance(file, Gone):
                left_out[scene.name] = str(file)
                continue
            made, not_shown = sample(scene, str(file), remarks_on(scene.sha256))
            samples.append(made)
            refused += not_shown
        # Every field is declared, and every value was looked at.
        dataset.add_samples(samples, expand_schema=False, validate=False, progress=False)
    dataset.info.update(left_out=list(left_out.items()), refused=refused)
    dataset.save()
    save_views(dataset, findings.suspects, findings.balance)
    return dataset


def _restore_copies(project: Project, store: Store, dataset: Any) -> None:
    """Make those copies again whose files are gone."""
    rows = zip(*dataset.values(["labelstill_id", "filepath"]), strict=True)
    gone = [sha256 for sha256, path in rows if not Path(path).is_file()]
    for start in range(0, len(gone), _AT_ONCE):
        list(shown_files(project, store, gone[start : start + _AT_ONCE]))


@dataclass(slots=True)
class _Step:
    added: list[Decided]
    removed: list[Decided]
    unchanged: int
    problems: list[Problem]
    in_step: dict[Key, tuple[Tagged, set[str]]]


def _read(store: Store, dataset: Any) -> _Step:
    """Compare the tags of a dataset with those that were in step with labels.db, and with labels.db itself."""
    stored: dict[Key, dict[str, Notes]] = {}
    for one in DecisionLedger(store).all():
        notes = (one.note,) if one.decision == "duplicate-of" else remarks(one.note)
        stored.setdefault((one.sha256, one.annotation_id), {})[one.decision] = notes
    step = _Step([], [], 0, [], {})
    names = Names(store)
    originals = Originals(names, _kept(dataset))
    for (sha256, label_id), read in datasets.read_tags(dataset).items():
        if sha256 not in names or label_id.startswith(datasets.NEW):
            image, what = (names.name_of(sha256), "a label") if sha256 in names else ("", "an image")
            what += " that was added in FiftyOne: its tags say nothing to labels.db"
            step.problems.append(Problem(image, what))
            continue
        original = partial(originals.of, sha256)
        now = understand(read.tags, original, on_label=bool(label_id))
        before = understand(read.decided, original, on_label=bool(label_id))
        step.problems += [Problem(names.name_of(sha256), problem) for problem in now.problems]
        known = stored.get((sha256, label_id), {})
        # What was unclear then and is not named any more is taken back all the same.
        gone = before.unclear - {parse(tag)[0] for tag in read.tags}
        unclear = (now.unclear | before.unclear) - gone
        was = {**before.decisions, **{word: known[word] for word in gone & known.keys()}}
        added, removed = merged(was, now.decisions, known, unclear)
        step.added += [Decided(sha256, word, JOINED.join(notes), label_id) for word, notes in added.items()]
        step.removed += [Decided(sha256, word, JOINED.join(known[word]), label_id) for word in sorted(removed)]
        step.unchanged += len(now.decisions.keys() - added.keys())
        settled = {tag for tag in read.tags - now.refused if parse(tag)[0] not in unclear}
        kept = settled | {tag for tag in read.decided if parse(tag)[0] in unclear}
        if kept != read.decided:
            step.in_step[(sha256, label_id)] = (read, kept)
    return step


def _kept(dataset: Any) -> dict[str, str]:
    """Return the member to keep of the group of near duplicates that an image is in."""
    rows = list(zip(*dataset.values(["labelstill_id", "near_duplicates", "keep"]), strict=True))
    first = {group: sha256 for sha256, group, keep in rows if keep}
    return {sha256: first[group] for sha256, group, _ in rows if group in first}
