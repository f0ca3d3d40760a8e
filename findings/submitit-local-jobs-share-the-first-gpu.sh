#!/usr/bin/env bash
# Expected: cluster="local" of submitit tries out on a workstation what Slurm does later: two jobs that ask for one GPU each
# get different ones, jobs that name no GPU see those that the shell sees, and the shell's CUDA_VISIBLE_DEVICES counts.
# Happens: every local job gets the first gpus_per_node devices, counted from 0: several jobs, or a whole map_array, all
# train on GPU 0 while the others idle. CUDA_VISIBLE_DEVICES of the submitting process is replaced, so a job leaves the
# GPU that a scheduler or a colleague gave it. Without gpus_per_node it is set to "", and the training runs on the CPU
# without a word. Only LocalExecutor takes visible_gpus, AutoExecutor refuses it; give each job an executor of its own.
# Seen with submitit 1.5.4, Python 3.11.7; no GPU is needed to see it.

set -euo pipefail
T=$(mktemp -d)
trap 'rm -rf "$T"' EXIT
cd "$T"
python3 -m venv venv
venv/bin/pip install --quiet submitit==1.5.4
export CUDA_VISIBLE_DEVICES=2,3
cat > jobs.py <<'PY'
import os

import submitit


def devices():
    return os.environ["CUDA_VISIBLE_DEVICES"]


def seen(kind, **asked):
    executor = kind(folder="logs", **({"cluster": "local"} if kind is submitit.AutoExecutor else {}))
    executor.update_parameters(timeout_min=5, **asked)
    jobs = [executor.submit(devices) for _ in range(2)]
    found = [job.result() for job in jobs]
    print(f"{kind.__name__}, two jobs with {asked or 'no GPU named'}: CUDA_VISIBLE_DEVICES {found}")
    return found


print("the shell has", devices())
assert seen(submitit.AutoExecutor, gpus_per_node=1) == ["0", "0"], "jobs get other GPUs now"
assert seen(submitit.AutoExecutor) == ["", ""], "jobs that name no GPU keep the shell's now"
assert seen(submitit.LocalExecutor, gpus_per_node=1, visible_gpus=[3]) == ["3", "3"], "visible_gpus is treated otherwise now"
PY
venv/bin/python -W ignore jobs.py

# Output seen:
# the shell has 2,3
# AutoExecutor, two jobs with {'gpus_per_node': 1}: CUDA_VISIBLE_DEVICES ['0', '0']
# AutoExecutor, two jobs with no GPU named: CUDA_VISIBLE_DEVICES ['', '']
# LocalExecutor, two jobs with {'gpus_per_node': 1, 'visible_gpus': [3]}: CUDA_VISIBLE_DEVICES ['3', '3']
