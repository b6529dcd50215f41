"""The loss of D-FINE with weights per label and boxes to ignore, in the layout of the paper (arXiv 2410.13842)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torchvision.ops import box_convert, box_iou, generalized_box_iou
from transformers.loss.loss_d_fine import DFineLoss

IGNORED_IOU = 0.5
"""A prediction that overlaps an ignored box of its class this much is not taught as background."""

Targets = Sequence[Mapping[str, torch.Tensor]]
"""One per image: class_labels (n,), boxes (n, 4), weights (n,), ignored_labels (k,), ignored (k, 4); all cxcywh."""


class SoftDFineLoss(DFineLoss):  # type: ignore[misc]
    """DFineLoss in which a label counts as much as its weight and an ignored box is neither object nor background.

    Weights scale the terms of class, box and GIoU; the two terms of fine localisation stay as they are. With weights
    of 1 and nothing ignored every term is that of the library.
    """

    def loss_labels_vfl(
        self, outputs: Mapping[str, Any], targets: Targets, indices: Any, num_boxes: float, log: bool = True
    ) -> dict[str, torch.Tensor]:
        """Return the varifocal loss (arXiv 2008.13367); a label's target is the IoU of its prediction."""
        logits, boxes = outputs["logits"], _corners(outputs["pred_boxes"].detach())
        rows = self._get_source_permutation_idx(indices)
        classes = _matched(targets, indices, "class_labels")
        overlap = box_iou(boxes[rows], _corners(_matched(targets, indices, "boxes"))).diagonal()
        places = (*rows, classes)
        quality, positive = torch.zeros_like(logits), torch.zeros_like(logits)
        quality[places] = overlap.to(logits.dtype)
        positive[places] = 1.0
        weight = self.alpha * logits.detach().sigmoid().pow(self.gamma) * (1 - positive) + quality
        weight[rows] = weight[rows] * _matched(targets, indices, "weights")[:, None]
        weight = weight * _taught(boxes, rows, targets, logits.shape[-1])
        loss = F.binary_cross_entropy_with_logits(logits, quality, weight=weight, reduction="sum")
        return {"loss_vfl": loss / num_boxes}

    def loss_boxes(
        self, outputs: Mapping[str, Any], targets: Targets, indices: Any, num_boxes: float
    ) -> dict[str, torch.Tensor]:
        """Return L1 and GIoU of the matched boxes, each times the weight of its label."""
        found = outputs["pred_boxes"][self._get_source_permutation_idx(indices)]
        wanted, weights = _matched(targets, indices, "boxes"), _matched(targets, indices, "weights")
        giou = generalized_box_iou(_corners(found), _corners(wanted)).diagonal()
        return {
            "loss_bbox": ((found - wanted).abs().sum(-1) * weights).sum() / num_boxes,
            "loss_giou": ((1 - giou) * weights).sum() / num_boxes,
        }


def soft_loss(
    logits: torch.Tensor,
    labels: Targets,
    device: torch.device,
    pred_boxes: torch.Tensor,
    config: Any,
    outputs_class: torch.Tensor,
    outputs_coord: torch.Tensor,
    *,
    enc_topk_logits: torch.Tensor,
    enc_topk_bboxes: torch.Tensor,
    predicted_corners: torch.Tensor,
    initial_reference_points: torch.Tensor,
    denoising_meta_values: Mapping[str, Any] | None = None,
    **_: Any,
) -> tuple[torch.Tensor, dict[str, torch.Tensor], None]:
    """Return the loss of one batch in training; stands in for the loss function of a D-FINE network.

    The library's own pairs the box distributions of each layer with the boxes of the layer before, and leaves the last
    layer without any. Here each layer has its own.

    Args:
        logits: unused, as is pred_boxes: they are the last layer of what follows.
        labels: the targets.
        device: of the loss.
        pred_boxes: see logits.
        config: of the network.
        outputs_class: (b, layers + 1, q, classes); the first are those of the first layer before it refines.
        outputs_coord: (b, layers + 1, q, 4).
        enc_topk_logits: (b, q, classes) of the encoder.
        enc_topk_bboxes: (b, q, 4) of the encoder.
        predicted_corners: (b, layers, q, 4 * bins), distributions of the four sides.
        initial_reference_points: (b, layers, q, 4), boxes that these refine.
        denoising_meta_values: how many of the q queries are noisy labels; None for none.
    """
    criterion = SoftDFineLoss(config).to(device)
    split = denoising_meta_values["dn_num_split"] if denoising_meta_values else [0, outputs_class.shape[2]]
    parts = [
        torch.split(part, split, dim=2)
        for part in (outputs_class, outputs_coord.clamp(0, 1), predicted_corners, initial_reference_points)
    ]
    *others, last = _layers(*(part[1] for part in parts))
    encoder = {"logits": enc_topk_logits, "pred_boxes": enc_topk_bboxes.clamp(0, 1)}
    outputs = {**last, "auxiliary_outputs": [*others, encoder]}
    if denoising_meta_values:
        outputs["dn_auxiliary_outputs"] = _layers(*(part[0] for part in parts))
        outputs["denoising_meta_values"] = denoising_meta_values
    terms = criterion(outputs, labels)
    return sum(terms.values(), torch.zeros((), device=device)), terms, None


def _layers(
    classes: torch.Tensor, boxes: torch.Tensor, corners: torch.Tensor, points: torch.Tensor
) -> list[dict[str, Any]]:
    """Return what each layer says, in order; the last one is the teacher of the distributions of all."""
    first = {"logits": classes[:, 0], "pred_boxes": boxes[:, 0]}
    refined = [
        {
            "logits": classes[:, layer + 1],
            "pred_boxes": boxes[:, layer + 1],
            "pred_corners": corners[:, layer],
            "ref_points": points[:, layer],
            "teacher_corners": corners[:, -1],
            "teacher_logits": classes[:, -1],
        }
        for layer in range(corners.shape[1])
    ]
    return [first, *refined]


def _taught(
    boxes: torch.Tensor, rows: tuple[torch.Tensor, torch.Tensor], targets: Targets, classes: int
) -> torch.Tensor:
    """Return (b, q, classes) of 1, and 0 where a prediction without a label lies on an ignored box of the class."""
    taught = boxes.new_ones((*boxes.shape[:2], classes))
    for image, target in enumerate(targets):
        if len(target["ignored"]):
            near = box_iou(boxes[image], _corners(target["ignored"])) >= IGNORED_IOU
            which, what = near.nonzero(as_tuple=True)
            taught[image, which, target["ignored_labels"][what]] = 0.0
    taught[rows] = 1.0
    return taught


def _matched(targets: Targets, indices: Any, key: str) -> torch.Tensor:
    return torch.cat([target[key][row] for target, (_, row) in zip(targets, indices, strict=True)])


def _corners(boxes: torch.Tensor) -> torch.Tensor:
    corners: torch.Tensor = box_convert(boxes, "cxcywh", "xyxy")
    return corners
