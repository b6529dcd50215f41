"""Which formats can be written, and by what."""

from __future__ import annotations

from functools import partial

from . import coco_file
from .coco_file import CocoFile
from .picture_folders import AutodistillFolder, VocFolder, YoloFolder
from .studio_file import StudioFile
from .writing import Layout
from .yolo_lines import box_lines, rotated_lines, segment_lines

TARGETS: dict[str, Layout] = {
    "coco": Layout(
        coco_file.INDEX, pictures=False, first_id=1, writer=CocoFile, category_ids=True, supercategories=True
    ),
    "yolo": Layout("data.yaml", pictures=True, first_id=0, writer=partial(YoloFolder, lines=box_lines)),
    "yolo-seg": Layout("data.yaml", pictures=True, first_id=0, writer=partial(YoloFolder, lines=segment_lines)),
    "yolo-obb": Layout("data.yaml", pictures=True, first_id=0, writer=partial(YoloFolder, lines=rotated_lines)),
    "voc": Layout("ImageSets/Main/trainval.txt", pictures=True, first_id=0, writer=VocFolder),
    "labelstudio": Layout("tasks.json", pictures=True, first_id=0, writer=StudioFile),
    "autodistill": Layout("data.yaml", pictures=True, first_id=0, writer=AutodistillFolder),
}
"""Name of the format, as ``--to`` has it, to what writes it."""
