"""One run over a plan: batch after batch into labels.db, counted, and stopped between two batches when asked."""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from time import monotonic
from typing import TYPE_CHECKING, Any

from .core.store import FileStamp, ImageOutcome, Store
from .image_files import display
from .outcomes import quarantined_outcome
from .planning import Plan, rejection

if TYPE_CHECKING:
    from .pipeline import Load
    from .teachers.teacher import Teacher

#: What the batches of an automatic size begin with; running out of memory makes them smaller.
AUTO_BATCH = {"cpu": 4, "cuda": 16}


@dataclass(slots=True)
class Summary:
    """What a run did.

    Attributes:
        files: how many files were read.
        labelled: how many images were labelled.
        copies: how many files held the bytes of an image that needed nothing.
        objects: labels by class name.
        dropped: boxes that were dropped, by reason.
        quarantined: (path, reason) of files that could not be used, path for display.
        seconds: wall time.
        stopped: whether files are left because the run was asked to stop.
    """

    files: int = 0
    labelled: int = 0
    copies: int = 0
    objects: Counter[str] = field(default_factory=Counter)
    dropped: Counter[str] = field(default_factory=Counter)
    quarantined: list[tuple[str, str]] = field(default_factory=list)
    seconds: float = 0.0
    stopped: bool = False

    def add(self, outcomes: Sequence[ImageOutcome]) -> None:
        """Count one batch."""
        for outcome in outcomes:
            self.files += len(outcome.files)
            if outcome.status == "quarantined":
                reason = outcome.reason or ""
                self.quarantined += [(display(Path(os.fsdecode(file.path))), reason) for file in outcome.files]
            elif outcome.done_key is None:
                self.copies += len(outcome.files)
            else:
                self.labelled += 1
                self.objects.update(annotation.class_name for annotation in outcome.annotations)
                for (reason, _class_name), count in outcome.drops.items():
                    self.dropped[reason] += count

    def as_dict(self) -> dict[str, Any]:
        """Return what labels.db keeps about a run."""
        return {
            "files": self.files,
            "labelled": self.labelled,
            "copies": self.copies,
            "objects": dict(self.objects),
            "dropped": dict(self.dropped),
            "quarantined": len(self.quarantined),
            "seconds": round(self.seconds, 3),
            "stopped": self.stopped,
        }


def label_files(
    store: Store,
    plan: Plan,
    teacher: Teacher,
    load: Load,
    *,
    key: str,
    run_id: int,
    batch: int,
    batch_memory: str,
    stop: Event | None = None,
    on_batch: Callable[[Summary], None] = lambda summary: None,
) -> Summary:
    """Label the files of a plan and return what was done.

    Args:
        store: labels.db, with the classes of the teacher's ontology.
        plan: what to do.
        teacher: labels batches of images.
        load: decodes one file.
        key: what the images will be done for.
        run_id: of ``store.start_run``.
        batch: files per batch and transaction.
        batch_memory: key under which labels.db remembers a smaller batch that fits, for ``batch_size``.
        stop: when set, the run ends after the batch at hand.
        on_batch: called after each commit with the counts so far.
    """
    from .pipeline import Pipeline  # here, because a run with nothing to do needs no numpy

    started = monotonic()
    summary = Summary()
    pipeline = Pipeline(teacher, load, done_key=key, batch=batch, current=plan.current)
    fits = batch
    with contextlib.closing(pipeline.run(plan.files)) as batches:
        for outcomes in batches:
            store.commit_batch(outcomes, run_id)
            summary.add(outcomes)
            summary.seconds = monotonic() - started
            if pipeline.fits < fits:
                fits = pipeline.fits
                store.remember(batch_memory, str(fits))
            on_batch(summary)
            if stop is not None and stop.is_set() and summary.files < len(plan.files):
                summary.stopped = True
                break
    return summary


def batch_size(store: Store, batch_memory: str, device: str) -> int:
    """Return the automatic batch size: what fitted this teacher and device before, else the start for the device."""
    start = AUTO_BATCH["cpu" if device == "cpu" else "cuda"]
    return min(start, int(store.recall(batch_memory) or start))


def record_rejected(store: Store, plan: Plan, run_id: int) -> None:
    """Note the files of a plan that cannot be read at all."""
    if plan.rejected:
        stamps = [(FileStamp(os.fsencode(entry.path), 0, 0), rejection(entry)) for entry in plan.rejected]
        store.commit_batch([quarantined_outcome(stamp, reason, None, None) for stamp, reason in stamps], run_id)
