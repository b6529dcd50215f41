# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     notebook_metadata_filter: jupytext,kernelspec,-all
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Label your photos
#
# Words and photos in; boxes, masks and names out. Everything runs on this machine and nothing leaves it.
#
# As it stands the notebook draws its own photos and uses the small teacher that comes with the package, so it runs
# offline in less than a minute. For your photos change the next cell: the folder, the words, and `TEACHER = {}`,
# which takes GroundingDINO and SAM 2.1 and fetches their weights once.

# %%
import sqlite3
from collections import Counter
from pathlib import Path

import numpy as np
import supervision as sv
from IPython.display import display
from PIL import Image

import labeling
from labeling.cli import main as labelstill
from labeling.demo.photos import write_photos

PHOTOS = Path("photos")
CLASSES = "forklift, pallet, box: box | carton, barrel, ladder, person: person | worker"
TEACHER = {"detector": "bundled"}

if not PHOTOS.exists():
    write_photos(PHOTOS, 12)

# %% [markdown]
# ## Label
#
# `labeling.label` yields one result per image, in order, while the next images are being decoded and looked at. A
# file that cannot be used is a result with an `error`; it does not end the loop. `a, b: p | q` reads: the class a
# with the prompt a, and the class b with the prompts p and q.

# %%
results = list(labeling.label(PHOTOS, CLASSES, **TEACHER))

for result in results[:4]:
    names = ", ".join(result.detections.data["class_name"]) or "nothing"
    print(f"{result.path.name}  {result.size_wh}  {result.error or names}  dropped {result.dropped}")

# %% [markdown]
# ## Look
#
# `result.detections` is a `supervision.Detections`: every annotator of that library draws it. Masks are kept as
# run-length codes (`result.rles`); `result.masked()` has them in the form that annotators want.


# %%
def drawn(result: labeling.LabelResult) -> np.ndarray:
    """Return the photo with its masks, boxes and names."""
    rows = result.masked()
    texts = [
        f"{name} {score:.2f}" for name, score in zip(rows.data["class_name"], result.detections.confidence, strict=True)
    ]
    scene = result.read()
    scene = sv.MaskAnnotator(opacity=0.45).annotate(scene, rows)
    scene = sv.BoxAnnotator(thickness=2).annotate(scene, rows)
    return sv.LabelAnnotator(text_scale=0.4, text_padding=3).annotate(scene, rows, labels=texts)


richest = sorted(results, key=lambda result: -len(result.detections))[:2]
display(Image.fromarray(np.hstack([drawn(result) for result in richest if result.size_wh == richest[0].size_wh])))

# %% [markdown]
# ## Tune the score
#
# A score says how sure the detector is; it is no probability. Label once with a low one, then see what each
# threshold would keep. The filters take the best box first, so cutting afterwards gives what `score=` would give.

# %%
found = list(labeling.label(PHOTOS, CLASSES, score=0.2, **TEACHER))
rows = [
    (name, score)
    for result in found
    for name, score in zip(result.detections.data["class_name"], result.detections.confidence, strict=True)
]
thresholds = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7)
print("class".ljust(10), *(f"{threshold:>5}" for threshold in thresholds))
for name in sorted({name for name, _ in rows}):
    kept = [sum(score >= threshold for one, score in rows if one == name) for threshold in thresholds]
    print(name.ljust(10), *(f"{number:>5}" for number in kept))

# %% [markdown]
# The numbers do not say which of the boxes are right, so look at those around the threshold that you have in mind.

# %%
THRESHOLD = 0.5

doubtful = [
    (abs(float(score) - THRESHOLD), float(score), result, row)
    for result in found
    for row, score in enumerate(result.detections.confidence)
]
crops = []
for _, score, result, row in sorted(doubtful, key=lambda entry: entry[0])[:6]:
    x0, y0, x1, y1 = (int(edge) for edge in result.detections.xyxy[row])
    crop = Image.fromarray(result.read()[y0 : y1 + 1, x0 : x1 + 1]).resize((150, 150))
    crops.append(np.asarray(crop))
    print(f"{result.detections.data['class_name'][row]} {score:.2f}  {result.path.name}")
display(Image.fromarray(np.hstack(crops)))

# %% [markdown]
# ## Keep the labels
#
# The command does the same and writes a project: `labels.db` says for every object who made it, with which prompt
# and score. Stop it whenever you like; the same command continues. In a terminal the cell below reads
# `labelstill label photos --project mine --classes "…" --score 0.5 --detector bundled`. For a first look at a large
# folder add `--preview 20`, which keeps nothing.

# %%
chosen = [f"--{name}={value}" for name, value in TEACHER.items()]
labelstill(["label", str(PHOTOS), "--project", "mine", "--classes", CLASSES, f"--score={THRESHOLD}", *chosen])

# %% [markdown]
# `labels.db` is SQLite, and its views `v_images` and `v_annotations` are stable. What stands there is what the
# threshold kept above.

# %%
with sqlite3.connect("mine/labels.db") as db:
    stored = Counter(dict(db.execute("SELECT class_name, count(*) FROM v_annotations GROUP BY class_name")))
print(dict(stored))
print(stored == Counter(name for name, score in rows if score >= THRESHOLD))

# %% [markdown]
# ## Export
#
# One folder that `yolo detect train data=mine/exports/yolo/data.yaml` takes as it is; `labelstill convert --help` names
# the other forms.

# %%
labelstill(["convert", "--project", "mine", "--to", "yolo", "--out", "mine/exports/yolo"])
print(Path("mine/exports/yolo/data.yaml").read_text())

# %% [markdown]
# ## Where to go next
#
# - `labelstill report --project mine` writes one HTML file: contact sheet, the least sure boxes, what was left out.
# - `labelstill label … --classes "forklift, pallet, fire extinguisher"` appends a class; what people reviewed stays.
# - Longer lists, thresholds and a guide for annotators per class go into a file: `--ontology classes.yaml`.
# - `labelstill doctor` says what this machine offers and what to type where something is missing.
# - `labelstill convert --project mine --from coco --in LABELS` takes labels that you have already.
