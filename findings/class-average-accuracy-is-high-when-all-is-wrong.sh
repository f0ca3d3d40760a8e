#!/usr/bin/env bash
# Expected: class_average_accuracy of wildlife-datasets, the library of animal re-identification, is what papers call
# class-average or mean per-class accuracy: the share of a class's images found, averaged over classes.
# Happens: it asks of each class "is the image of this class or not?" and averages the accuracies of those questions, in
# which every image of another class that is not taken for this one counts as right. With K classes a prediction that is
# always wrong has 1 - 2 / K: 0.98 with 100 individuals, and calling every image "new" scores as high. The mean recall
# is what balanced_accuracy gives. So a table headed "class-average accuracy" looks solved in every row, and a
# recogniser that never finds a rare individual loses nearly nothing.
# Seen with wildlife-datasets 1.0.9, scikit-learn 1.9.1, numpy 2.4.6, Python 3.11.7.

set -euo pipefail
T=$(mktemp -d)
trap 'rm -rf "$T"' EXIT
cd "$T"
python3 -m venv venv
venv/bin/pip install --quiet wildlife-datasets==1.0.9 scikit-learn==1.9.1 numpy==2.4.6
export OMP_NUM_THREADS=1
venv/bin/python -W ignore - <<'PY'
import numpy as np
from wildlife_datasets import metrics

individuals = [f"turtle {i:02}" for i in range(100)]
frequent = np.repeat(individuals[:10], 20).tolist()  # 10 individuals of 20 images, 90 of one
true = frequent + individuals[10:]
cases = {
    "the next individual, always wrong": [individuals[(individuals.index(name) + 1) % 100] for name in true],
    "always new": ["new"] * len(true),
    "frequent ones right, rare ones wrong": frequent + individuals[11:] + individuals[10:11],
}
seen = {}
for name, predicted in cases.items():
    seen[name] = [round(float(metric(true, predicted, "new")), 3)
                  for metric in (metrics.class_average_accuracy, metrics.balanced_accuracy, metrics.accuracy)]
    print("{:37} class-average accuracy {:.3f}, balanced accuracy {:.3f}, accuracy {:.3f}".format(name, *seen[name]))
assert min(row[0] for row in seen.values()) > 0.97, "class-average accuracy is the mean recall now"
assert [row[1] for row in seen.values()] == [0, 0, 0.1], "balanced accuracy is another number now"
PY

# Output seen:
# the next individual, always wrong     class-average accuracy 0.980, balanced accuracy 0.000, accuracy 0.000
# always new                            class-average accuracy 0.980, balanced accuracy 0.000, accuracy 0.000
# frequent ones right, rare ones wrong  class-average accuracy 0.994, balanced accuracy 0.100, accuracy 0.690
