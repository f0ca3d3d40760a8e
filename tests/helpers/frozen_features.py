"""Features of classes that lie apart, with a long tail, and methods fitted on them."""

import numpy as np
import torch
from torch.nn import functional as F

from oltr_cli.method import FeatureSet, Setup
from oltr_cli.recipe.specs import BackboneSpec
from oltr_cli.training.freezing import freeze_backbone

COUNTS = (300, 200, 120, 80, 60, 45, 30, 22, 12, 6, 3, 1)


K, D = len(COUNTS), 32


TAIL = slice(8, K)  # classes with at most 20 images


def gaussians(counts, seed, spread=0.6):
    """Features (N, D) of ``len(counts)`` classes behind a ReLU, in random order; the classes' means never change."""
    means = torch.randn(len(counts), D, generator=torch.Generator().manual_seed(0))
    g = torch.Generator().manual_seed(seed)
    labels = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    labels = labels[torch.randperm(len(labels), generator=g)]
    return FeatureSet(F.relu(means[labels] + spread * torch.randn(len(labels), D, generator=g)), labels)


TRAIN, VAL, TEST = gaussians(COUNTS, 1), gaussians((10,) * K, 2), gaussians((50,) * K, 3)


def build(cls, counts=COUNTS, **params):
    """The method on a backbone whose features are as long as those of ``gaussians``."""
    torch.manual_seed(0)
    backbone = BackboneSpec(name="resnet10", stem="small-stride2", width=D // 8)
    return cls(Setup(backbone, 16, counts, cls.Params(**params)))


def class_aware(data, g, classes=8, each=4):
    """Rows of a batch: so many images, with repetition, of so many classes."""
    chosen = torch.randperm(int(data.labels.max()) + 1, generator=g)[:classes]
    own = [(data.labels == k).nonzero()[:, 0] for k in chosen]
    return torch.cat([rows[torch.randint(len(rows), (each,), generator=g)] for rows in own])


def fit(method, data, steps=300, lr=0.1):
    """The engine's loop in short: SGD with a cosine schedule on class-aware batches; returns the losses."""
    freeze_backbone(method)
    method.train()
    parameters = [p for p in method.parts()["classifier"] if p.requires_grad]
    optimizer = torch.optim.SGD(parameters, lr, momentum=0.9, weight_decay=5e-4)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    g, losses = torch.Generator().manual_seed(0), []
    for step in range(steps):
        torch.manual_seed(step)
        method.progress = step / steps
        rows = class_aware(data, g)
        optimizer.zero_grad()
        loss = torch.stack(list(method.feature_loss(data.features[rows], data.labels[rows]).values())).sum()
        loss.backward()
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
    return losses


@torch.inference_mode()
def accuracy(method, data=TEST):
    """Accuracy of each class, (K,), as the engine asks for scores."""
    prediction = method.eval().score_features(data.features).logits.argmax(dim=1)
    return np.array([(prediction[data.labels == k] == k).float().mean().item() for k in range(K)])
