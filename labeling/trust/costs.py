"""What the ways to label images, and to look at them for years, cost; every price is the user's to set."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from math import ceil, inf
from types import MappingProxyType

from ..core.errors import InputError

SOURCES: Mapping[str, str] = MappingProxyType(
    {
        "add": "7 s per box by extreme clicking (Papadopoulos et al., 2017); drawing boxes the old way takes 35 s",
        "delete": "assumed",
        "move": "assumed: half of drawing",
        "relabel": "assumed",
        "look": "assumed",
        "hour": "assumed: people's time",
        "gpu_hour": "assumed: a cloud GPU on demand",
        "teacher_seconds": "assumed: one image on such a GPU",
        "api_image": "list price of object localization by Google Cloud Vision, 1,001 to 5 million images a month",
        "train_hours": "assumed: on such a GPU",
        "engineer_hours": "assumed: to train, check and ship",
        "engineer_hour": "assumed",
        "student_image": "assumed: power and wear of a device of your own",
    }
)
"""Where the defaults come from."""


@dataclass(frozen=True, slots=True)
class Prices:
    """Prices in one currency, whichever. Raises InputError for a negative one.

    Attributes:
        hour: of the people who label.
        gpu_hour: of a GPU for the teacher and for training.
        teacher_seconds: that the teacher takes for one image there.
        api_image: of a hosted service, per image.
        train_hours: of the GPU, for a student.
        engineer_hours: to train, check and ship a student.
        engineer_hour: of whoever does.
        student_image: per image that a student of one's own looks at.
        currency: shown with every amount.
    """

    hour: float = 15.0
    gpu_hour: float = 0.8
    teacher_seconds: float = 0.5
    api_image: float = 0.00225
    train_hours: float = 4.0
    engineer_hours: float = 40.0
    engineer_hour: float = 80.0
    student_image: float = 0.00002
    currency: str = "$"

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, float | int) and not 0 <= value < inf:
                flag = field.name.replace("_", "-")
                raise InputError(f"price {flag} is {value:g}: expected a number of 0 or more")


@dataclass(frozen=True, slots=True)
class Way:
    """One way to get labels of all images: what it costs in all and how many hours people work."""

    name: str
    cost: float
    hours: float


@dataclass(frozen=True, slots=True)
class Costs:
    """What everything costs.

    Attributes:
        ways: to label the images that there are: by hand, prompt and correction, prompt alone, hosted service alone.
        student: once, for a student of one's own: labels to learn from, training, an engineer.
        student_images: that are labelled for it.
        per_image: afterwards, per image, by way: student, hosted service, teacher.
        break_even: images from which on the student is cheaper than the hosted service; None where it never is.
        break_even_teacher: likewise against the teacher on a GPU.
        prices: that all of this rests on.
    """

    ways: tuple[Way, ...]
    student: float
    student_images: int
    per_image: Mapping[str, float]
    break_even: int | None
    break_even_teacher: int | None
    prices: Prices


def costs(
    images: int, seconds_per_image: float, seconds_by_hand: float, rarest: float | None, objects: int, prices: Prices
) -> Costs:
    """Return what everything costs.

    Args:
        images: to label.
        seconds_per_image: of people, to correct what the prompt says.
        seconds_by_hand: of people, to label from nothing.
        rarest: objects per image of the rarest class that a student is to learn; None where there is no class.
        objects: of each class, that a student needs.
        prices: of everything.
    """
    teacher = prices.teacher_seconds / 3600 * prices.gpu_hour
    hand_hours, review_hours = images * seconds_by_hand / 3600, images * seconds_per_image / 3600
    ways = (
        Way("by hand", hand_hours * prices.hour, hand_hours),
        Way("prompt, then people correct", review_hours * prices.hour + images * teacher, review_hours),
        Way("prompt alone", images * teacher, 0.0),
        Way("hosted service alone", images * prices.api_image, 0.0),
    )
    taught = min(images, ceil(objects / rarest)) if rarest else images
    work = min(seconds_per_image / 3600 * prices.hour + teacher, seconds_by_hand / 3600 * prices.hour)
    student = taught * work + prices.train_hours * prices.gpu_hour + prices.engineer_hours * prices.engineer_hour
    return Costs(
        ways,
        student,
        taught,
        {"student of your own": prices.student_image, "hosted service": prices.api_image, "teacher on a GPU": teacher},
        break_even(student, prices.student_image, prices.api_image),
        break_even(student, prices.student_image, teacher),
        prices,
    )


def break_even(once: float, each: float, other_each: float) -> int | None:
    """Return from how many images on ``once + n * each`` is at most ``n * other_each``; None where never."""
    return ceil(once / (other_each - each)) if other_each > each else None
