"""Calibration of a project: from its gold set and its detector to settings, and into project.yaml."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from ..core.config import save_settings
from ..core.errors import StateError
from ..core.ontology import Ontology
from ..core.store import Store
from ..project import Project
from ..teachers import backends
from ..teachers.interfaces import Detector
from .calibration import Calibration, calibrated
from .calibration_claims import Aim
from .calibration_search import Prompts, Search, Settings, most_passes
from .gold import Gold, GoldImage, read_gold
from .gold_groups import groups_of
from .opinions import FLOOR, Opinion, ask, load_detector

Announce = Callable[[int, int], None]
"""Called before the first pass with how many passes there may be, and over how many images."""

Passed = Callable[[int], None]
"""Called with the number of each pass as it begins."""


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """What a calibration of a project ended with.

    Attributes:
        found: see ``Calibration``.
        gold: what people said, of the images that took part.
        failed: gold images that could not be decoded or asked about, with the reason by sha256.
        options: prompts that could be tried, per class.
        note: what else people should know, in words.
    """

    found: Calibration
    gold: Gold
    failed: dict[str, str]
    options: Sequence[Sequence[str]] = ()
    note: str = ""


def today(project: Project, spec: backends.TeacherSpec, ontology: Ontology) -> Settings:
    """Return the settings that a labelling run with this teacher has today."""
    return Settings(
        tuple(entry.prompts for entry in ontology.classes),
        spec.prompts_per_pass,
        project.config.filters.nms_iou,
        backends.effective_scores(spec, ontology),
    )


def calibrate(
    project: Project,
    store: Store,
    spec: backends.TeacherSpec,
    aim: Aim,
    options: Sequence[Sequence[str]],
    *,
    announce: Announce | None = None,
    passed: Passed | None = None,
) -> Outcome:
    """Choose settings on the gold set of a project and measure what they are worth; nothing of the project changes.

    Args:
        project: with classes.
        store: its labels.db.
        spec: the teacher to calibrate; its segmenter plays no part.
        aim: what counts as cheap.
        options: prompts to try, see ``aliases.prompt_options``.
        announce, passed: told how it goes on.

    Raises:
        StateError: fewer than 30 reviewed gold images; the message says how many more.
        InputError: a prompt that the detector cannot read. BackendError, MissingExtraError: see ``ask``.
    """
    ontology, filters = project.ontology, project.config.filters
    gold = read_gold(store, ontology)
    if gold.missing:
        raise StateError(too_small(gold))
    detectors: dict[backends.TeacherSpec, Detector] = {}
    failed: dict[str, str] = {}
    begun: dict[tuple[Prompts, int | None], int] = {}

    def one_pass(prompts: Prompts, per_pass: int | None) -> list[Opinion]:
        if passed is not None and (prompts, per_pass) not in begun:
            passed(begun.setdefault((prompts, per_pass), len(begun) + 1))
        asked, teacher = with_prompts(ontology, prompts), replace(spec, prompts_per_pass=per_pass)
        wanted = [one.sha256 for one in images]
        return ask(project, store, teacher, asked, wanted, failed=failed, detectors=detectors)

    images: Sequence[GoldImage] = gold.images
    settings = today(project, spec, ontology)
    per_pass = [value for value in _per_pass(spec, options) if value != settings.prompts_per_pass]
    most = most_passes(options, per_pass)
    if announce is not None:
        announce(most, len(images))
    if any(set(some) > set(now) for some, now in zip(options, settings.prompts, strict=True)):
        # A word that the detector cannot read is refused before the first pass.
        detectors[spec] = load_detector(spec)
        detectors[spec].detect([], with_prompts(ontology, tuple(tuple(some) for some in options)), FLOOR)
    first = one_pass(settings.prompts, settings.prompts_per_pass)
    answered = {one.sha256 for one in first}
    images = [one for one in gold.images if one.sha256 in answered]
    gold = replace(gold, images=tuple(images))
    if gold.missing:
        raise StateError(
            f"{len(failed)} gold images could not be used ({next(iter(failed.values()))}); {too_small(gold)}"
        )
    search = Search(
        images, settings, options, per_pass, aim, one_pass,
        groups_of(store, [one.sha256 for one in images]),
        class_agnostic=filters.class_agnostic_nms, min_area_px=filters.min_area_px,
    )  # fmt: skip
    return Outcome(calibrated(search), gold, failed, options)


def apply(project: Project, store: Store, spec: backends.TeacherSpec, found: Calibration) -> Ontology:
    """Write the chosen settings into project.yaml and labels.db; the project must be held for writing.

    Prompts that are no longer used stay as synonyms. Prompts per pass are written only where project.yaml names this
    detector, as they would not reach another one.
    """
    chosen, now = found.chosen, found.today
    classes = []
    for number, entry in enumerate(project.ontology.classes):
        prompts, threshold = chosen.prompts[number], entry.threshold
        if number not in found.unseen:
            threshold = chosen.thresholds[number]
        unused = tuple(text for text in entry.prompts if text not in (*prompts, *entry.synonyms))
        classes.append(replace(entry, prompts=prompts, threshold=threshold, synonyms=(*entry.synonyms, *unused)))
    ontology = Ontology(tuple(classes))
    sections: dict[str, dict[str, float | None]] = {"filters": {"nms_iou": chosen.nms_iou}}
    if spec.detector == project.config.teacher.detector and chosen.prompts_per_pass != now.prompts_per_pass:
        sections["teacher"] = {"prompts_per_pass": chosen.prompts_per_pass}
    store.check_classes(ontology)
    save_settings(project.config_path, ontology, sections)
    store.write_classes(ontology)
    return ontology


def with_prompts(ontology: Ontology, prompts: Prompts) -> Ontology:
    """Return the classes with other prompts."""
    return Ontology(tuple(replace(entry, prompts=some) for entry, some in zip(ontology.classes, prompts, strict=True)))


def too_small(gold: Gold) -> str:
    """Return how many more reviewed images are needed, and what to do."""
    has = f"{len(gold.images)} reviewed gold images: {gold.missing} more are needed"
    if gold.kind != "gold":
        return f"{has}: draw a gold set with labelstill next --gold, then labelstill push --only gold"
    if gold.waiting >= gold.missing:
        return f"{has}, {gold.waiting} wait for people: labelstill push --only gold, and labelstill pull when reviewed"
    return f"{has}, {gold.waiting} wait for people: draw more with labelstill next --gold N"


def _per_pass(spec: backends.TeacherSpec, options: Sequence[Sequence[str]]) -> tuple[int | None, ...]:
    """Return the values of prompts per pass to try; none where the detector has no such thing."""
    if "prompts_per_pass" not in backends.detector_backend(spec).options or len(options) < 2:
        return ()
    return (None, 1)
