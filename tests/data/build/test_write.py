"""Where a dataset goes, what stays there, and a kill between two files."""

import re

import pytest

from oltr_cli.data.build import write as build_write
from oltr_cli.data.build.recipe import Sizing
from oltr_cli.data.feed.opening import open_dataset
from oltr_cli.data.prepare.common import variant_recipe
from oltr_cli.errors import DataProblem, OltrError, UsageProblem
from oltr_cli.planning.plan import plan
from oltr_cli.recipe.files import built_datasets
from tests.helpers.photographs import lists, photo, photos


def test_the_same_arguments_again_write_nothing(build, tmp_path):
    root = photos(tmp_path / "in", {"a": 6, "b": 5})
    first = build(root)
    assert set(first.written) == {"train.txt", "val.txt", "test.txt", "classes.txt", "recipe.toml"}
    times = {path: path.stat().st_mtime_ns for path in first.folder.iterdir()}
    assert build(root).written == []
    assert {path: path.stat().st_mtime_ns for path in first.folder.iterdir()} == times


def test_lists_of_another_build_are_replaced_by_force_only(build, tmp_path):
    root = photos(tmp_path / "in", {"a": 6, "b": 5})
    folder = build(root, open_images=photos(tmp_path / "open", {"x": 3, "y": 3})).folder
    before = {path: path.read_text() for path in folder.iterdir()}
    with pytest.raises(DataProblem, match=r"holds another build \(.*open\.txt.*\); use --force to replace it"):
        build(root, seed=1)
    assert {path: path.read_text() for path in folder.iterdir()} == before
    build(root, force=True, seed=1, redraw=True, fresh_recipe=True)
    assert not (folder / "open.txt").exists()
    assert lists(folder)["train"] != before[folder / "train.txt"]
    assert {path.name for path in folder.iterdir()} == {f"{s}.txt" for s in ("train", "val", "test", "classes")} | {
        "recipe.toml",
    }


def test_an_edited_recipe_keeps_its_settings(build, tmp_path):
    root = photos(tmp_path / "in", {"a": 6, "b": 5})
    first = build(root)
    recipe = first.folder / "recipe.toml"
    edited = recipe.read_text().replace("flip = true ", "flip = false").replace("[stage1]", "# short\n[stage1]")
    recipe.write_text(edited)
    assert build(root).written == []
    photo(root / "a" / "new.png")
    report = build(root, force=True)
    assert (set(report.written), report.kept) == ({"train.txt", "recipe.toml"}, "")
    now = recipe.read_text()
    was, digest = (re.findall(r'lists_digest = "(\w+)"', text)[0] for text in (edited, now))
    assert was != digest == open_dataset(plan("plain", "mine", [], 0)[0].link.recipe.data).digest
    assert now.replace(digest, was).splitlines()[1:] == edited.splitlines()[1:]
    assert now.splitlines()[0].endswith("2 classes, 8 training images (3–5 per class, as found).")


def test_a_recipe_is_replaced_on_request_and_kept_beside_the_new_one(build, tmp_path):
    root = photos(tmp_path / "in", {"a": 6, "b": 5})
    recipe = build(root).folder / "recipe.toml"
    written = recipe.read_text()
    edited = written.replace("flip = true ", "flip = false")
    recipe.write_text(edited)
    for again in ({"fresh_recipe": True}, {"sizing": Sizing(32)}):
        with pytest.raises(DataProblem, match=r"lists are unchanged, but recipe\.toml would be another one; keep it"):
            build(root, **again)
    assert recipe.read_text() == edited
    report = build(root, force=True, fresh_recipe=True)
    assert (report.written, report.kept) == (["recipe.toml"], "recipe.old.toml")
    assert (recipe.read_text(), recipe.with_name("recipe.old.toml").read_text()) == (written, edited)
    assert build(root, force=True, sizing=Sizing(32)).kept == "recipe.old2.toml"
    assert recipe.with_name("recipe.old.toml").read_text() == edited
    assert list(built_datasets()) == ["mine"]


def test_a_recipe_laid_out_in_another_way_is_not_changed(build, tmp_path):
    root = photos(tmp_path / "in", {"a": 6, "b": 5})
    recipe = build(root).folder / "recipe.toml"
    odd = re.sub(r'lists_digest = "(\w+)"', r'lists_digest = """\1"""', recipe.read_text())
    recipe.write_text(odd)
    photo(root / "a" / "new.png")
    with pytest.raises(DataProblem, match="lists_digest cannot be renewed"):
        build(root, force=True)
    assert recipe.read_text() == odd
    assert build(root, force=True, fresh_recipe=True).kept == "recipe.old.toml"


def test_a_missing_list_is_written_again(build, tmp_path):
    root = photos(tmp_path / "in", {"a": 6, "b": 5})
    folder = build(root).folder
    (folder / "recipe.toml").write_text((folder / "recipe.toml").read_text() + "\n")
    before = lists(folder)
    (folder / "test.txt").unlink()
    assert build(root).written == ["test.txt"]
    assert lists(folder) == before


