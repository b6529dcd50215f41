"""`labelstill label`: photos and words in, labels out; what was done, where it lies, what to run next."""

from __future__ import annotations

import json
import shlex
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import wraps
from pathlib import Path
from typing import Annotated, Any

import typer

from ..core.errors import InputError
from ..core.standing import second_opinions
from ..image_files import display
from ..job import LabelJob, LabelRequest
from ..label_run import Summary
from ..planning import Plan
from ..tables import printable
from ..teachers.backends import STUDENT
from ..teachers.filter_settings import in_words
from ..typer_app import invoke
from ..video.files import is_stream
from .progress import show_progress, stop_on_signals

QUARANTINED = 2
_SHOWN_FILES = 20


@dataclass(frozen=True, slots=True)
class Asked:
    """The flags as they were typed: the job itself, how many photos to preview instead, and how to answer."""

    request: LabelRequest
    preview: int | None
    as_json: bool


def read_request(
    photos: Annotated[
        list[str],
        typer.Argument(metavar="FOLDER|FILES|STREAM", help="Photos and videos: folders and files; streams: rtsp://…"),
    ],
    project: Annotated[Path, typer.Option(metavar="DIR", help="Project folder; made where there is none.")] = Path(),
    classes: Annotated[str | None, typer.Option(help="What to look for: 'forklift, person: worker | driver'.")] = None,
    ontology: Annotated[Path | None, typer.Option(metavar="FILE", help="Classes from a YAML or JSON file.")] = None,
    detector: Annotated[
        str | None, typer.Option(help="A name of labelstill teachers, or several: a,b.  [default: grounding-dino]")
    ] = None,
    weights: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FILE|FOLDER|HUB-ID|RUN",
            help="Weights of the detector; RUN names a student; of several detectors NAME=WEIGHTS, one by one or with "
            "commas.  [default: its own; the newest student]",
        ),
    ] = None,
    class_names: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Class names of a detector whose weights do not name them.")
    ] = None,
    segmenter: Annotated[
        str | None, typer.Option(help="A name of labelstill teachers, or none.  [default: the detector's]")
    ] = None,
    segmenter_weights: Annotated[
        str | None, typer.Option(metavar="FOLDER|HUB-ID", help="Weights of the segmenter.  [default: its own]")
    ] = None,
    score: Annotated[
        float | None, typer.Option(help="Smallest score kept, for every class.  [default: the class's, the detector's]")
    ] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda or cuda:N.  [default: auto]")] = None,
    batch: Annotated[str | None, typer.Option(help="Images per batch, or auto.  [default: auto]")] = None,
    limit: Annotated[int | None, typer.Option(help="Read at most this many files.")] = None,
    preview: Annotated[
        int | None, typer.Option(metavar="N", help="Only look: report on N varied photos; no label is kept.")
    ] = None,
    trust_weights: Annotated[
        bool, typer.Option("--trust-weights", help="Allow weights that are pickled modules: they can run any code.")
    ] = False,
    embeddings: Annotated[
        Path | None, typer.Option(metavar="FILE", help="One embedding per prompt, for yolo-world and yoloe.")
    ] = None,
    exemplars: Annotated[
        Path | None,
        typer.Option(
            "--exemplar",
            metavar="DIR",
            help="For yoloe, in place of words: a folder of pictures for each of the --classes.",
        ),
    ] = None,
    prompts_per_pass: Annotated[
        int | None, typer.Option(min=1, help="Most prompts that share a forward pass.  [default: as many as fit]")
    ] = None,
    tile: Annotated[
        int | None,
        typer.Option(min=0, metavar="PX", help="Cut photos into tiles of this side; 0 never.  [default: huge ones]"),
    ] = None,
    every: Annotated[
        float, typer.Option(metavar="SECONDS", help="Take a frame of a video so often though nothing has changed.")
    ] = 10.0,
    fps: Annotated[float, typer.Option(help="Take at most so many frames per second of a video.")] = 2.0,
    seconds: Annotated[float, typer.Option(help="Record a stream so long.")] = 60.0,
    propagate: Annotated[
        bool, typer.Option("--propagate", help="Follow objects through the frames between, with a SAM 2 video model.")
    ] = False,
    propagate_every: Annotated[
        int, typer.Option(min=1, metavar="K", help="With --propagate: label every K-th frame between.")
    ] = 5,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> Asked:
    """Label photos and videos from text prompts.

    The same command again continues a run that was stopped, and else does nothing. Photos and videos are never
    changed. Labels that people have reviewed are never replaced.
    """
    streams = tuple(text for text in photos if is_stream(text))
    files = tuple(Path(text) for text in photos if not is_stream(text))
    named = _weights(weights, detector)
    request = LabelRequest(
        files, project, classes, ontology, detector, named, class_names, segmenter, segmenter_weights,
        score, device, batch, limit, trust_weights, embeddings, exemplars, prompts_per_pass, tile,
        streams, every, fps, seconds, propagate, propagate_every,
    )  # fmt: skip
    return Asked(request, preview, as_json)


