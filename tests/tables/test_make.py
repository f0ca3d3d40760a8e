"""A row that fails: the others still run, and the command ends."""

import json

FAILS = '''"""A loss that is not a number."""

from oltr_cli.method import LinearMethod


class NanLoss(LinearMethod):
    starts_from = "plain"

    def training_loss(self, images, labels):
        return {"nan": self.classifier(self.backbone(images)).sum() * float("nan")}
'''


def test_a_row_that_fails_does_not_keep_its_loaders(oltr, tiny_recipe, tmp_path):
    """The error that is kept for the end must let go of the frames that hold them, or the process never ends."""
    file = tmp_path / "nan_loss.py"
    file.write_text(FAILS)
    options = ("--recipe", tiny_recipe, "--methods-from", file, "--methods", "nan-loss,crt")
    done = oltr("compare", "--table", "3a", *options, "--run", "--json", check=1)
    assert "loss term 'nan' is nan" in done.stderr
    status = {row["method"]: row["status"] for row in json.loads(done.stdout)["rows"]}
    assert status == {"nan-loss": "missing", "crt": "measured"}
