"""Soft labels in a detection loss: every object counts by its weight, and boxes to ignore teach nothing.

The loss of the library is composed, not copied: what it calls (its assigner, its binary cross-entropy, its box loss)
is wrapped, so that its own arithmetic stays as it is. With all weights 1 and nothing to ignore the result is the same
to the last bit.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch

Criterion = TypeVar("Criterion")


def soften(criterion: Criterion) -> Criterion:
    """Make a detection loss of ultralytics read ``batch["weights"]``, in place, and return it.

    ``batch["weights"]`` is (n,) float: in (0, 1] for an object, 0 for a box to ignore; where it is absent all weigh 1.
    An object of weight w adds w times what it would add: the cross-entropy of the anchors that are assigned to it and
    its box terms. The divisor of the loss (the sum of the target scores) stays that of hard labels. A box to ignore is
    assigned to no anchor, and where an anchor lies in it, not being told its class is no error. Losses of end-to-end
    models have two parts, ``one2many`` and ``one2one``: both become soft.

    Raises:
        TypeError: a loss that is not made of an assigner, a cross-entropy and a box loss.
    """
    parts = [getattr(criterion, name) for name in ("one2many", "one2one") if hasattr(criterion, name)] or [criterion]
    for part in parts:
        missing = [name for name in ("loss", "preprocess", "assigner", "bce", "bbox_loss") if not hasattr(part, name)]
        if missing:
            raise TypeError(f"{type(part).__name__} has no {', '.join(missing)}: soft labels cannot be taught by it")
        _SoftLoss(part)
    return criterion


def anchor_weights(box_weights: torch.Tensor, assigned: torch.Tensor, foreground: torch.Tensor) -> torch.Tensor:
    """Return the weight of every anchor: that of its object, or 1 where it has none.

    Args:
        box_weights: (images, boxes), the padding included.
        assigned: (images, anchors), the position of the box that an anchor is assigned to.
        foreground: (images, anchors) bool, whether it is assigned to one.

    Returns:
        (images, anchors).
    """
    ones = torch.ones(foreground.shape, dtype=box_weights.dtype, device=box_weights.device)
    if box_weights.shape[1] == 0:
        return ones
    return torch.where(foreground, box_weights.gather(1, assigned.long()), ones)


def ignored_cells(
    anchors: torch.Tensor, boxes: torch.Tensor, classes: torch.Tensor, ignored: torch.Tensor, class_count: int
) -> torch.Tensor:
    """Return which class must not be taught at which anchor, since the anchor lies in a box of it to ignore.

    Args:
        anchors: (anchors, 2) centres x, y in pixels.
        boxes: (images, boxes, 4) x0, y0, x1, y1 in pixels; a centre on the border lies outside.
        classes: (images, boxes).
        ignored: (images, boxes) bool, which boxes are to ignore.
        class_count: number of classes.

    Returns:
        (images, anchors, class_count) bool.
    """
    image, row = ignored.nonzero(as_tuple=True)
    x0, y0, x1, y1 = boxes[image, row].unsqueeze(1).unbind(2)
    x, y = anchors.unbind(1)
    inside = (x > x0) & (x < x1) & (y > y0) & (y < y1)
    hits = torch.zeros((len(ignored), class_count, len(anchors)), device=boxes.device)
    hits.index_put_((image, classes[image, row].long()), inside.float(), accumulate=True)
    return hits.gt(0).transpose(1, 2)


class _SoftLoss:
    """What one part of the criterion remembers between its assigner and its two losses, for one batch."""

    def __init__(self, part: Any) -> None:
        self._loss, self._preprocess = part.loss, part.preprocess
        self._assigner, self._bce, self._bbox_loss = part.assigner, part.bce, part.bbox_loss
        self._class_count: int = part.nc
        self._weights: torch.Tensor | None = None
        self._box_weights = torch.empty(0)
        self._anchor_weights = torch.empty(0)
        self._cell_weights = torch.empty(0)
        part.loss, part.preprocess = self.loss, self.preprocess
        part.assigner, part.bce, part.bbox_loss = self.assign, self.bce, self.bbox_loss

    def loss(self, preds: Any, batch: dict[str, Any]) -> Any:
        self._weights = batch.get("weights")
        return self._loss(preds, batch)

    def preprocess(self, targets: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        """Pad targets (n, 6: image, class, box) per image; the weights go the same way as one more column."""
        weights = targets.new_ones(len(targets)) if self._weights is None else self._weights.to(targets)
        padded: torch.Tensor = self._preprocess(torch.cat((targets, weights[:, None]), 1), *args, **kwargs)
        self._box_weights = padded[..., 5]
        return padded[..., :5]

    def assign(
        self,
        scores: torch.Tensor,
        predicted: torch.Tensor,
        anchors: torch.Tensor,
        labels: torch.Tensor,
        boxes: torch.Tensor,
        mask: torch.Tensor,
        **extra: Any,
    ) -> tuple[torch.Tensor, ...]:
        taught = mask * self._box_weights.gt(0).unsqueeze(2)
        found: tuple[torch.Tensor, ...] = self._assigner(scores, predicted, anchors, labels, boxes, taught, **extra)
        target_labels, _, _, foreground, assigned = found
        self._anchor_weights = anchor_weights(self._box_weights, assigned, foreground).unsqueeze(2)
        self._cell_weights = self._anchor_weights
        ignored = (mask.squeeze(2) > 0) & (self._box_weights == 0)
        if ignored.any():
            cells = ignored_cells(anchors, boxes, labels.squeeze(2), ignored, self._class_count)
            told = torch.zeros_like(cells).scatter_(2, target_labels.long().unsqueeze(2), foreground.unsqueeze(2))
            self._cell_weights = self._anchor_weights * ~(cells & ~told)
        return found

    def bce(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        plain: torch.Tensor = self._bce(logits, targets)
        return plain * self._cell_weights.to(plain.dtype)

    def bbox_loss(
        self,
        distances: torch.Tensor,
        boxes: torch.Tensor,
        anchors: torch.Tensor,
        target_boxes: torch.Tensor,
        target_scores: torch.Tensor,
        *args: Any,
    ) -> Any:
        call: Callable[..., Any] = self._bbox_loss
        weighted = target_scores * self._anchor_weights.to(target_scores.dtype)
        return call(distances, boxes, anchors, target_boxes, weighted, *args)
