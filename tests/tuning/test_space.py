"""What is tuned: ranges as typed, as written in a file, and as each method states them."""

import pytest

from oltr_cli.errors import UsageProblem
from oltr_cli.planning.plan import plan
from oltr_cli.planning.registry import list_methods
from oltr_cli.planning.resolve import flatten
from oltr_cli.tuning.request import method_and_params, seconds
from oltr_cli.tuning.space import Dimension, assignments, check_space, own_values, read_space

EVERY = [name for name, info in list_methods().items() if info.origin == "built-in"]
# Detectors without a parameter that is a number.
NOTHING_TO_TUNE = {
    "combined",
    "fdbd",
    "kl-matching",
    "maxlogit",
    "ncm",
    "relative-mahalanobis",
    "rp-gradnorm",
    "rp-msp",
    "she",
}


def space_of(method="dme", params=(), ranges=(), file=None):
    return read_space(plan(method, "glyphs-lt", [], 0)[-1], params, ranges, file)


@pytest.mark.parametrize("name", EVERY)
def test_every_method_states_a_range_that_its_recipe_takes(name):
    method, params = method_and_params([name], None, None)
    p = plan(method, "glyphs-lt", [], 0)[-1]
    if name in NOTHING_TO_TUNE:
        with pytest.raises(UsageProblem, match="has no ranges of its own; say what to tune: --range"):
            read_space(p, params, (), None)
        return
    space = read_space(p, params, (), None)
    check_space(space, method, "glyphs-lt", [], 0)
    first = own_values(space, p)
    own = flatten(p.link.recipe.as_toml())
    if first is None:
        assert any(not isinstance(own.get(d.key), int | float) for d in space), "the recipe's own lies outside"
    else:
        assert {d.key for d in space} == set(first)
        assert all(own[key] == value for key, value in first.items())


def test_a_range_as_typed():
    (d,) = space_of(ranges=["lambda=0.001:1:log"])
    assert d == Dimension("params.lambda", 0.001, 1.0, log=True)
    (d,) = space_of(ranges=["train.lr.features = 0.01:0.1"])
    assert (d.key, d.low, d.high, d.log) == ("train.lr.features", 0.01, 0.1, False)


def test_whole_numbers_stay_whole():
    (d,) = space_of(ranges=["epochs=3:10"])
    assert d.integer
    assert d.ends() == [3, 10]
    assert assignments({d.key: 4}) == ["train.epochs=4"]
    (d,) = space_of("plain+vim", ranges=["dimension=16:64"])  # a number or nothing
    assert d.integer
    with pytest.raises(UsageProblem, match=r"takes whole numbers, not 2\.5 to 9"):
        space_of(ranges=["epochs=2.5:9"])


@pytest.mark.parametrize(
    ("word", "key"),
    [("lambda", "params.lambda"), ("epochs", "train.epochs"), ("lr.features", "train.lr.features"),
     ("centroids", "train.lr.centroids"), ("image_size", None), ("data.image_size", "data.image_size")],
)  # fmt: skip
def test_keys_may_be_cut_short(word, key):
    if key is None:
        with pytest.raises(UsageProblem, match=r"no key 'image_size' to tune; did you mean"):
            space_of(ranges=[f"{word}=1:2"])
    else:
        assert space_of(ranges=[f"{word}=16:32"])[0].key == key


def test_choices():
    (d,) = space_of(ranges=["attention=none,spatial,modulated"])
    assert d.choices == ("none", "spatial", "modulated")
    assert d.holds("spatial")
    assert not d.holds("both")
    assert assignments({d.key: "none"}) == ['params.attention="none"']
    (d,) = space_of(ranges=["memory=true,false"])
    assert d.choices == (True, False)
    assert assignments({d.key: True}) == ["params.memory=true"]


def test_a_written_space(tmp_path):
    file = tmp_path / "space.toml"
    file.write_text('"params.lambda" = "0.01:0.1"\nepochs = "3:8"\nattention = ["none", "spatial"]\n[train.lr]\n'
                    'features = "0.001:0.1:log"\n')  # fmt: skip
    space = {d.key: d for d in space_of(file=file)}
    assert list(space) == ["params.attention", "params.lambda", "train.epochs", "train.lr.features"]
    assert space["params.attention"].choices == ("none", "spatial")
    assert space["train.lr.features"].log
    space = {d.key: d for d in space_of(params=["margin"], ranges=["lambda=0.5:0.6", "margin=1:2"], file=file)}
    assert space["params.lambda"].low == 0.5, "the command line goes before the file"
    assert len(space) == 5


