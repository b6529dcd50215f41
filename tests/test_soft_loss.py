"""Soft labels in the loss: worked out by hand, and against the loss of the library itself."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("distill.student")  # prepares the library: it must not be imported before

from distill.yolo.soft_loss import anchor_weights, ignored_cells, soften  # noqa: E402

pytestmark = pytest.mark.torch

_GAINS = {"box": 7.5, "cls": 0.5, "dfl": 1.5, "epochs": 3}


def test_an_anchor_weighs_as_much_as_its_object_and_1_where_it_has_none() -> None:
    box_weights = torch.tensor([[1.0, 0.25], [0.5, 0.0]])
    assigned = torch.tensor([[1, 0, 1], [0, 0, 1]])
    foreground = torch.tensor([[True, True, False], [True, False, False]])

    found = anchor_weights(box_weights, assigned, foreground)

    assert found.tolist() == [[0.25, 1.0, 1.0], [0.5, 1.0, 1.0]]


def test_without_any_box_every_anchor_weighs_1() -> None:
    found = anchor_weights(torch.zeros(2, 0), torch.zeros(2, 3), torch.zeros(2, 3, dtype=torch.bool))

    assert found.tolist() == [[1.0] * 3] * 2


def test_a_box_to_ignore_covers_its_own_class_where_anchors_lie_in_it() -> None:
    anchors = torch.tensor([[4.0, 4.0], [12.0, 4.0], [4.0, 12.0], [12.0, 12.0]])
    boxes = torch.tensor(
        [[[0.0, 0.0, 8.0, 8.0], [0.0, 0.0, 16.0, 8.0]], [[3.0, 3.0, 13.0, 13.0], [0.0, 0.0, 4.0, 4.0]]]
    )
    classes = torch.tensor([[1, 0], [2, 0]])
    ignored = torch.tensor([[True, False], [True, True]])

    cells = ignored_cells(anchors, boxes, classes, ignored, 3)

    first = [[False, True, False], [False] * 3, [False] * 3, [False] * 3]
    # (4, 4) lies on the border of the box from (0, 0) to (4, 4): outside.
    second = [[False, False, True]] * 4
    assert cells.tolist() == [first, second]


def test_two_boxes_of_one_class_to_ignore_cover_both_places_and_boxes_of_two_classes_both_classes() -> None:
    anchors = torch.tensor([[1.0, 1.0], [9.0, 9.0]])
    boxes = torch.tensor([[[0.0, 0.0, 2.0, 2.0], [8.0, 8.0, 10.0, 10.0], [0.0, 0.0, 10.0, 10.0]]])

    cells = ignored_cells(anchors, boxes, torch.tensor([[0, 0, 1]]), torch.ones(1, 3, dtype=torch.bool), 2)

    assert cells.tolist() == [[[True, True], [True, True]]]


class _ByHand:
    """A criterion whose assigner puts each taught box on the anchor of its own number, with target score 0.8."""

    nc = 2

    def __init__(self) -> None:
        self.bce: Any = torch.nn.BCEWithLogitsLoss(reduction="none")
        self.assigner: Any = self._assign
        self.bbox_loss: Any = self._boxes
        self.masks: list[torch.Tensor] = []

    def preprocess(self, targets: torch.Tensor, *_: Any) -> torch.Tensor:
        return targets[None, :, 1:]

    def _assign(self, scores: torch.Tensor, boxes: Any, anchors: Any, labels: Any, truth: Any, mask: Any) -> Any:
        self.masks.append(mask)
        foreground = torch.zeros(scores.shape[:2], dtype=torch.bool)
        foreground[:, : mask.shape[1]] = mask.squeeze(2) > 0
        count = scores.shape[1]
        assigned = torch.arange(count).clamp(max=mask.shape[1] - 1)[None]
        target_labels = labels.squeeze(2).gather(1, assigned).long()
        target = torch.nn.functional.one_hot(target_labels, 2) * foreground[..., None] * 0.8
        return target_labels, truth.gather(1, assigned[..., None].expand(-1, -1, 4)), target, foreground, assigned

    def _boxes(self, _d: Any, _p: Any, _a: Any, _t: Any, target_scores: torch.Tensor, total: torch.Tensor) -> Any:
        return target_scores.sum() / total, target_scores.sum() / total

    def loss(self, logits: torch.Tensor, batch: dict[str, torch.Tensor]) -> Any:
        targets = torch.cat((batch["batch_idx"][:, None], batch["cls"], batch["bboxes"]), 1)
        padded = self.preprocess(targets)
        labels, boxes = padded.split((1, 4), 2)
        mask = boxes.sum(2, keepdim=True).gt(0).float()
        anchors = batch["anchors"]
        _, target_boxes, scores, _, _ = self.assigner(logits.sigmoid(), boxes, anchors, labels, boxes, mask)
        total = scores.sum()
        box, _ = self.bbox_loss(None, None, anchors, target_boxes, scores, total)
        return self.bce(logits, scores), box


def _batch(weights: list[float], ring: tuple[float, ...] = (0, 0, 16, 16)) -> dict[str, torch.Tensor]:
    boxes = [(0.0, 0.0, 4.0, 4.0), tuple(map(float, ring))]
    return {
        "batch_idx": torch.zeros(2),
        "cls": torch.tensor([[0.0], [1.0]]),
        "bboxes": torch.tensor(boxes),
        "weights": torch.tensor(weights),
        "anchors": torch.tensor([[2.0, 2.0], [6.0, 6.0], [20.0, 20.0]]),
    }


def test_weights_multiply_the_cross_entropy_of_their_anchors_and_the_target_scores_of_the_boxes() -> None:
    logits = torch.zeros(1, 3, 2)  # every cell costs log 2 whatever its target
    log2 = 0.6931471805599453

    cells, box = soften(_ByHand()).loss(logits, _batch([0.25, 0.5]))

    expected = torch.tensor([[[0.25, 0.25], [0.5, 0.5], [1, 1]]]) * log2
    torch.testing.assert_close(cells, expected)
    assert float(box) == pytest.approx((0.8 * 0.25 + 0.8 * 0.5) / 1.6)


def test_a_box_to_ignore_is_not_assigned_and_spares_its_class_inside_it() -> None:
    criterion = _ByHand()

    cells, box = soften(criterion).loss(torch.zeros(1, 3, 2), _batch([1.0, 0.0]))

    assert criterion.masks[0].squeeze().tolist() == [1.0, 0.0]
    # Class 1 is to ignore at the anchors (2, 2) and (6, 6); class 0 is taught everywhere.
    assert (cells > 0).tolist() == [[[True, False], [True, False], [True, True]]]
    assert float(box) == pytest.approx(1.0)


def test_an_object_keeps_its_own_class_under_a_box_of_that_class_to_ignore() -> None:
    batch = _batch([1.0, 0.0])
    batch["cls"] = torch.zeros(2, 1)

    cells, _ = soften(_ByHand()).loss(torch.zeros(1, 3, 2), batch)

    assert (cells > 0).tolist() == [[[True, True], [False, True], [True, True]]]


def test_a_loss_of_another_make_is_refused() -> None:
    with pytest.raises(TypeError, match="assigner, bce"):
        soften(SimpleNamespace(loss=1, preprocess=2))


def _yolo(name: str = "yolov8n", classes: int = 3) -> Any:
    from ultralytics.nn.tasks import DetectionModel

    torch.manual_seed(7)
    model = DetectionModel(f"{name}.yaml", nc=classes, verbose=False)
    model.args = SimpleNamespace(**_GAINS)
    return model.train()


def _real_batch(weights: list[float] | None = None) -> dict[str, torch.Tensor]:
    torch.manual_seed(3)
    batch = {
        "img": torch.rand(2, 3, 64, 64),
        "batch_idx": torch.tensor([0.0, 0.0, 1.0]),
        "cls": torch.tensor([[0.0], [2.0], [1.0]]),
        "bboxes": torch.tensor([[0.3, 0.3, 0.4, 0.4], [0.7, 0.7, 0.3, 0.4], [0.5, 0.5, 0.6, 0.6]]),
    }
    return batch if weights is None else batch | {"weights": torch.tensor(weights)}


def _losses(model: Any, batch: dict[str, torch.Tensor], soft: bool) -> torch.Tensor:
    model.criterion = soften(model.init_criterion()) if soft else model.init_criterion()
    total: torch.Tensor = model.loss(batch, model(batch["img"]))[0]
    return total


@pytest.mark.parametrize("name", ["yolov8n", "yolo11n", "yolo26n", "yolov10n"])
def test_all_weights_1_and_nothing_to_ignore_is_the_loss_of_the_library_to_the_last_bit(name: str) -> None:
    model = _yolo(name).eval()  # batch norm must not move between the two

    hard = _losses(model, _real_batch(), soft=False)

    assert torch.equal(_losses(model, _real_batch([1.0, 1.0, 1.0]), soft=True), hard)
    assert torch.equal(_losses(model, _real_batch(), soft=True), hard)


def test_a_batch_of_backgrounds_alone_has_the_loss_of_the_library() -> None:
    model = _yolo().eval()
    empty = {"img": torch.rand(2, 3, 64, 64), "batch_idx": torch.zeros(0), "cls": torch.zeros(0, 1)}
    empty["bboxes"] = torch.zeros(0, 4)

    hard = _losses(model, empty, soft=False)

    assert torch.equal(_losses(model, empty | {"weights": torch.zeros(0)}, soft=True), hard)


def test_weight_one_half_halves_what_an_object_adds() -> None:
    """The loss is linear in the weight: the half weight lies in the middle between a tiny one and 1."""
    model = _yolo().eval()
    nothing, half, full = (_losses(model, _real_batch([1.0, 1.0, w]), soft=True) for w in (1e-12, 0.5, 1.0))

    assert not torch.allclose(nothing, full)
    torch.testing.assert_close(half, (nothing + full) / 2)
    only = _losses(model, _real_batch([0.5, 0.5, 0.5]), soft=True)
    hard = _losses(model, _real_batch(), soft=False)
    torch.testing.assert_close(only[[0, 2]], hard[[0, 2]] / 2)


def test_a_box_to_ignore_stops_the_gradient_of_its_class_inside_it_and_of_nothing_else() -> None:
    from ultralytics.utils.loss import v8DetectionLoss

    model = _yolo()
    torch.manual_seed(5)
    sides = (8, 4, 2)
    anchors = sum(side * side for side in sides)
    preds = {
        "boxes": torch.rand(1, 64, anchors, requires_grad=True),
        "scores": torch.randn(1, 3, anchors, requires_grad=True),
        "feats": [torch.zeros(1, 1, side, side) for side in sides],
    }
    batch = {
        "batch_idx": torch.tensor([0.0, 0.0]),
        "cls": torch.tensor([[0.0], [2.0]]),
        "bboxes": torch.tensor([[0.2, 0.2, 0.3, 0.3], [0.75, 0.75, 0.5, 0.5]]),
        "weights": torch.tensor([1.0, 0.0]),
    }

    total, _ = soften(v8DetectionLoss(model))(preds, batch)
    total.sum().backward()

    gradient = preds["scores"].grad[0]
    inside = torch.cat(
        [
            torch.tensor([[x >= side / 2 and y >= side / 2 for x in range(side)] for y in range(side)]).flatten()
            for side in sides
        ]
    )
    assert int(inside.sum()) == 16 + 4 + 1
    assert (gradient[2] == 0).tolist() == inside.tolist()
    assert (gradient[:2] != 0).all()
    boxes = preds["boxes"].grad[0].abs().sum(0)
    assert (boxes[inside] == 0).all(), "nothing is assigned to a box to ignore"
    assert (boxes > 0).any()
