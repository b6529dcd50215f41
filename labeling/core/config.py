"""project.yaml: what may stand in it, reading it strictly, and writing it without losing a comment."""

from __future__ import annotations

import io
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, field_validator
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq

from .errors import InputError
from .ontology import ClassEntry, Ontology, OntologyClass, find_problems
from .strict import StrictModel, raise_problems, read_document, validate

SCHEMA_FILE = "project.schema.json"
"""Name of the JSON schema that ``template`` points editors to."""

LEAST_TILE_PX = 64
"""Smaller tiles show next to nothing and take for ever."""


class TeacherConfig(StrictModel):
    """Which models label, and how."""

    detector: str = Field(
        default="grounding-dino", description="Finds boxes; labelstill teachers lists them; several with commas."
    )
    weights: str | None = Field(default=None, description="File, folder or hub id; the detector's own when left out.")
    class_names: str | None = Field(
        default=None, description="File with one class name per line, for a detector whose weights do not name them."
    )
    segmenter: str | None = Field(
        default=None, description="Draws masks, or none; labelstill teachers lists them; follows the detector."
    )
    segmenter_weights: str | None = Field(default=None, description="File, folder or hub id of the segmenter.")
    embeddings: str | None = Field(
        default=None, description="File with one embedding per prompt, for yolo-world and yoloe."
    )
    exemplars: str | None = Field(
        default=None, description="Folder with a folder of pictures per class, for yoloe and things without a word."
    )
    prompts_per_pass: int | None = Field(
        default=None, ge=1, description="Most prompts that share a forward pass; as many as fit when left out."
    )
    tile: Literal[0] | Annotated[int, Field(ge=LEAST_TILE_PX)] | None = Field(
        default=None, description="Side of tiles in pixels, 0 for none; very large images alone when left out."
    )
    score: float | None = Field(
        default=None, ge=0, le=1, description="Lowest score kept for classes without a threshold of their own."
    )
    device: str = Field(default="auto", description="auto, cpu, cuda or cuda:N.")
    batch: Annotated[int, Field(ge=1)] | Literal["auto"] = Field(default="auto", description="Images per batch.")

    @field_validator("batch", mode="before")
    @classmethod
    def _one_message(cls, value: object) -> object:
        if value != "auto" and (type(value) is not int or value < 1):
            raise ValueError(f"expected auto or a whole number from 1, got {value!r}")
        return value

    @field_validator("tile", mode="before")
    @classmethod
    def _one_message_for_tiles(cls, value: object) -> object:
        if value is not None and (type(value) is not int or not (value == 0 or value >= LEAST_TILE_PX)):
            raise ValueError(f"expected 0 for no tiles, or a side of {LEAST_TILE_PX} pixels or more, got {value!r}")
        return value


class ImagesConfig(StrictModel):
    """What counts as a usable image."""

    max_pixels: int = Field(default=100_000_000, ge=1, description="Larger images are quarantined.")
    background: str = Field(default="white", description="Colour under transparent pixels.")
    accept_truncated: bool = Field(default=False, description="Use the part of a cut-off file that can be read.")
    follow_links: bool = Field(default=False, description="Follow links that lead out of the folder.")


class FiltersConfig(StrictModel):
    """Which of the detector's boxes are kept."""

    nms_iou: float = Field(default=0.5, ge=0, le=1, description="Overlap above which the lower score is dropped.")
    class_agnostic_nms: bool = Field(default=False, description="Let boxes of different classes drop each other.")
    min_area_px: float = Field(default=4.0, ge=0, description="Smaller boxes are dropped, in square pixels.")
    full_image_share: float = Field(default=0.95, gt=0, le=1, description="Share of the image that flags a box.")
    faint_share: float = Field(
        default=0.8,
        gt=0,
        le=1,
        description="Below the threshold by up to this factor: no label, but not taught to a student as empty; 1: off.",
    )


class ReviewConfig(StrictModel):
    """What people are shown in Label Studio."""

    regions: Literal["masks", "boxes"] = Field(
        default="masks", description="masks: an object with a mask is its outline; boxes: rectangles only, no masks."
    )


