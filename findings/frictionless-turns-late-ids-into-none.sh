#!/usr/bin/env bash
# Expected: frictionless, the usual reader and validator of Camtrap DP tables, keeps identifiers as they are written, and a
# cell that doesn't fit the type it guessed is an error or stays text.
# Happens: without a schema it guesses types from the first 100 rows. Deployment 007 becomes the number 7, so it no longer
# joins with file names and folders; and where a later row says A12, read_rows() gives None for that cell, without an error
# and without a warning. Images of all deployments (or individuals, taxa) with such an id fall into one group "None".
# Only validate() tells, calling a valid table invalid. Give a schema, as Camtrap DP's own profile does.
# Seen with frictionless 5.21.0, Python 3.11.7.

set -euo pipefail
T=$(mktemp -d)
trap 'rm -rf "$T"' EXIT
cd "$T"
python3 -m venv venv
venv/bin/pip install --quiet frictionless==5.21.0
export OMP_NUM_THREADS=1
venv/bin/python -W ignore - <<'PY'
from pathlib import Path

from frictionless import Resource, Schema, fields, validate

rows = [f"{i:03d},Vulpes vulpes" for i in range(1, 121)] + ["A12,Meles meles", "B07,Felis silvestris"]
Path("media.csv").write_text("deploymentID,scientificName\n" + "\n".join(rows) + "\n")

guessed = Resource("media.csv")
read = [row["deploymentID"] for row in guessed.read_rows()]
report = validate("media.csv")
print("guessed type:", guessed.schema.get_field("deploymentID").type)
print("written 001, 120, A12, B07; read", [read[i] for i in (0, 119, 120, 121)])
print("validate() calls it", "valid" if report.valid else f"invalid: {report.flatten(['type'])}")
schema = Schema(fields=[fields.StringField(name="deploymentID"), fields.StringField(name="scientificName")])
told = [row["deploymentID"] for row in Resource("media.csv", schema=schema).read_rows()]
print("with a schema of strings:", [told[i] for i in (0, 119, 120, 121)])
assert [read[i] for i in (0, 119, 120, 121)] == [1, 120, None, None], "ids are read otherwise now"
assert not report.valid, "validate() accepts the table now"
assert [told[i] for i in (0, 119, 120, 121)] == ["001", "120", "A12", "B07"], "a schema of strings is otherwise now"
PY

# Output seen:
# guessed type: integer
# written 001, 120, A12, B07; read [1, 120, None, None]
# validate() calls it invalid: [['type-error'], ['type-error']]
# with a schema of strings: ['001', '120', 'A12', 'B07']