def _weights(given: list[str] | None, detector: str | None) -> str | None:
    """Return what was given as one text: all of it for several detectors, for one the last, as of other flags."""
    several = detector is not None and "," in detector
    return None if not given else ",".join(given) if several else given[-1]


@wraps(read_request)
def run(*flags: Any, **named_flags: Any) -> int:
    asked = read_request(*flags, **named_flags)
    if asked.preview is not None:
        from .preview import preview  # draws pictures, which a run with nothing to do can spare

        return preview(asked.request, asked.preview, as_json=asked.as_json)
    return label(asked.request, as_json=asked.as_json)


def parse_request(arguments: Sequence[str], name: str) -> Asked | None:
    """Read the flags of `labelstill label` for another program; None where only the help was asked for."""
    app = typer.Typer(add_completion=False, rich_markup_mode=None)
    app.command()(read_request)
    parsed = invoke(app, arguments, name)
    return parsed if isinstance(parsed, Asked) else None


def label(request: LabelRequest, *, as_json: bool = False) -> int:
    """Label what the request asks for, tell the user, and return the exit code."""
    ending, code = perform(request, quiet=as_json)
    print(json.dumps(ending.as_dict()) if as_json else ending.as_text())
    return code


def perform(request: LabelRequest, *, quiet: bool) -> tuple[Ending, int]:
    """Label what the request asks for; return what to say at the end, and the exit code."""
    job = LabelJob(request)
    with job.open_project() as (project, store):
        with stop_on_signals() as stop:
            job.take_frames(project, store, stop, _say_nothing if quiet else _say_what_is_read)
            if job.footage.lost and not job.photos.files:
                raise InputError(": ".join(job.footage.lost[0]))
            plan = job.plan(store)
            done = plan.unchanged + plan.reviewed
            with show_progress(len(plan.files), quiet=quiet, before=done) as shown:
                summary = job.run(plan, project, store, stop, shown)
        set_aside = store.reviews_without_photo()
        beside = second_opinions(store) if job.spec.detector == STUDENT else 0
    ending = Ending(job, plan, summary, set_aside, beside)
    return ending, stop.exit_code if ending.stopped else ending.exit_code()