class ProjectConfig(StrictModel):
    """Everything in project.yaml."""

    name: str = Field(min_length=1, description="Shown in reports.")
    classes: list[ClassEntry] | None = Field(default=None, description="What to look for; add new ones at the end.")
    teacher: TeacherConfig = TeacherConfig()
    images: ImagesConfig = ImagesConfig()
    filters: FiltersConfig = FiltersConfig()
    review: ReviewConfig = ReviewConfig()

    @property
    def ontology(self) -> Ontology | None:
        """The classes, or None while there are none."""
        return Ontology(tuple(entry.to_class() for entry in self.classes)) if self.classes else None


def load_config(path: Path) -> ProjectConfig:
    """Read project.yaml.

    Weights and class names that exist beside project.yaml are taken from there, whatever the working folder is.

    Raises:
        InputError: one line per problem, ``file:line: key: what is wrong``, all of them at once.
    """
    document = read_document(path)
    config = validate(ProjectConfig, document)
    classes = [entry.to_class() for entry in config.classes or []]
    problems = find_problems(classes) if classes else []
    raise_problems(document, [(("classes", *place), message) for place, message in problems])
    teacher = config.teacher
    found = {
        key: str(path.parent / value)
        for key in ("weights", "class_names", "segmenter_weights", "embeddings", "exemplars")
        if (value := getattr(teacher, key)) and (path.parent / value).exists()
    }
    return config.model_copy(update={"teacher": teacher.model_copy(update=found)})


def save_classes(path: Path, ontology: Ontology) -> None:
    """Write the classes into project.yaml; comments, order and everything else stay. Raises InputError.

    Nothing is written when the file says the same already.
    """
    save_settings(path, ontology, {})


def save_settings(path: Path, ontology: Ontology, sections: Mapping[str, Mapping[str, float | None]]) -> None:
    """Write classes with their thresholds, and single settings, in one step; comments and everything else stay.

    Nothing is written when the file says the same already.

    Args:
        path: project.yaml.
        ontology: all classes.
        sections: such as ``{"filters": {"nms_iou": 0.6}, "teacher": {"prompts_per_pass": None}}``; None leaves the
            key to its default.

    Raises:
        InputError: the file has errors or cannot be written, or would not be valid with these values.
    """
    config = load_config(path)
    changed = {
        section: {key: value for key, value in values.items() if getattr(getattr(config, section), key) != value}
        for section, values in sections.items()
    }
    if config.ontology == ontology and not any(changed.values()):
        return
    for section, values in changed.items():
        merged = getattr(config, section).model_dump() | dict(values)
        try:
            type(getattr(config, section)).model_validate(merged)
        except ValidationError as error:
            raise InputError(f"{path}: {section} would not be valid: {error.errors()[0]['msg']}") from error
    yaml = _round_trip()
    data = yaml.load(path.read_text(encoding="utf-8-sig"))
    if isinstance(data.get("classes"), CommentedSeq) and data["classes"].lc.col == 0:
        yaml.indent(mapping=2, sequence=2, offset=0)
    _update_classes(data, config.ontology.classes if config.ontology else (), ontology.classes)
    for section, values in changed.items():
        _update_section(data, section, values)
    text = io.StringIO()
    yaml.dump(data, text)
    write_atomically(path, text.getvalue())


def template(name: str, ontology: Ontology | None = None) -> str:
    """Return the text of a new project.yaml: every key with its default and a comment."""
    yaml = _round_trip()

    def dumped(data: object) -> str:
        text = io.StringIO()
        yaml.dump(data, text)
        return text.getvalue()

    if ontology is None:
        classes = "# classes:\n#   - forklift\n#   - name: pallet\n#     prompts: [wooden pallet, plastic pallet]\n"
    else:
        classes = dumped({"classes": CommentedSeq(_class_node(entry) for entry in ontology.classes)})
    parts = [
        f"# yaml-language-server: $schema={SCHEMA_FILE}",
        "# Settings of a labelstill project. Keys that are commented out show their defaults.",
        "",
        dumped({"name": name}),
        "# What to look for. A name alone is its own prompt; an entry may also have these:",
        "#   - name: person",
        "#     prompts: [person in hi-vis vest, worker]   # texts for the detector; several find more",
        "#     threshold: 0.4                             # lowest score kept; the detector's default when left out",
        "#     guide: Box the whole person, hidden parts left out.   # for the people who review",
        "#     aliases: [worker in hi-vis]                # other names that the class has in Label Studio",
        "#     synonyms: [staff member, picker]           # further prompts that labelstill calibrate tries",
        "# Add new classes at the end. Used ones are not removed, renamed or moved: their place is their number.",
        classes,
    ]
    for key, section, remark in (
        ("teacher", TeacherConfig, "The models that label."),
        ("images", ImagesConfig, "What counts as a usable image."),
        ("filters", FiltersConfig, "Which of the detector's boxes are kept."),
        ("review", ReviewConfig, "What people are shown in Label Studio."),
    ):
        parts += [f"# {remark}", f"# {key}:", *_commented(section), ""]
    return "\n".join(parts)


