"""The built-in dataset is grey, and an exported file takes RGB: the comparison with saved scores spans the two."""

import json

SMALL = ("data.image_size=16", "data.glyphs.known_classes=6", "data.glyphs.open_classes=2", "train.epochs=1")


def test_a_run_on_the_built_in_dataset_is_exported_and_compared(oltr, tmp_path):
    sets = [word for one in (*SMALL, "data.glyphs.open_val_classes=2") for word in ("--set", one)]
    run = json.loads(oltr("run", "plain", *sets, "--workers", 0, "--json").stdout)["run"]
    said = json.loads(oltr("export", run, "--to", "torch", "--out", tmp_path / "glyphs.pt2", "--json").stdout)
    assert said["from_saved"] < 1e-3
