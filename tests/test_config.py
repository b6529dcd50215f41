"""project.yaml: every mistake is named with its line, and writing it loses nothing that people wrote."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import jsonschema
import pytest
from ruamel.yaml import YAML

from labeling.core.config import (
    ProjectConfig,
    json_schema,
    load_config,
    save_classes,
    save_settings,
    template,
    write_atomically,
)
from labeling.core.errors import InputError
from labeling.core.ontology import Ontology, OntologyClass, parse_classes

ODD_CLASSES = parse_classes("a, no: p | q, 3, yes: 'x', café: # y, - dash, null, person in vest: vest | true, {x}: [y]")


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "project.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_defaults_of_a_file_with_a_name_only(tmp_path: Path) -> None:
    config = load_config(written(tmp_path, "name: x\n"))
    assert config == ProjectConfig(name="x")
    assert config.ontology is None
    assert (config.teacher.detector, config.teacher.segmenter, config.teacher.batch) == ("grounding-dino", None, "auto")
    assert (config.images.max_pixels, config.images.background) == (100_000_000, "white")
    assert (config.filters.nms_iou, config.filters.min_area_px, config.filters.full_image_share) == (0.5, 4.0, 0.95)
    assert config.filters.faint_share == 0.8


def test_every_setting_is_read(tmp_path: Path) -> None:
    text = """
name: x
classes: [a, {name: b, prompts: [p, q], threshold: 0, guide: g, aliases: [old b, B2]}]
teacher: {detector: bundled, segmenter: none, score: 0.2, device: cpu, batch: 4}
images: {max_pixels: 10, background: black, accept_truncated: true, follow_links: true}
filters: {nms_iou: 1, class_agnostic_nms: true, min_area_px: 0, full_image_share: 0.5}
"""
    config = load_config(written(tmp_path, text))
    assert config.ontology == Ontology(
        (OntologyClass("a", ("a",)), OntologyClass("b", ("p", "q"), 0.0, "g", ("old b", "B2")))
    )
    assert config.teacher.batch == 4
    assert config.images.accept_truncated
    assert config.filters.nms_iou == 1.0


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("nmae: x\n", "1: nmae: unknown key 'nmae', did you mean 'name'?"),
        ("name: x\nteacher:\n  detektor: y\n", "3: teacher.detektor: unknown key 'detektor', did you mean 'detector'?"),
        ("name: x\nzzz: 1\n", "2: zzz: unknown key 'zzz'; known: name, classes, teacher, images, filters"),
        ("name: x\nclasses:\n  - name: a\n    tresh: 1\n", "4: classes[0].tresh: unknown key 'tresh'"),
        ("teacher: {}\n", "1: name: this key is required"),
        ("name:\n", "1: name: expected text, got nothing"),
        ("name: 5\n", "1: name: expected text, got 5: put it in quotes"),
        ("name: x\nteacher:\n  batch: many\n", "3: teacher.batch: expected auto or a whole number from 1, got 'many'"),
        ("name: x\nteacher:\n  batch: true\n", "3: teacher.batch: expected auto or a whole number from 1, got True"),
        (
            "name: x\nteacher:\n  tile: 63\n",
            "3: teacher.tile: expected 0 for no tiles, or a side of 64 pixels or more, got 63",
        ),
        (
            "name: x\nteacher:\n  tile: false\n",
            "3: teacher.tile: expected 0 for no tiles, or a side of 64 pixels or more, got False",
        ),
        ("name: x\nteacher:\n  score: '0.3'\n", "3: teacher.score: expected a number, got '0.3'"),
        ("name: x\nteacher:\n  score: 1.5\n", "3: teacher.score: expected less than or equal to 1, got 1.5"),
        ("name: x\nfilters:\n  nms_iou: .inf\n", "3: filters.nms_iou: expected"),
        ("name: x\nimages:\n  max_pixels: 1e6\n", "3: images.max_pixels: expected a whole number"),
        ("name: x\nimages:\n  follow_links: yes please\n", "3: images.follow_links: expected true or false"),
        ("name: x\nfilters: []\n", "2: filters: expected a mapping of keys, got []"),
        ("name: x\nclasses: a\n", "2: classes: expected a list, got 'a'"),
        ("name: x\nclasses:\n- a\n- b\n- A\n", "5: classes[2].name: class 'A' comes twice"),
        ("name: x\nname: y\n", "2: not valid YAML: found duplicate key"),
        ("name: x\n  y: 1\n", "not valid YAML"),
        ("- x\n", "1: expected a mapping of keys"),
        ("name: !!python/object/apply:os.system [id]\n", "1: YAML tag"),
        ("name: &n x\nteacher: {device: *n}\n", "1: YAML anchors and aliases"),
        ("name: x\n---\nname: y\n", "not valid YAML"),
    ],
)
def test_mistakes_are_named_with_their_line(tmp_path: Path, text: str, said: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(InputError) as caught:
        load_config(path)
    assert f"{path}:{said}" in str(caught.value) or (said[0].isalpha() and said in str(caught.value))


def test_all_mistakes_come_at_once(tmp_path: Path) -> None:
    path = written(tmp_path, "name: 3\nteacher:\n  scor: 1\nimages:\n  max_pixels: 0\nfilter: {}\n")
    with pytest.raises(InputError) as caught:
        load_config(path)
    lines = [line.removeprefix(f"{path}:") for line in str(caught.value).splitlines()]
    assert [line.split(":")[0] for line in lines] == ["1", "3", "5", "6"]


def test_alias_bomb_is_refused_at_once(tmp_path: Path) -> None:
    levels = "\n".join(f"l{i}: &l{i} [{', '.join([f'*l{i - 1}'] * 9)}]" for i in range(1, 9))
    with pytest.raises(InputError, match="anchors"):
        load_config(written(tmp_path, f"l0: &l0 [x]\n{levels}\n"))


def test_weights_beside_the_file_are_found_from_anywhere(tmp_path: Path) -> None:
    (tmp_path / "w.safetensors").write_bytes(b"")
    config = load_config(
        written(tmp_path, "name: x\nteacher: {weights: w.safetensors, segmenter_weights: facebook/sam2.1}\n")
    )
    assert config.teacher.weights == str(tmp_path / "w.safetensors")
    assert config.teacher.segmenter_weights == "facebook/sam2.1"


@pytest.mark.parametrize("ontology", [None, ODD_CLASSES])
def test_template_reads_back(tmp_path: Path, ontology: Ontology | None) -> None:
    path = written(tmp_path, template("my: project #1", ontology))
    config = load_config(path)
    assert config == ProjectConfig(name="my: project #1", classes=config.classes)
    assert config.ontology == ontology


def test_template_shows_every_setting_with_its_default(tmp_path: Path) -> None:
    bare = template("x")
    uncommented = [
        line.removeprefix("# ").removeprefix("#")
        for line in bare[bare.index("# teacher:") :].splitlines()
        if line.startswith(("#   ", "# teacher:", "# images:", "# filters:", "# review:"))
    ]
    data = YAML(typ="safe").load("\n".join(uncommented))
    seen = 0
    for section, model in (("teacher", ProjectConfig(name="x").teacher), ("images", ProjectConfig(name="x").images)):
        for key, value in data[section].items():
            assert getattr(model, key) == value
            seen += 1
    assert seen == 16
    assert set(data["filters"]) == set(type(ProjectConfig(name="x").filters).model_fields)
    assert data["review"] == {"regions": "masks"}


def test_saving_classes_keeps_comments_and_everything_else(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        """# top
name: "x"   # the name
classes:
  # what we look for
  - a # first
  - name: b # bee
    prompts: [p, q] # both
    guide: keep me
  # the end