def test_a_named_key_takes_the_methods_range_and_others_need_one():
    assert space_of(params=["lambda"]) == space_of()
    with pytest.raises(
        UsageProblem, match="margin: no range given, and dme has one only for lambda; add --range margin="
    ):
        space_of(params=["margin"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("lambda", "write KEY=LOW:HIGH"),
        ("lambda=1:x", "'1:x' is not a range"),
        ("lambda=1:1", "from a lower to a higher number, not from 1 to 1"),
        ("lambda=2:1", "from a lower to a higher"),
        ("lambda=0:inf", "from a lower to a higher"),
        ("lambda=0:1:log", "on a log scale must start above 0"),
        ("lambda=1:2:lin", "'lin' is not a scale"),
        ("lambda=0.5", "needs two or more different choices"),
        ("memory=true,true", "two or more different choices"),
        ("lamda=1:2", "no key 'lamda' to tune; did you mean 'lambda'"),
    ],
)
def test_ranges_that_are_none(text, message):
    with pytest.raises(UsageProblem, match=message.replace("?", r"\?")):
        space_of(ranges=[text])


def test_a_file_that_is_none(tmp_path):
    with pytest.raises(UsageProblem, match="cannot be read"):
        space_of(file=tmp_path / "none.toml")
    file = tmp_path / "space.toml"
    file.write_text("lambda = 3\n")
    with pytest.raises(UsageProblem, match=r"space\.toml: params\.lambda needs two or more different choices"):
        space_of(file=file)


def test_ranges_that_the_recipe_does_not_take_are_told_at_once():
    space = space_of(ranges=["lambda=-1:1", "scale=0:16", "margin=1:2"])
    with pytest.raises(UsageProblem) as caught:
        check_space(space, "dme", "glyphs-lt", [], 0)
    assert "does not fit the recipe: 2 problems" in str(caught.value)
    assert "params.lambda" in str(caught.value)
    assert "params.scale" in str(caught.value)
    assert "margin" not in str(caught.value)


@pytest.mark.parametrize("key", ["data.image_size", "backbone.width"])
def test_what_would_change_the_shared_runs_is_refused(key):
    space = space_of(ranges=[f"{key}=16:32"])
    with pytest.raises(UsageProblem, match=f"{key} changes plain, .*oltr tune plain --range {key}=16:32"):
        check_space(space, "dme", "glyphs-lt", [], 0)
    space = space_of("plain", ranges=[f"{key}=16:32"])
    check_space(space, "plain", "glyphs-lt", [], 0)


def test_the_first_trial_has_the_recipes_values_where_they_lie_inside():
    p = plan("dme", "glyphs-lt", ["params.lambda=0.2"], 0)[-1]
    assert own_values(read_space(p, ["lambda"], [], None), p) == {"params.lambda": 0.2}
    assert own_values(read_space(p, [], ["lambda=0.5:1"], None), p) is None


@pytest.mark.parametrize(
    ("words", "options", "expected"),
    [
        (["lambda"], {}, ("dme", ("lambda",))),
        (["lambda", "margin"], {}, ("dme", ("lambda", "margin"))),
        (["focal"], {}, ("focal", ())),
        (["focal", "gamma"], {}, ("focal", ("gamma",))),
        (["weight"], {"method": "range"}, ("range", ("weight",))),
        (["range"], {"method": "range"}, ("range", ())),
        ([], {}, ("dme", ())),
        (["openmax"], {}, ("range+openmax", ())),
        (["energy"], {}, ("dme+energy", ())),
        (["energy", "temperature"], {"method": "plain"}, ("plain+energy", ("temperature",))),
        (["dme+knn", "k"], {}, ("dme+knn", ("k",))),
        (["k"], {"method": "dme", "detector": "knn"}, ("dme+knn", ("k",))),
    ],
)
def test_words_name_a_method_and_its_keys(words, options, expected):
    assert method_and_params(words, options.get("method"), options.get("detector")) == expected


def test_words_that_do_not_go_together():
    with pytest.raises(UsageProblem, match="both name what to tune; give one of them"):
        method_and_params(["focal"], "range", None)
    with pytest.raises(UsageProblem, match="no method 'fokal'; did you mean 'focal'"):
        method_and_params([], "fokal", None)


@pytest.mark.parametrize(("text", "expected"), [("90", 90), ("90s", 90), ("30m", 1800), ("1.5h", 5400)])
def test_times(text, expected):
    assert seconds(text) == expected


@pytest.mark.parametrize("text", ["", "soon", "-3", "3d", "m"])
def test_times_that_are_none(text):
    with pytest.raises(UsageProblem, match="write it as 90s, 30m or 2h"):
        seconds(text)
