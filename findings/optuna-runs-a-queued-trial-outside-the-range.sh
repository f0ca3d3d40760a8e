#!/usr/bin/env bash
# Expected: a trial that was queued with a value outside the range that the objective asks for is refused, or clipped.
# Happens: Optuna warns and runs it with that value; best_params may lie outside the search space, with each of three samplers. For
# choices it raises an error, though. A study that begins with the value of a recipe and a narrower range given later tells
# as its best what the range was to exclude. Queue values only where they lie inside.
# Seen with optuna 5.0.0, Python 3.11.7.

set -euo pipefail
T=$(mktemp -d)
trap 'rm -rf "$T"' EXIT
cd "$T"
python3 -m venv venv
venv/bin/pip install --quiet optuna==5.0.0 numpy==2.4.6
export OMP_NUM_THREADS=1
venv/bin/python - <<'PY'
import warnings

import optuna

optuna.logging.set_verbosity(optuna.logging.ERROR)


def value(trial):
    return trial.suggest_float("weight", 0.01, 1.0, log=True)


samplers = {"TPE": optuna.samplers.TPESampler(seed=0), "random": optuna.samplers.RandomSampler(seed=0),
            "grid": optuna.samplers.GridSampler({"weight": [0.01, 0.1, 1.0]}, seed=0)}
for name, sampler in samplers.items():
    study = optuna.create_study(direction="maximize", sampler=sampler)
    study.enqueue_trial({"weight": 50.0})
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        study.optimize(value, n_trials=10)
    inside = [t.params["weight"] for t in study.trials[1:]]
    told = [str(one.message).partition(" for distribution")[0] for one in told if "weight" in str(one.message)]
    print(f"{name}: best {study.best_params}, the others {min(inside):.2f} to {max(inside):.2f}; {told}")
    assert study.best_params == {"weight": 50.0} and max(inside) <= 1.0
    assert len(told) == 1

study = optuna.create_study(direction="maximize")
study.enqueue_trial({"kind": "c"})
try:
    study.optimize(lambda trial: float(trial.suggest_categorical("kind", ["a", "b"]) == "a"), n_trials=1)
except ValueError as error:
    print(f"a choice that there is not: ValueError: {error}")
else:
    raise SystemExit("it was taken")
PY

# Output seen:
# TPE: best {'weight': 50.0}, the others 0.07 to 0.85; ['Fixed parameter weight with value 50.0 is out of range']
# random: best {'weight': 50.0}, the others 0.07 to 0.85; ['Fixed parameter weight with value 50.0 is out of range']
# grid: best {'weight': 50.0}, the others 0.01 to 1.00; ['Fixed parameter weight with value 50.0 is out of range']
# a choice that there is not: ValueError: 'c' not in ('a', 'b').
