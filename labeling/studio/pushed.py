"""What a push is asked for, and what it has done."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..core.errors import InputError
from ..queue import AUDIT_SHARE
from .selection import Condition

BLIND_SHARE = 0.05


@dataclass(frozen=True, slots=True)
class Wishes:
    """What a push shall send.

    Attributes:
        only: conditions that every image has to meet.
        limit: so many new tasks at most.
        again: tasks that people deleted come back.
        audit_share: share of new tasks drawn by lot, in [0, 1].
        blind_share: share of images that people see without predictions, in [0, 1].
        overlap: percent of the tasks that two people shall see, in [1, 100]; None leaves the project as it is.
        boxes: rectangles only; masks stay out of the review.
        accepted: images that skip review, but for those that the lot takes.

    Raises:
        InputError: a number is out of range.
    """

    only: tuple[Condition, ...] = ()
    limit: int | None = None
    again: bool = False
    audit_share: float = AUDIT_SHARE
    blind_share: float = BLIND_SHARE
    overlap: float | None = None
    boxes: bool = False
    accepted: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        if self.limit is not None and self.limit < 1:
            raise InputError(f"--limit is {self.limit}: expected a number of images, 1 or more")
        for flag, share in (("--audit-share", self.audit_share), ("--blind-share", self.blind_share)):
            if not 0 <= share <= 1:
                raise InputError(f"{flag} is {share}: expected a number from 0 to 1, such as 0.1")
        if self.overlap is not None and not 1 <= self.overlap <= 100:
            raise InputError(f"--overlap is {self.overlap:g}%: expected a percentage from 1 to 100, such as 10%")


@dataclass(slots=True)
class Pushed:
    """What a push has done; of a dry run, what it would do.

    Attributes:
        new: tasks that people have now and had not before.
        changed: tasks whose prediction was replaced.
        unchanged: tasks that had nothing new to send.
        answered: tasks that keep the labels that people have begun with, though others were made since.
        asked: tasks that now say what to look at again.
        adopted: tasks that were on the server and unknown here.
        withdrawn: tasks that people have deleted since the last push.
        left_out: images that are not sent since people deleted their task.
        set_aside: images that are not sent since people decided to drop them, or that they repeat another one.
        accepted: images that are not sent since they skip review.
        audits: new tasks that came by lot out of those that would skip review.
        removed: second tasks of one image that nobody had touched, deleted.
        blind: new tasks without predictions.
        drawn: new tasks that came by lot.
        overlap: percent of the tasks that two people see, where this push has set it.
        refused: name and reason of each image that cannot be sent.
        attention: what only people can put right.
        warnings: what may go wrong.
        first_link: address of the first new task, or else of any; None without tasks.
        stopped: the user asked to stop; the rest is for the next push.
    """

    new: int = 0
    changed: int = 0
    unchanged: int = 0
    answered: int = 0
    asked: int = 0
    adopted: int = 0
    withdrawn: int = 0
    left_out: int = 0
    set_aside: int = 0
    accepted: int = 0
    audits: int = 0
    removed: int = 0
    blind: int = 0
    drawn: int = 0
    overlap: int | None = None
    refused: list[tuple[str, str]] = field(default_factory=list)
    attention: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    first_link: str | None = None
    stopped: bool = False

    def refuse(self, name: str, reason: str) -> None:
        """Note an image that cannot be sent."""
        self.refused.append((name, reason))
