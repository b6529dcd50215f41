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
# # From a prompt to an edge device
#
# The whole loop once, offline, in about ten minutes on two cores: words become labels, people correct them, the set is
# looked over, a small student learns it, and a folder for a Jetson comes out, with proof that it sees the same things.
#
# The photos are drawn, so the truth about them is known exactly, and the part of the people can be played. On your
# photos you leave that one cell out and correct in the browser. `labelstill demo --full` does the same in a terminal.

# %%
import json
from pathlib import Path

from IPython.display import Image, display

from labeling.cli import main
from labeling.demo.reviewer import review_in_store, review_in_studio, scene_files, truth
from labeling.demo.scenes import all_pairs, render_scene
from labeling.health import ROOT
from labeling.project import Project
from labeling.studio.environment import program

PROJECT = Path("loop")
CLASSES = ("forklift", "pallet", "box", "barrel", "cone", "ladder", "person")
SCENES, EPOCHS = 160, 20


def labelstill(*arguments: str) -> None:
    """Run one verb, as in a terminal, and stop here if it fails."""
    assert main(list(arguments)) == 0, arguments[0]


# %% [markdown]
# ## Photos

# %%
scenes = [render_scene(95_000_000 + number, pairs=all_pairs(unseen=True)) for number in range(SCENES)]
scene_files(scenes, Path("photos"))
display(Image(data=scenes[0].jpeg))

# %% [markdown]
# ## Words to labels
#
# The small teacher that comes with the package looks for seven nouns. On your photos leave `--detector bundled` out:
# GroundingDINO and SAM 2.1 take over, and the words can be any.

# %%
labelstill("label", "photos", "--project", str(PROJECT), "--classes", ", ".join(CLASSES), "--detector", "bundled")

# %% [markdown]
# ## People correct
#
# `studio up` starts a Label Studio of the project's own; `push` sends what is not there yet, `pull` brings back what
# people submitted. Here the truth of the drawing is submitted for every task, through the same API as the browser uses.

# %%
project = Project.open(PROJECT)
known = truth(scenes, CLASSES)
if program(ROOT) is None:
    with project.open_store() as store:
        print(review_in_store(store, known), "photos reviewed without a Label Studio; `make studio-env` installs one")
else:
    labelstill("studio", "up", "--project", str(PROJECT))
    try:
        labelstill("push", "--project", str(PROJECT))
        print(review_in_studio(project, known), "tasks answered")
        labelstill("pull", "--project", str(PROJECT))
    finally:
        labelstill("studio", "down", "--project", str(PROJECT))

# %% [markdown]
# What the teacher was worth, by what people changed:

# %%
labelstill("audit", "--project", str(PROJECT))

# %% [markdown]
# ## Curate
#
# Likely label errors, repeats, thin classes. `labelstill curate` opens the same in FiftyOne, where tags become
# decisions; `--no-app` writes a page instead.

# %%
labelstill("curate", "--no-app", "--project", str(PROJECT))

# %% [markdown]
# ## A student
#
# `distill` splits without a leak, trains, chooses the threshold on val and measures on test, once. Twenty epochs from
# random weights make no good student; they show the way.

# %%
labelstill(
    "distill", "--project", str(PROJECT), "--name", "first", "--model", "yolov8n", "--epochs", str(EPOCHS),
    "--imgsz", "192", "--batch", "8",
)  # fmt: skip

# %% [markdown]
# ## To the edge
#
# `export` writes a folder that needs nothing of this package: the model as ONNX, the program that runs it, a script
# that builds the TensorRT engine on the device, and golden outputs to compare with. It refuses to write a model that
# does not see what the student sees.

# %%
labelstill("export", "first", "--project", str(PROJECT))
labelstill("bench", "first", "--project", str(PROJECT))

# %%
manifest = json.loads((PROJECT / "exports/first/manifest.json").read_text())
print(sorted(manifest["files"]))
print(manifest["accuracy"])

# %% [markdown]
# ## Where to go next
#
# - `loop/reports/student-first.html` says how the student compares with teacher and people, and what to label next.
# - Copy `loop/exports/first` to the device and run `./build.sh` there.
# - `02_label_your_photos`, `03_review_and_curate` and `04_ship_to_a_jetson` go into each part.
