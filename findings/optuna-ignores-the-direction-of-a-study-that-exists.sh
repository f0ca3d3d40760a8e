#!/usr/bin/env bash
# Expected: create_study(direction="maximize", load_if_exists=True) on a study that was made to minimize is an error, or
# warns; two workers that say different things don't search in opposite senses without knowing.
# Happens: the direction of an existing study stays, and what the caller says is ignored without a word, in every storage;
# also directions=[...] for several objectives on a study of one. A study begun with the loss (or without a direction,
# which is to minimize) and continued with the accuracy is steered towards the worst accuracy: the sampler goes there, and
# best_params are those of the worst trial. Compare study.direction with what you asked for.
# Seen with optuna 5.0.0, Python 3.11.7.

set -euo pipefail
T=$(mktemp -d)
trap 'rm -rf "$T"' EXIT
cd "$T"
python3 -m venv venv
venv/bin/pip install --quiet optuna==5.0.0 numpy==2.4.6
export OMP_NUM_THREADS=1
venv/bin/python -W error - <<'PY'
import optuna
from optuna.storages import InMemoryStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend

optuna.logging.set_verbosity(optuna.logging.WARNING)


def accuracy(trial):
    return 0.9 - abs(trial.suggest_float("tau", 0, 2) - 1.0)  # best at tau = 1, worst at 0 and 2


stores = {"memory": InMemoryStorage(), "SQLite": RDBStorage("sqlite:///studies.db"),
          "journal": JournalStorage(JournalFileBackend("studies.journal"))}
for name, storage in stores.items():
    optuna.create_study(storage=storage, study_name="tau")  # no direction: to minimize
    sampler = optuna.samplers.TPESampler(seed=0)
    study = optuna.create_study(
        storage=storage, study_name="tau", direction="maximize", load_if_exists=True, sampler=sampler
    )
    study.optimize(accuracy, n_trials=40)
    values = [trial.value for trial in study.trials]
    late = sorted(abs(trial.params["tau"] - 1) for trial in study.trials[20:])[10]
    print(f"{name:8} direction {study.direction.name}, best_value {study.best_value:.2f} of {min(values):.2f} ...",
          f"{max(values):.2f}; tau of the later trials is {late:.2f} away from the best one (median)")
    assert study.direction.name == "MINIMIZE" and study.best_value == min(values), "the direction is taken or refused now"
    assert late > 0.7, "the search no longer goes towards the worst"
    two = optuna.create_study(storage=storage, study_name="tau", directions=["maximize"] * 2, load_if_exists=True)
    assert len(two.directions) == 1, "several directions are taken or refused now"
print("asked for two objectives, the study has", len(two.directions))
PY

# Output seen:
# memory   direction MINIMIZE, best_value -0.10 of -0.10 ... 0.81; tau of the later trials is 0.86 away from the best one (median)
# SQLite   direction MINIMIZE, best_value -0.10 of -0.10 ... 0.81; tau of the later trials is 0.86 away from the best one (median)
# journal  direction MINIMIZE, best_value -0.10 of -0.10 ... 0.81; tau of the later trials is 0.86 away from the best one (median)
# asked for two objectives, the study has 1
