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
# # Review and curate
#
# Labels of a teacher go to people, come back without loss, and are looked over as a whole: which are probably wrong,
# what repeats, what is thin, and what to label next. Offline, in about three minutes.
#
# The photos are drawn, so that the part of the people can be played by somebody who knows the truth.

# %%
import sqlite3
from collections import Counter
from pathlib import Path

from IPython.display import Image, display

from labeling.cli import main
from labeling.demo.reviewer import review_in_store, review_in_studio, scene_files, truth
from labeling.demo.scenes import all_pairs, render_scene
from labeling.health import ROOT
from labeling.project import Project
from labeling.studio.environment import program

PROJECT = Path("review")
CLASSES = ("forklift", "pallet", "box", "barrel", "cone")
STUDIO = program(ROOT) is not None


def labelstill(*arguments: str) -> None:
    """Run one verb on the project, as in a terminal, and stop here if it fails."""
    assert main([*arguments, "--project", str(PROJECT)]) == 0, arguments[0]


# %% [markdown]
# ## Labels to correct

# %%
scenes = [render_scene(96_000_000 + number, pairs=all_pairs(unseen=True)) for number in range(32)]
scene_files(scenes, Path("photos"))
labelstill("label", "photos", "--classes", ", ".join(CLASSES), "--detector", "bundled")

# %% [markdown]
# ## Which first?
#
# `next` orders by doubt and by how unlike an image is to those that are reviewed already.

# %%
labelstill("next", "8")

# %% [markdown]
# ## To people and back
#
# Send a few at a time if you like: what is there is never sent twice. In the browser the task list is ordered by doubt.
# Here everything is answered with the truth of the drawing.

# %%
project = Project.open(PROJECT)
known = truth(scenes, CLASSES)
if STUDIO:
    labelstill("studio", "up")
    try:
        labelstill("push")
        print(review_in_studio(project, known), "tasks answered")
        labelstill("pull")
        labelstill("push")
    finally:
        labelstill("studio", "down")
else:
    with project.open_store() as store:
        print(review_in_store(store, known), "photos reviewed without a Label Studio; `make studio-env` installs one")

# %% [markdown]
# The second push had nothing to send. Every label says who made it:

# %%
with sqlite3.connect(PROJECT / "labels.db") as db:
    print(Counter(dict(db.execute("SELECT source, count(*) FROM v_annotations GROUP BY source"))))

# %% [markdown]
# ## Was the teacher right?

# %%
labelstill("audit")

# %% [markdown]
# ## Curate
#
# `labelstill curate` opens FiftyOne with saved views of likely errors, repeats and thin classes. A tag such as
# `drop` or `relabel` becomes a decision with `labelstill curate --apply`; `push --only relabel` sends such images to
# people again. Without the app the same is one page:

# %%
labelstill("curate", "--no-app")
page = PROJECT / "reports" / "curation.html"
print(page, page.stat().st_size // 1024, "KiB")

# %%
display(Image(data=scenes[0].jpeg))

# %% [markdown]
# ## Where to go next
#
# - `labelstill agreement` says how far several people agree on the same photos.
# - `labelstill distill` trains a student on what was corrected: `01_prompt_to_edge`.
