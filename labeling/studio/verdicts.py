"""What the answers of one task come to: labels, an empty image, a skip, nothing yet, or a person has to look."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ..core.ontology import Ontology
from ..core.records import Annotation
from ..core.store_studio import Answer, Verdict
from .compare import compare, to_annotations
from .convert import Drawn, read
from .policy import Policy, agreed, counted


@dataclass(frozen=True, slots=True)
class Judge:
    """What turns answers into a verdict.

    Attributes:
        policy: whose answer counts.
        ontology: the classes, and the other names under which they come back.
    """

    policy: Policy
    ontology: Ontology

    def verdict(
        self, sha256: str, found: Sequence[Answer], pushed: Sequence[Annotation], size_wh: tuple[int, int] | None
    ) -> Verdict:
        """Return what the answers come to.

        One region that cannot be read is enough to leave the whole image to a person: half an answer would count its
        other objects as absent.

        Args:
            sha256: the image.
            found: all its answers.
            pushed: the labels that were sent with it.
            size_wh: of the upright image; None where it cannot be decoded any more.
        """
        told = tuple(found)
        votes = counted(self.policy, found)
        if not votes:
            return Verdict(sha256, told, "pushed")
        if votes[0].kind == "skipped":
            return Verdict(sha256, told, "skipped")
        if size_wh is None:
            return Verdict(sha256, told, "pushed", attention="the photo cannot be read any more: put it back")
        said: dict[str, list[Drawn]] = {}
        for vote in votes:
            drawn, problems = self._drawn(vote, size_wh)
            if problems:
                return Verdict(sha256, told, "pushed", attention=_in_short(problems))
            said[vote.annotator] = drawn
        kept, splits = agreed(said) if len(votes) > 1 else (said[votes[0].annotator], [])
        if splits:
            return Verdict(sha256, told, "pushed", attention=_in_short(splits))
        left = to_annotations(compare(pushed, kept, size_wh), sha256, ", ".join(sorted(said)))
        return Verdict(sha256, told, "reviewed" if left else "reviewed-empty", tuple(left))

    def _drawn(self, answer: Answer, size_wh: tuple[int, int]) -> tuple[list[Drawn], list[str]]:
        """Return the objects under the names of their classes, and what is wrong with the others."""
        drawn, refused = read(answer.result, size_wh)
        problems = [f"region {one.region_id}: {one.reason}" for one in refused]
        named = [(one, self.ontology.class_of(one.class_name)) for one in drawn]
        problems += [f"region {one.region_id}: {one.class_name!r} is no class" for one, name in named if name is None]
        return [replace(one, class_name=name) for one, name in named if name is not None], problems


def _in_short(problems: Sequence[str]) -> str:
    more = f"; and {len(problems) - 1} more" if len(problems) > 1 else ""
    return f"{problems[0]}{more}"
