#!/usr/bin/env bash
# Expected: a default that a Darwin Core archive declares for a term stands in where a record is empty, and python-dwca-reader
# gives the same records whether it is iterated or asked for a DataFrame; identifiers and country codes are text.
# Happens: (1) pd_read() writes the default over the whole column, values that the file has included, although iterating
# the same archive keeps them. (2) pd_read() lets pandas guess, so the catalogue number 007 becomes 7 and the country code
# NA of Namibia becomes missing, while iterating gives text. Counting images of a species by sex, basis of record or
# licence after pd_read(), or splitting by country, silently counts something else.
# Seen with python-dwca-reader 0.17.1, pandas 2.3.3, Python 3.11.7.

set -euo pipefail
T=$(mktemp -d)
trap 'rm -rf "$T"' EXIT
cd "$T"
python3 -m venv venv
venv/bin/pip install --quiet python-dwca-reader==0.17.1 pandas==2.3.3
export OMP_NUM_THREADS=1
venv/bin/python -W ignore - <<'PY'
from pathlib import Path

from dwca.read import DwCAReader

DWC = "http://rs.tdwg.org/dwc/terms/"
archive = Path("archive")
archive.mkdir()
(archive / "meta.xml").write_text(f"""<archive xmlns="http://rs.tdwg.org/dwc/text/">
  <core encoding="UTF-8" fieldsTerminatedBy="," linesTerminatedBy="\\n" ignoreHeaderLines="1" rowType="{DWC}Occurrence">
    <files><location>occurrence.csv</location></files>
    <id index="0"/>
    <field index="1" term="{DWC}scientificName"/>
    <field index="2" term="{DWC}countryCode"/>
    <field index="3" term="{DWC}catalogNumber"/>
    <field index="4" term="{DWC}basisOfRecord" default="MachineObservation"/>
  </core>
</archive>""")
(archive / "occurrence.csv").write_text("""id,scientificName,countryCode,catalogNumber,basisOfRecord
a,Panthera leo,NA,007,HumanObservation
b,Felis lybica,ZA,012,
c,Otocyon megalotis,NA,100,PreservedSpecimen
""")
terms = ["countryCode", "catalogNumber", "basisOfRecord"]
with DwCAReader(str(archive)) as reader:
    iterated = [[row.data[DWC + term] for term in terms] for row in reader]
    frame = reader.pd_read("occurrence.csv")[terms].values.tolist()
for one, other in zip(iterated, frame):
    print("iterated", one, "  pd_read", other)
assert [r[2] for r in iterated] == ["HumanObservation", "MachineObservation", "PreservedSpecimen"], "iterating changed"
assert [r[2] for r in frame] == ["MachineObservation"] * 3, "pd_read keeps the values of the file now"
assert [r[0] for r in iterated] == ["NA", "ZA", "NA"] and frame[0][0] != frame[0][0], "pd_read reads NA as text now"
assert [r[1] for r in frame] == [7, 12, 100], "pd_read keeps catalogue numbers as text now"
PY

# Output seen:
# iterated ['NA', '007', 'HumanObservation']   pd_read [nan, 7, 'MachineObservation']
# iterated ['ZA', '012', 'MachineObservation']   pd_read ['ZA', 12, 'MachineObservation']
# iterated ['NA', '100', 'PreservedSpecimen']   pd_read [nan, 100, 'MachineObservation']