def json_schema() -> dict[str, Any]:
    """Return the JSON schema of project.yaml, for completion and checks in editors."""
    schema = ProjectConfig.model_json_schema()
    entry = schema["$defs"]["ClassEntry"]
    schema["$defs"]["ClassEntry"] = {"anyOf": [{"type": "string"}, entry]}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def write_atomically(path: Path, text: str) -> None:
    """Write a text file so that a reader finds the old one or the new one, never a part. Raises InputError."""
    try:
        mode = path.stat().st_mode & 0o777 if path.exists() else 0o644
        with tempfile.NamedTemporaryFile(
            "w", encoding="utf-8", dir=path.parent, prefix=f".{path.name}.", delete=False
        ) as file:
            try:
                file.write(text)
                file.flush()
                os.fchmod(file.fileno(), mode)
                os.fsync(file.fileno())
                os.replace(file.name, path)
            except BaseException:
                os.unlink(file.name)
                raise
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror}: check the folder and its space") from error


def _round_trip() -> YAML:
    yaml = YAML(typ="rt")
    yaml.preserve_quotes = True
    yaml.width = 2**16  # no line is broken
    yaml.indent(mapping=2, sequence=4, offset=2)
    return yaml


def _commented(section: type[StrictModel]) -> list[str]:
    lines = []
    for key, field in section.model_fields.items():
        value = {None: "", True: "true", False: "false"}.get(field.default, field.default)
        lines.append(f"#   {f'{key}: {value}'.rstrip():<28}  # {field.description}")
    return lines


def _update_classes(data: CommentedMap, before: Sequence[OntologyClass], after: Sequence[OntologyClass]) -> None:
    nodes = data.get("classes")
    if nodes is None:
        nodes = data["classes"] = CommentedSeq()
    known = {entry.name: (place, entry) for place, entry in enumerate(before)}
    for entry in after:
        if entry.name not in known:
            nodes.append(_class_node(entry))
            continue
        place, old = known[entry.name]
        if old == entry:
            continue
        if not isinstance(nodes[place], CommentedMap):
            remark = nodes.ca.items.pop(place, None)
            nodes[place] = CommentedMap(name=nodes[place])
            if remark:
                nodes[place].ca.items["name"] = [None, None, remark[0], None]
        # Keys that stay as they are keep their comments.
        keys = ("prompts", "threshold", "guide", "aliases", "synonyms")
        changed = [key for key in keys if getattr(old, key) != getattr(entry, key)]
        nodes[place].update({key: value for key, value in _class_items(entry).items() if key in changed})


def _update_section(data: CommentedMap, section: str, values: Mapping[str, float | None]) -> None:
    written = {key: value for key, value in values.items() if value is not None}
    if data.get(section) is None and written:
        data[section] = CommentedMap()
    for key in values:
        if key in written:
            data[section][key] = written[key]
        elif data.get(section) is not None:
            data[section].pop(key, None)


def _class_node(entry: OntologyClass) -> object:
    """Return the shortest way to write a class."""
    items = _class_items(entry)
    if entry.prompts == (entry.name,):
        items.pop("prompts")
    return entry.name if list(items) == ["name"] else CommentedMap(items)


def _class_items(entry: OntologyClass) -> dict[str, object]:
    prompts, aliases, synonyms = (CommentedSeq(texts) for texts in (entry.prompts, entry.aliases, entry.synonyms))
    for texts in (prompts, aliases, synonyms):
        texts.fa.set_flow_style()
    items = {
        "name": entry.name,
        "prompts": prompts,
        "threshold": entry.threshold,
        "guide": entry.guide,
        "aliases": aliases,
        "synonyms": synonyms,
    }
    return {key: value for key, value in items.items() if value not in (None, "", [])}
