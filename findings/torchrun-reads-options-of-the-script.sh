#!/usr/bin/env bash
# Expected: what stands after the script on torchrun's command line is the script's. torchrun's help says so, and even
# torchrun's own options are passed on there: `torchrun script.py --tee 3` gives the script --tee 3.
# Happens: an option of the script that is the beginning of two or more of torchrun's is refused as ambiguous, and nothing
# is started: --run (--run-path, --run_path), --log (--log-dir, …), --node. Each of torchrun's options is there with
# hyphens and with underscores, so the beginning of a single one is ambiguous already. With -- before the script
# (after -m, before the module) all is passed on.
# Seen with torch 2.14.1, Python 3.11.7.

set -euo pipefail
T=$(mktemp -d)
trap 'rm -rf "$T"' EXIT
cd "$T"
python3 -m venv venv
venv/bin/pip install --quiet torch==2.14.1 numpy
echo 'import sys; print("script:", *sys.argv[1:])' > script.py
export OMP_NUM_THREADS=1
start() {
    venv/bin/python -W ignore -m torch.distributed.run --nproc-per-node 1 "$@" 2>&1 | grep -E "^script:|error:" || true
}
seen=$(
    start script.py --tee 3
    start script.py --epochs 3
    start script.py --run
    start script.py --log file
    start -m script --run
    start -- script.py --run
    start -m -- script --run
)
echo "$seen"
wanted='script: --tee 3
script: --epochs 3
run.py: error: ambiguous option: --run could match --run-path, --run_path
run.py: error: ambiguous option: --log could match --log-dir, --log_dir, --log-line-prefix-template, --log_line_prefix_template, --logs-specs, --logs_specs
run.py: error: ambiguous option: --run could match --run-path, --run_path
script: --run
script: --run'
[ "$seen" = "$wanted" ]

# Output seen:
# script: --tee 3
# script: --epochs 3
# run.py: error: ambiguous option: --run could match --run-path, --run_path
# run.py: error: ambiguous option: --log could match --log-dir, --log_dir, --log-line-prefix-template, --log_line_prefix_template, --logs-specs, --logs_specs
# run.py: error: ambiguous option: --run could match --run-path, --run_path
# script: --run
# script: --run