@dataclass(frozen=True, slots=True)
class Ending:
    """What to say at the end of a run.

    ``set_aside`` counts reviewed images whose files hold other pictures now, ``beside`` those where a student's labels
    stand beside the teacher's.
    """

    job: LabelJob
    plan: Plan
    summary: Summary
    set_aside: int = 0
    beside: int = 0

    @property
    def quarantined(self) -> list[tuple[str, str]]:
        """(path, reason) of every file of this search that cannot be used, found now or before."""
        return sorted({*self.plan.quarantined, *self.summary.quarantined, *self.job.footage.lost})

    @property
    def stopped(self) -> bool:
        """Whether something is left because the run was asked to stop."""
        return self.summary.stopped or self.job.footage.stopped

    def exit_code(self) -> int:
        """Return 0, or 2 with quarantined files. Raises InputError where not one image could be used."""
        usable = self.summary.labelled + self.summary.copies + self.plan.unchanged + self.plan.reviewed
        if usable == 0 and self.quarantined and not self.plan.left:
            path, reason = self.quarantined[0]
            count = len(self.quarantined)
            raise InputError(f"none of the {count} files can be used; the first: {path}: {reason}")
        return QUARANTINED if self.quarantined else 0

    def as_dict(self) -> dict[str, Any]:
        """Return what ``--json`` prints."""
        return {
            "labelled": self.summary.labelled,
            "unchanged": self.plan.unchanged,
            "reviewed": self.plan.reviewed,
            "set_aside": self.set_aside,
            "beside": self.beside,
            "student": self._student(),
            "not_taught": list(self.job.untaught),
            "copies": self.summary.copies,
            "objects": {name: self.summary.objects[name] for name in self.job.ontology.names},
            "dropped": dict(self.summary.dropped),
            "quarantined": [{"path": path, "reason": reason} for path, reason in self.quarantined],
            "skipped_files": len(self.job.photos.skipped),
            "videos": [
                {
                    "name": film.name,
                    "frames": film.frames,
                    "taken": len(film.taken),
                    "near_identical": film.alike,
                    "too_soon": film.too_soon,
                    "folder": str(film.folder),
                }
                for film in self.job.footage.films
            ],
            "video_copies": self.job.footage.copies,
            "tracks": self.job.tracks,
            "propagated": asdict(self.job.propagated),
            "vanished": list(self.plan.vanished),
            "seconds": round(self.summary.seconds, 3),
            "stopped": self.stopped,
            "project": str(self.job.root),
            "labels": str(self.job.root / "labels.db"),
        }

    def _student(self) -> dict[str, Any] | None:
        student = self.job.student
        if student is None:
            return None
        return {"run": student.name, "threshold": student.threshold, "threshold_from": student.origin}

    def as_text(self) -> str:
        """Return what people read: what changed, where it lies, what to run next."""
        plan, summary = self.plan, self.summary
        found = Counter({name: summary.objects[name] for name in self.job.ontology.names})
        objects = f", {found.total()} objects{in_brackets(found)}" if summary.labelled else ""
        lines = [f"labelled     {summary.labelled} images{objects}"]
        if self.job.student is not None:
            own = sum(entry.threshold is not None for entry in self.job.ontology.classes)
            keeps = "1 class keeps its own" if own == 1 else f"{own} classes keep their own"
            besides = f"; {keeps}" if own and self.job.spec.score is None else ""
            lines.append(f"student      {printable(self.job.student.in_words())}{besides}")
        films = self.job.footage.films
        lines += [f"video        {film.name}: {film.in_words()}" for film in films[:_SHOWN_FILES]]
        if len(films) > _SHOWN_FILES:
            lines.append(f"             and {len(films) - _SHOWN_FILES} more videos: see --json")
        optional: list[tuple[int, Callable[[int], str]]] = [
            (self.job.footage.copies, lambda n: f"copies       {n} videos hold what one of these holds, byte by byte"),
            (plan.unchanged, lambda n: f"unchanged    {n} images, their labels are up to date"),
            (plan.reviewed, lambda n: f"reviewed     {n} images, left alone"),
            (
                len(untaught := self.job.untaught),
                lambda n: f"not taught   {n} classes, which this student cannot find: {', '.join(untaught)}",
            ),
            (
                self.beside,
                lambda n: (
                    f"beside       {n} images have labels of a teacher, which stand; the student's are a second opinion"
                ),
            ),
            (self.set_aside, lambda n: f"set aside    {n} reviewed images, their files hold other pictures now"),
            (summary.copies, lambda n: f"copies       {n} files hold an image that has its labels"),
            (summary.dropped.total(), lambda n: f"dropped      {n} boxes{in_brackets(in_words(summary.dropped))}"),
            (
                self.job.tracks,
                lambda n: f"tracks       {n} objects followed from frame to frame; splits keep them whole",
            ),
            (len(self.job.photos.skipped), lambda n: f"skipped      {n} files that are no images"),
            (
                len(passed := self.job.photos.passed_over),
                lambda n: f"passed over  {n} folders of the project: {_names(passed)}",
            ),
            (len(plan.vanished), lambda n: f"gone         {n} files, the first: {plan.vanished[0]}"),
            (len(self.quarantined), lambda n: f"quarantined  {n} files"),
        ]
        lines += [line(count) for count, line in optional if count]
        lines += [f"  {path}: {reason}" for path, reason in self.quarantined[:_SHOWN_FILES]]
        if len(self.quarantined) > _SHOWN_FILES:
            lines.append(f"  and {len(self.quarantined) - _SHOWN_FILES} more: see labelstill status --json")
        root = shlex.quote(display(self.job.root))
        lines.append(f"labels       {root}/labels.db")
        if not self.stopped:
            lines.append(f"next         labelstill report --project {root}")
            lines.append(f"             labelstill convert --project {root} --to coco --out {root}/exports/coco")
        return "\n".join(lines)


def _say_what_is_read(name: str) -> None:
    print(f"reading {name}", file=sys.stderr, flush=True)


def _say_nothing(_name: str) -> None:
    pass


def _names(folders: Sequence[Path]) -> str:
    return ", ".join(display(Path(folder.name)) for folder in folders)


def in_brackets(counts: Counter[str]) -> str:
    """Return `` (name count, …)``, or nothing without counts."""
    return f" ({', '.join(f'{name} {count}' for name, count in counts.items())})" if counts else ""
