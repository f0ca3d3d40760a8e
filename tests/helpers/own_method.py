"""A method of somebody's own, in one file."""

MINE = '''"""Mine: sharper logits.

More text.
"""

from torch.nn import functional as F

from oltr_cli.methods.plain import Plain


class Mine(Plain):
    starts_from = "plain"
    source = "nobody, 2026"

    def training_loss(self, images, labels):
        return {"sharp": F.cross_entropy(2 * self.classifier(self.backbone(images)).float(), labels)}
'''
