"""The way of a batch: decode in a pool of threads, detect in one of its own, segment and write in the caller's.

The plan is cut into batches of the same consecutive files every time, and each batch is one transaction. While one is
segmented and written the next one is in the detector and the files after it are being decoded; nothing runs further
ahead, so a kill costs one finished batch at most, and memory does not grow with the number of images.

Nor does it with their size: a batch ends early where its images would have more than ``BATCH_PIXELS``, as the headers
of its own files say and nothing else, and decoding waits while ``PIXELS_IN_USE`` are in memory. One image alone may
have more.
"""

from __future__ import annotations

import contextlib
import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from .ahead import Ahead
from .core.errors import BackendError
from .core.store import FileStamp, ImageOutcome
from .image_files import FoundFile
from .images import ImageRejected, LoadedImage, header_pixels
from .outcomes import known_outcome, labelled_outcome, quarantined_outcome
from .pixel_budget import PixelBudget
from .teachers.memory import is_out_of_memory, release_memory
from .teachers.teacher import Labelled, Teacher

Load = Callable[[Path], LoadedImage]
"""Decodes one file; raises ImageRejected."""

BATCH_PIXELS = 100_000_000
"""Eight photos of 12 MP, or one of the largest that are read unless project.yaml allows more; 300 MB."""

PIXELS_IN_USE = 190_000_000
"""The next batch of photos is decoded beside the one at hand, but no two of the largest images; 570 MB."""

#: So many failures without a single success are the teacher's fault and not the images'.
_HOPELESS = 3


@dataclass(slots=True, eq=False)
class _Item:
    """One file on its way; ``failure`` says why the teacher could not label it, ``pixels`` what its header says."""

    file: FoundFile
    pixels: int = 0
    image: LoadedImage | None = None
    rejected: ImageRejected | None = None
    wanted: bool = False
    labelled: Labelled | None = None
    failure: str | None = None


_Step = Callable[[Sequence[_Item]], Sequence[Labelled]]


