"""Runs made by an earlier version are found again: the same recipe has the same hash, and its files are understood."""

import json
import shutil
from pathlib import Path

import pytest

from oltr_cli.planning.plan import plan
from tests.helpers.tiny import Oltr

STORED = Path(__file__).parent / "earlier_runs"  # recipe.toml and result.json of three runs, as they were written
SETS = ["data.image_size=16", "data.glyphs.known_classes=12", "train.epochs=1", "plain.train.epochs=1"]
# Every method on three recipes, with no --set: the hashes of the version that had no rooms yet. Of other recipes those
# before a recipe could set crop_padding, milestones, warmup_epochs, mixup, cutmix and from_scratch.
HASHES = {
    "glyphs-lt": {
        "balanced-softmax": "8b1df97c5d",
        "cost-sensitive": "553e98f615",
        "crt": "158eac2089",
        "dme": "1f45c45f45",
        "dme+energy": "6e7d93519f",
        "focal": "d5f1be9e3e",
        "fslwf": "4b147fb780",
        "dme+knn": "83c2125c9d",
        "ldam-drw": "8e76a3691e",
        "lifted": "422ca15493",
        "logit-adjustment": "5476f49ce5",
        "lws": "0df96cc5fe",
        "dme+mahalanobis": "617b8464f8",
        "dme+maxlogit": "aa53f72a12",
        "metamodelnet": "a2db11a047",
        "model-regression": "34daf96c0a",
        "dme+msp": "a9581f9cfd",
        "odin": "f34f12baa3",
        "openmax": "275ee26592",
        "plain": "619e12072f",
        "range": "6b08cd7a3e",
        "tau-norm": "6952becee1",
        "dme+vim": "306dfc1462",
    },
    "imagenet-lt": {
        "balanced-softmax": "f85fa50e0c",
        "cost-sensitive": "374c0c3624",
        "crt": "65bfbb1582",
        "dme": "625c5f6db0",
        "dme+energy": "d07f43bc3c",
        "focal": "44bd503197",
        "fslwf": "f24e3c5dbb",
        "dme+knn": "a8bf6a339b",
        "ldam-drw": "1333a85838",
        "lifted": "44c784d79b",
        "logit-adjustment": "b7055182f6",
        "lws": "88bed2e10b",
        "dme+mahalanobis": "a36db807c5",
        "dme+maxlogit": "e6a4e3ff7a",
        "metamodelnet": "af6b2e69d5",
        "model-regression": "ef50c700ba",
        "dme+msp": "2006cd81e3",
        "odin": "efebf0631d",
        "openmax": "4f19e5c65b",
        "plain": "863ba99bea",
        "range": "c75fd380cc",
        "tau-norm": "9584282463",
        "dme+vim": "a04b4691ed",
    },
    "places-lt": {
        "balanced-softmax": "9fa2061537",
        "cost-sensitive": "5280870caf",
        "crt": "0a7c8cafe9",
        "dme": "7f48b6573c",
        "dme+energy": "ca73ddc49e",
        "focal": "e7c20baf35",
        "fslwf": "ec887505f7",
        "dme+knn": "19ac2ab822",
        "ldam-drw": "115840e396",
        "lifted": "c3691df180",
        "logit-adjustment": "42d3098c20",
        "lws": "02817c2f24",
        "dme+mahalanobis": "2bcb3cd37b",
        "dme+maxlogit": "1a23af7499",
        "metamodelnet": "afc71432a0",
        "model-regression": "460f67bcb5",
        "dme+msp": "7eef75485a",
        "odin": "a1303b7648",
        "openmax": "dafd6f28e1",
        "plain": "fa8ad69afc",
        "range": "f73d25c822",
        "tau-norm": "cf43288274",
        "dme+vim": "7259972f6e",
    },
    "cifar100-lt": {
        "balanced-softmax": "91b22ba65c",
        "crt": "f3537d7d8e",
        "dme": "0b026cf45b",
        "plain": "00fc2f238b",
    },
    "cifar10-lt": {
        "balanced-softmax": "84f597d2aa",
        "crt": "203f5e81c8",
        "dme": "bcd740269b",
        "plain": "f62d185de8",
    },
    "cifar100": {
        "balanced-softmax": "b5b1957045",
        "crt": "8686a8f0ff",
        "dme": "bf1e40a495",
        "plain": "92cd793872",
    },
    "tiny-imagenet-lt": {
        "balanced-softmax": "0767db3cc1",
        "crt": "a4d5d3f86a",
        "dme": "5a9c107fd4",
        "plain": "644d29fc23",
    },
    "inaturalist2018": {
        "balanced-softmax": "71523c4d63",
        "crt": "b3da8e2cb5",
        "dme": "4c73a4db0d",
        "plain": "390416823e",
    },
    "sun-lt": {
        "balanced-softmax": "84069689d0",
        "crt": "e547f76c1d",
        "dme": "efd4f9d216",
        "plain": "1c9ae25b26",
    },
    "ms1m-lt": {
        "balanced-softmax": "f7e86c2b4f",
        "crt": "20cf4139d6",
        "dme": "1b2c3c1f77",
        "plain": "fb7bde7d36",
    },
    "omniglot-small": {
        "balanced-softmax": "49520b8408",
        "crt": "6e03bf3cb0",
        "dme": "19df9adc73",
        "plain": "bebc4ea8bf",
    },
}


@pytest.mark.parametrize(("recipe", "method"), [(r, m) for r, methods in HASHES.items() for m in methods])
def test_hashes_stand(recipe: str, method: str):
    assert plan(method, recipe, [], seed=0)[-1].run.hash == HASHES[recipe][method]


def test_a_stored_chain_is_found_and_shown(oltr: Oltr, tmp_path: Path):
    runs = tmp_path / "runs"
    shutil.copytree(STORED, runs)
    sets = [word for one in SETS for word in ("--set", one)]
    command = ["run", "dme", "--detector", "energy", *sets, "--json"]
    planned = json.loads(oltr(*command, "--dry-run", OLTR_RUNS=str(runs)).stdout)
    assert [run["status"] for run in planned["runs"]] == ["done"] * 3
    result = json.loads(oltr(*command, OLTR_RUNS=str(runs)).stdout)
    (stored,) = STORED.glob("glyphs-lt/dme+energy/*/result.json")
    assert result == json.loads(stored.read_text(encoding="utf-8"))