@pytest.mark.parametrize(
    ("recipe", "problem"),
    [
        (
            variant_recipe("ms1m-lt", "mine", "of another size."),
            r"recipe\.toml: not written by oltr data build \(.* another --out",
        ),
        ('data = "x"\n', r"recipe\.toml: not written by oltr data build"),
        ("[data\n", r"recipe\.toml: not valid TOML .*; fix it, or choose another --out"),
        ('name = "\udce4"', r"recipe\.toml: not valid TOML .*; fix it, or choose another --out"),
    ],
)
def test_a_dataset_that_something_else_wrote_stays(build, home, tmp_path, recipe, problem):
    (home / "mine").mkdir(parents=True)
    for name, text in {"recipe.toml": recipe, "train.txt": "x.png 0\n", "probe.txt": "y.png 0\n"}.items():
        (home / "mine" / name).write_text(text, errors="surrogateescape")
    before = {path: path.read_bytes() for path in (home / "mine").iterdir()}
    for force in (False, True):
        with pytest.raises(DataProblem, match=problem):
            build(tmp_path / "is not looked at", force=force)
    assert {path: path.read_bytes() for path in (home / "mine").iterdir()} == before


@pytest.mark.parametrize("content", [b"][", b"# \xff", b"[data\n", b"data = 1"])
@pytest.mark.parametrize("alone", [True, False])
def test_a_damaged_recipe_of_a_killed_build_is_named(build, tmp_path, content, alone):
    root = photos(tmp_path / "in", {"a": 6, "b": 5})
    folder = build(root).folder
    (folder / ".recipe.toml.old").write_bytes(content)
    if alone:
        (folder / "recipe.toml").unlink()
    with pytest.raises(DataProblem, match=r"\.recipe\.toml\.old: not (valid TOML|written by oltr data build)"):
        build(root, force=True)


@pytest.mark.parametrize("root_line", ["root = 5", "# no root"])
def test_without_the_folder_of_the_images_nothing_is_drawn_anew_in_silence(build, tmp_path, root_line):
    root = photos(tmp_path / "in", {"a": 6, "b": 5})
    recipe = build(root).folder / "recipe.toml"
    recipe.write_text(re.sub(r"(?m)^root = .*$", root_line, recipe.read_text()))
    before = lists(recipe.parent)
    with pytest.raises(DataProblem, match=r"recipe\.toml: \[data\] has no root = .*or use --redraw"):
        build(root, force=True, fresh_recipe=True)
    assert lists(recipe.parent) == before
    build(root, force=True, fresh_recipe=True, redraw=True)


def test_moved_photographs_keep_their_split_once_the_recipe_knows_where_they_are(build, tmp_path):
    root = photos(tmp_path / "in", {"a": 9, "b": 8})
    recipe = build(root, seed=3).folder / "recipe.toml"
    before = lists(recipe.parent)
    moved = root.rename(tmp_path / "moved")
    with pytest.raises(DataProblem, match=r"none of its 17 images is among the photographs now.*use --redraw"):
        build(moved, force=True)
    assert lists(recipe.parent) == before
    recipe.write_text(recipe.read_text().replace(str(root), str(moved)))
    build(moved, force=True)
    assert lists(recipe.parent) == before
    again = moved.rename(tmp_path / "again")
    build(again, force=True, redraw=True)
    assert lists(recipe.parent) != before


def test_a_run_on_one_build_is_no_run_on_another(build, tmp_path):
    root = photos(tmp_path / "in", {"a": 6, "b": 5})
    recipe = build(root, open_images=photos(tmp_path / "open", {"x": 3, "y": 3})).folder / "recipe.toml"
    first = plan("plain", str(recipe), [], 0)[0]
    assert open_dataset(first.link.recipe.data).digest == first.link.recipe.data.lists_digest
    build(root, force=True, seed=1, redraw=True)
    second = plan("plain", str(recipe), [], 0)[0]
    assert open_dataset(second.link.recipe.data).digest == second.link.recipe.data.lists_digest
    assert second.link.hash != first.link.hash


def test_lists_that_were_changed_by_hand_are_pointed_out(build, tmp_path):
    folder = build(photos(tmp_path / "in", {"a": 6, "b": 5})).folder
    data = plan("plain", str(folder / "recipe.toml"), [], 0)[0].link.recipe.data
    train = (folder / "train.txt").read_text().splitlines()
    (folder / "train.txt").write_text("\n".join(train[:-1]) + "\n")
    with pytest.raises(DataProblem, match="not those its recipe was made for") as caught:
        open_dataset(data)
    (digest,) = re.findall('lists_digest = "([0-9a-f]{64})"', str(caught.value))
    assert open_dataset(data.model_copy(update={"lists_digest": digest})).digest == digest