class Pipeline:
    """Files in, outcomes out, batch by batch, in the order of the files.

    A file that cannot be decoded, and an image on which the teacher fails even alone, is an outcome like any other.
    A teacher that fails on the first few images without having labelled one is broken: that is raised.
    """

    def __init__(
        self,
        teacher: Teacher,
        load: Load,
        *,
        done_key: str,
        batch: int,
        current: frozenset[str] = frozenset(),
        copies: bool = False,
    ) -> None:
        """Prepare a run.

        Args:
            teacher: labels batches of images.
            load: decodes one file; called from several threads, exactly once per file.
            done_key: what the images will be done for.
            batch: files per batch.
            current: sha256 of images that need no labels; their files are recorded as further paths.
            copies: label every file, also one with the bytes of an image met before; nothing is remembered then.
        """
        self._teacher = teacher
        self._load = load
        self._done_key = done_key
        self._batch = batch
        self._met = set(current)
        self._copies = copies
        self._failures: dict[str, str] = {}
        self._proven = False
        self._failed = 0
        self._budget = PixelBudget(PIXELS_IN_USE)
        self.fits = batch
        """How many images the device holds at once: ``batch``, or less after it ran out of memory."""

    def run(self, files: Iterable[FoundFile]) -> Generator[list[ImageOutcome], None, None]:
        """Yield the outcomes of each batch; the next batch is under way meanwhile. Close it to stop early.

        The files are taken one by one, in another thread, as room for them gets free.

        Raises:
            BackendError: the teacher cannot be used. InputError: it refuses the ontology.
        """
        # The budget is closed first: whoever waits for it could not end otherwise.
        with Ahead(self._detected(files), name="detect") as batches, contextlib.closing(self._budget):
            for items in batches:
                self._in_groups(self._segment, items)
                self._judge(items)
                outcomes = [self._outcome(item) for item in items]
                pixels = sum(item.pixels for item in items)
                items.clear()  # frees the pixels before the caller writes and waits
                self._budget.give(pixels)
                yield outcomes

    def _detected(self, files: Iterable[FoundFile]) -> Generator[list[_Item], None, None]:
        with contextlib.closing(self._decoded(files)) as decoded:
            while items := self._next_batch(decoded):
                self._in_groups(self._detect, items)
                yield items
                del items  # or this frame would keep the pixels while the next batch comes together

    def _next_batch(self, decoded: Iterator[_Item | None]) -> list[_Item]:
        """Return the files up to a border of the batches."""
        items = []
        for item in decoded:
            if item is None:
                break
            if item.image is not None and (self._copies or item.image.sha256 not in self._met):
                item.wanted = True
                if not self._copies:
                    self._met.add(item.image.sha256)
            items.append(item)
            if len(items) == self._batch:
                break
        return items

    def _decoded(self, files: Iterable[FoundFile]) -> Generator[_Item | None, None, None]:
        """Yield the files in order, and None where a batch ends before it is full.

        A file is taken from the budget in its turn, and those before it are handed on first: so the batch at hand can
        always be finished, and what it waits for is given back.
        """
        workers = min(16, len(os.sched_getaffinity(0)))
        window: deque[Future[_Item] | None] = deque()
        pool = ThreadPoolExecutor(workers, thread_name_prefix="decode")
        count = filled = 0
        try:
            for file in files:
                pixels = header_pixels(file.path)
                if count == self._batch or (count and filled + pixels > BATCH_PIXELS):
                    if count < self._batch:
                        window.append(None)
                    count = filled = 0
                while window and not self._budget.fits(pixels):
                    yield _result(window.popleft())
                self._budget.take(pixels)
                window.append(pool.submit(self._decode, file, pixels))
                count, filled = count + 1, filled + pixels
                while window[0] is None or len(window) - window.count(None) >= self._batch + workers:
                    yield _result(window.popleft())
            while window:
                yield _result(window.popleft())
        finally:
            pool.shutdown(cancel_futures=True)

    def _decode(self, file: FoundFile, pixels: int) -> _Item:
        try:
            return _Item(file, pixels, image=self._load(file.path))
        except ImageRejected as rejected:
            return _Item(file, pixels, rejected=rejected)

    def _detect(self, items: Sequence[_Item]) -> Sequence[Labelled]:
        return self._teacher.detect([item.image.pixels for item in items if item.image is not None])

    def _segment(self, items: Sequence[_Item]) -> Sequence[Labelled]:
        pixels = [item.image.pixels for item in items if item.image is not None]
        return self._teacher.segment(pixels, [item.labelled for item in items if item.labelled is not None])

    def _in_groups(self, step: _Step, items: Sequence[_Item]) -> None:
        start = 0
        while start < len(items):
            size = self.fits
            self._attempt(step, items[start : start + size])
            start += size

    def _attempt(self, step: _Step, items: Sequence[_Item]) -> None:
        """Take one step for a group; where it fails, for each half of it, down to the image that is to blame.

        Groups are cut by the places of the files and not by how many of them decoded, so a run that was cut off and
        one that was not form the same groups.
        """
        wanted = [item for item in items if item.wanted and item.failure is None]
        if not wanted:
            return
        try:
            for item, labelled in zip(wanted, step(wanted), strict=True):
                item.labelled = labelled
            return
        except Exception as error:
            out_of_memory = is_out_of_memory(error)
            if not out_of_memory and not isinstance(error, BackendError):
                raise
            failure = "out_of_memory: not even one image fits" if out_of_memory else f"teacher_failed: {error}"
        # Only here, with the error gone, nothing holds the tensors of the failed call any more.
        half = len(items) // 2
        if out_of_memory:
            self.fits = min(self.fits, max(half, 1))
            release_memory()
        if half:
            self._attempt(step, items[:half])
            self._attempt(step, items[half:])
        else:
            wanted[0].failure = failure

    def _judge(self, items: Sequence[_Item]) -> None:
        failures = [item.failure for item in items if item.failure is not None]
        self._proven = self._proven or any(item.labelled is not None and item.failure is None for item in items)
        self._failed += len(failures)
        if not self._proven and self._failed >= _HOPELESS:
            raise BackendError(f"the teacher failed on the first {self._failed} images, lastly with: {failures[-1]}")

    def _outcome(self, item: _Item) -> ImageOutcome:
        stamp = FileStamp(os.fsencode(item.file.path), item.file.size, item.file.mtime_ns)
        if item.image is None:
            assert item.rejected is not None
            return quarantined_outcome(stamp, str(item.rejected), item.rejected.sha256, None)
        if item.failure is not None and not self._copies:
            self._failures[item.image.sha256] = item.failure
        failure = item.failure if item.wanted else self._failures.get(item.image.sha256)
        if failure is not None:
            return quarantined_outcome(stamp, failure, item.image.sha256, item.image)
        if item.labelled is None:
            return known_outcome(stamp, item.image)
        names, teacher = self._teacher.ontology.names, self._teacher
        return labelled_outcome(stamp, item.image, item.labelled, names, teacher.model, self._done_key, teacher.machine)


def _result(entry: Future[_Item] | None) -> _Item | None:
    return None if entry is None else entry.result()
