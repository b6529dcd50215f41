"""What a teacher's claims say about labels: each error has its word, and habits of the teacher count."""

from __future__ import annotations

import pytest

from distill.curation.disagreement import disagreement
from distill.curation.scenes import Scene
from distill.curation.trust import learn_trust
from tests.made_scenes import claim, label, scene

BOX = (100.0, 100.0, 200.0, 200.0)
AWAY = (400.0, 300.0, 500.0, 400.0)
SHIFTED = (150.0, 100.0, 250.0, 200.0)


def said(one: Scene) -> list[tuple[str, str]]:
    return [(doubt.kind, (doubt.label or doubt.claim).class_name) for doubt in disagreement(one)]  # type: ignore[union-attr]


def test_agreement_yields_nothing() -> None:
    assert said(scene(label("cup", BOX), claims=(claim("cup", BOX),))) == []


def test_each_error_has_its_kind() -> None:
    assert said(scene(label("cup", BOX), claims=(claim("cup", BOX), claim("fork", AWAY)))) == [("missing", "fork")]
    assert said(scene(label("cup", BOX), label("fork", AWAY), claims=(claim("cup", BOX),))) == [("spurious", "fork")]
    assert said(scene(label("cup", BOX), claims=(claim("fork", BOX),))) == [("wrong class", "cup")]
    assert said(scene(label("cup", SHIFTED), claims=(claim("cup", BOX),))) == [("bad box", "cup")]


def test_shifted_box_names_the_claim_and_how_little_they_share() -> None:
    (doubt,) = disagreement(scene(label("cup", SHIFTED), claims=(claim("cup", BOX, 0.8),)))
    assert doubt.claim is not None
    assert doubt.claim.box_xyxy == BOX
    assert "33%" in doubt.reason
    assert "0.80 sure of cup" not in doubt.reason
    assert doubt.signal == "teacher"


def test_image_without_claims_was_not_looked_at() -> None:
    assert said(scene(label("cup", BOX))) == []


def test_claim_of_a_part_of_a_label_is_no_missing_object() -> None:
    part = (110.0, 110.0, 150.0, 150.0)
    assert said(scene(label("cup", BOX), claims=(claim("cup", BOX), claim("cup", part)))) == []
    assert said(scene(label("cup", BOX), claims=(claim("cup", BOX), claim("fork", part)))) == [("missing", "fork")]


def test_teacher_that_names_the_class_too_does_not_doubt_it() -> None:
    inner = (104.0, 104.0, 198.0, 198.0)
    assert said(scene(label("cup", BOX), claims=(claim("fork", BOX), claim("cup", inner)))) == []


def test_surer_claims_are_stronger() -> None:
    strengths = []
    for score in (0.3, 0.6, 0.9):
        (doubt,) = disagreement(scene(claims=(claim("cup", BOX, score),)))
        strengths.append(doubt.strength)
    assert strengths == sorted(strengths)
    assert strengths[0] < strengths[2] / 3


def test_student_speaks_under_its_own_name() -> None:
    (doubt,) = disagreement(scene(claims=(claim("cup", BOX, source="student"),)))
    assert doubt.signal == "student"


def test_unreviewed_labels_of_a_teacher_are_doubted_by_their_score() -> None:
    doubts = list(disagreement(scene(claim("cup", BOX, 0.3), claim("cup", AWAY, 0.9), reviewed=False)))
    assert [doubt.kind for doubt in doubts] == ["spurious", "spurious"]
    assert doubts[0].strength > 2 * doubts[1].strength


def many_scenes() -> list[Scene]:
    """A teacher that finds every cup and no fork; spoons it claims are labelled as knives half of the time."""
    made = []
    for i in range(120):
        cup, fork, spoon = BOX, AWAY, (300.0, 10.0, 400.0, 110.0)
        image = f"image {i}"
        labels = [label("cup", cup, image=image), label("fork", fork, image=image)]
        labels.append(label("spoon" if i % 2 else "knife", spoon, image=image))
        claims = [claim("cup", cup, 0.7, image=image), claim("spoon", spoon, 0.7, image=image)]
        if i % 4 == 0:
            claims.append(claim("lamp", (10.0, 300.0, 110.0, 400.0), 0.7, image=image))
        made.append(scene(*labels, claims=tuple(claims), image=image))
    return made


def test_trust_is_learned_by_class() -> None:
    """A label that the teacher did not find is news for a cup and none for a fork; claimed lamps are never there."""
    pytest.importorskip("sklearn")
    known = learn_trust(many_scenes())
    assert set(known) == {"teacher"}
    asked = scene(
        label("cup", BOX),
        label("fork", AWAY),
        claims=(claim("lamp", (10.0, 300.0, 110.0, 400.0), 0.7), claim("cup", (300.0, 10.0, 400.0, 110.0), 0.7)),
    )
    strength = {(d.kind, (d.label or d.claim).class_name): d.strength for d in disagreement(asked, known)}  # type: ignore[union-attr]
    assert strength["spurious", "cup"] > 5 * strength["spurious", "fork"]
    assert strength["missing", "cup"] > 5 * strength["missing", "lamp"]


def test_common_confusion_is_no_news() -> None:
    pytest.importorskip("sklearn")
    known = learn_trust(many_scenes())
    strength = {}
    for name in ("cup", "spoon"):
        (doubt,) = disagreement(scene(label("knife", BOX), claims=(claim(name, BOX, 0.7),)), known)
        strength[name] = doubt.strength
    assert strength["cup"] > 2 * strength["spoon"]


def test_too_few_cases_teach_nothing() -> None:
    one = scene(label("cup", SHIFTED), claims=(claim("cup", BOX),))
    assert list(disagreement(one, learn_trust([one]))) == list(disagreement(one))