def test_lists_that_something_else_wrote_stay(build, home, tmp_path):
    root = photos(tmp_path / "in", {"a": 6, "b": 5})
    home.mkdir()
    (home / "mine").mkdir()
    (home / "mine" / "test.txt").write_text("x.png 0\n")
    for force in (False, True):
        with pytest.raises(DataProblem, match=r"already has test\.txt, not from a finished build; remove them"):
            build(root, force=force)
    assert [path.name for path in (home / "mine").iterdir()] == ["test.txt"]


@pytest.mark.parametrize("writes", range(5))
def test_a_kill_between_two_files_never_leaves_a_dataset_of_two_builds(build, tmp_path, monkeypatch, writes):
    root = photos(tmp_path / "in", {"a": 6, "b": 5})
    edited = build(root).folder / "recipe.toml"
    edited.write_text(edited.read_text() + "\n# mine\n")
    text = edited.read_text()
    write, done = build_write.write_text, []

    def killed(path, text):
        if len(done) == writes:
            raise KeyboardInterrupt
        done.append(path)
        write(path, text)

    monkeypatch.setattr(build_write, "write_text", killed)
    photos(root, {"c": 4})
    with pytest.raises(KeyboardInterrupt):
        build(root, force=True, fresh_recipe=True)
    assert built_datasets() == {}
    monkeypatch.setattr(build_write, "write_text", write)
    assert build(root, force=True, fresh_recipe=True).classes == 3
    assert list(built_datasets()) == ["mine"]
    assert {path.name for path in (tmp_path / "data" / "mine").iterdir() if path.name[0] == "."} == set()
    assert edited.with_name("recipe.old.toml").read_text() == text


def test_a_kill_before_the_old_recipe_has_its_name_loses_neither(build, tmp_path, monkeypatch):
    root = photos(tmp_path / "in", {"a": 6, "b": 5})
    recipe = build(root).folder / "recipe.toml"
    first = recipe.read_text()

    def killed(_):
        raise KeyboardInterrupt

    def kill(**wish):
        with monkeypatch.context() as patch:
            patch.setattr(build_write, "_keep", killed)
            with pytest.raises(KeyboardInterrupt):
                build(root, force=True, **wish)

    kill(sizing=Sizing(32))
    second = recipe.read_text()
    assert list(built_datasets()) == ["mine"]  # it is whole, and only the old one has no name yet
    report = build(root, force=True, sizing=Sizing(24))
    assert recipe.with_name("recipe.old.toml").read_text() == first
    assert recipe.with_name(report.kept).read_text() == second
    kill(sizing=Sizing(16))
    assert build(root, sizing=Sizing(16)).kept == "recipe.old3.toml"  # the same command again, without --force
    assert not [path for path in recipe.parent.iterdir() if path.name[0] == "."]


def test_a_first_build_that_was_killed_goes_on(build, tmp_path):
    root = photos(tmp_path / "in", {"a": 6, "b": 5})
    folder = build(root).folder
    for name in ("recipe.toml", "classes.txt"):
        (folder / name).unlink()
    assert set(build(root).written) == {"classes.txt", "recipe.toml"}


@pytest.mark.parametrize("name", ["glyphs-lt", "tiny-imagenet-lt"])
def test_names_of_built_in_datasets_are_taken(build, tmp_path, name):
    with pytest.raises(UsageProblem, match="is a built-in dataset"):
        build(tmp_path, name)


@pytest.mark.parametrize("name", ["-x", ".x", "a*b", "a\nb", "a:b", "..", "a#", "x\n"])
def test_names_that_are_none(build, tmp_path, name):
    with pytest.raises(UsageProblem, match="a name must start with a letter or digit"):
        build(tmp_path, name)


def test_a_file_in_the_way(build, home, tmp_path):
    root = photos(tmp_path / "in", {"a": 6, "b": 5})
    home.mkdir()
    (home / "mine").touch()
    with pytest.raises(UsageProblem, match="is a file"):
        build(root)
    with pytest.raises(OltrError, match="cannot write") as caught:
        build(root, "mine/below")
    assert caught.value.exit_code == 1


def test_a_folder_that_cannot_be_written(build, tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied", "/x/.train.txt.9tb69vii.tmp")

    monkeypatch.setattr("tempfile.mkstemp", refuse)
    with pytest.raises(OltrError, match=r"cannot write .*/train\.txt: Permission denied; an existing") as caught:
        build(photos(tmp_path / "in", {"a": 6, "b": 5}))
    assert ".tmp" not in str(caught.value)


def test_lists_may_lie_among_the_images(build, home):
    photos(home / "mine", {"a": 6, "b": 5})
    assert build(home / "mine").written
    assert build(home / "mine").written == []
    assert len(lists(home / "mine")["train"]) == 7