teacher:
  device: cpu # no card here
""",
    )
    ontology = load_config(path).ontology
    assert ontology is not None
    extended = ontology.extended_with(parse_classes("a: x | y, b: r, new, n2: z"))
    save_classes(path, extended)
    text = path.read_text(encoding="utf-8")
    assert load_config(path).ontology == extended
    assert load_config(path).teacher.device == "cpu"
    for comment in ("top", "the name", "what we look for", "first", "bee", "both", "the end", "no card here"):
        assert f"# {comment}" in text
    assert 'name: "x"' in text
    assert text.index("name: a") < text.index("name: b") < text.index("- new") < text.index("n2")


@pytest.mark.parametrize("before", ["name: x\n", "name: x\nclasses:\n- a\n", "name: x\nclasses:\n    - a # one\n"])
def test_saving_odd_names_reads_back(tmp_path: Path, before: str) -> None:
    path = written(tmp_path, before)
    save_classes(path, ODD_CLASSES)
    assert load_config(path).ontology == ODD_CLASSES


def test_saving_keeps_aliases_and_adds_new_ones(tmp_path: Path) -> None:
    path = written(tmp_path, "name: x\nclasses:\n  - name: a\n    aliases: [old]  # remark\n  - b\n")
    save_classes(path, parse_classes("a, b: q"))
    assert "aliases: [old]  # remark" in path.read_text(encoding="utf-8")
    classes = (OntologyClass("a", ("a",), aliases=("old",)), OntologyClass("b", ("q",), aliases=("was b",)))
    save_classes(path, Ontology(classes))
    config = load_config(path)
    assert config.ontology == Ontology(classes)
    assert "aliases: [old]  # remark" in path.read_text(encoding="utf-8")


def test_an_alias_that_is_taken_is_named_with_its_line(tmp_path: Path) -> None:
    path = written(tmp_path, "name: x\nclasses:\n  - a\n  - name: b\n    aliases:\n      - A\n")
    with pytest.raises(
        InputError, match=r"6: classes\[1\].aliases\[0\]: alias 'A' of class 'b' already stands for class 'a'"
    ):
        load_config(path)


def test_saving_the_same_classes_does_not_touch_the_file(tmp_path: Path) -> None:
    path = written(tmp_path, "name:   x\nclasses:   [a,   b]\n")
    before = path.stat().st_mtime_ns, path.stat().st_ino
    save_classes(path, parse_classes("a, b"))
    assert (path.stat().st_mtime_ns, path.stat().st_ino) == before


def test_saving_keeps_the_permissions_of_the_file(tmp_path: Path) -> None:
    path = written(tmp_path, "name: x\n")
    path.chmod(0o640)
    save_classes(path, parse_classes("a"))
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert [entry.name for entry in tmp_path.iterdir()] == ["project.yaml"]


def test_writing_where_that_is_impossible_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be written"):
        write_atomically(tmp_path / "none" / "f", "x")
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match="cannot be written"):
        write_atomically(tmp_path / "folder", "x")
    assert [entry.name for entry in tmp_path.iterdir()] == ["folder"]


def test_schema_accepts_what_the_reader_accepts_and_refuses_what_it_refuses() -> None:
    schema = json.loads(json.dumps(json_schema()))
    validator = jsonschema.Draft202012Validator(schema)
    validator.check_schema(schema)
    yaml = YAML(typ="safe")
    validator.validate(yaml.load(template("x", ODD_CLASSES)))
    validator.validate(
        {"name": "x", "classes": ["a", {"name": "b", "prompts": ["p"], "aliases": ["c"]}], "teacher": {"batch": 3}}
    )
    for tile in (None, 0, 64):
        validator.validate({"name": "x", "teacher": {"tile": tile}})
    for wrong in (
        {"nmae": "x"},
        {"name": "x", "teacher": {"batch": "many"}},
        {"name": "x", "teacher": {"tile": 63}},
        {"name": "x", "classes": [{"nam": "a"}]},
        {"name": "x", "classes": [{"name": "a", "aliases": "b"}]},
        {"name": "x", "filters": {"nms_iou": 2}},
    ):
        assert not validator.is_valid(wrong)


def test_saving_settings_writes_only_what_changes_and_keeps_comments(tmp_path: Path) -> None:
    path = written(
        tmp_path, "name: x  # shop\nclasses:\n  - a  # first\nfilters:\n  nms_iou: 0.5  # overlap\n# the end\n"
    )
    classes = Ontology((OntologyClass("a", ("q",), threshold=0.31, synonyms=("a",)),))
    save_settings(path, classes, {"filters": {"nms_iou": 0.7}, "teacher": {"prompts_per_pass": 1}})
    text = path.read_text(encoding="utf-8")
    for comment in ("# shop", "# first", "# overlap", "# the end"):
        assert comment in text
    config = load_config(path)
    assert config.ontology == classes
    assert config.filters.nms_iou == 0.7
    assert config.teacher.prompts_per_pass == 1
    save_settings(path, classes, {"teacher": {"prompts_per_pass": None}})
    assert load_config(path).teacher.prompts_per_pass is None


def test_saving_the_settings_that_are_there_touches_nothing(tmp_path: Path) -> None:
    path = written(tmp_path, "name:   x\nclasses: [a]\n")
    before = path.stat().st_mtime_ns
    save_settings(path, parse_classes("a"), {"filters": {"nms_iou": 0.5}})
    assert (path.read_text(encoding="utf-8"), path.stat().st_mtime_ns) == ("name:   x\nclasses: [a]\n", before)


def test_settings_that_would_not_be_valid_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    path = written(tmp_path, "name: x\nclasses: [a]\n")
    with pytest.raises(InputError, match="filters would not be valid"):
        save_settings(path, parse_classes("a, b"), {"filters": {"nms_iou": 1.5}})
    assert path.read_text(encoding="utf-8") == "name: x\nclasses: [a]\n"


def test_synonyms_are_read_kept_and_no_part_of_the_identity(tmp_path: Path) -> None:
    path = written(tmp_path, "name: x\nclasses:\n  - {name: a, prompts: [p], synonyms: [q, r]}\n  - b\n")
    known = load_config(path).ontology
    assert known is not None
    assert known.classes[0].synonyms == ("q", "r")
    assert known.hash == parse_classes("a: p, b").hash
    assert known.extended_with(parse_classes("a: p, c")).classes[0].synonyms == ("q", "r")
    with pytest.raises(InputError, match="synonym 'B' of class 'a' already belongs to class 'b'"):
        load_config(written(tmp_path, "name: x\nclasses:\n  - {name: a, synonyms: [B]}\n  - b\n"))
