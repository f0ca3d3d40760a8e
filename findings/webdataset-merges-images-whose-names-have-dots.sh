#!/usr/bin/env bash
# Expected: in a WebDataset shard, cam1/IMG.0001.jpg and cam1/IMG.0001.cls are one sample, cam1/IMG.0002.* the next.
# Happens: the key ends at the first dot of the file name, so both images are merged into one sample with the key cam1/IMG
# and the fields 0001.jpg, 0001.cls, 0002.jpg, 0002.cls; there is no field jpg or cls. With .to_tuple or a map that skips
# what lacks them, the images vanish. And only neighbours in the tar are joined: where all images come first and all
# labels after, one sample is split in two halves, an image without a label and a label without an image.
# Camera and species file names have dots (DSC.0001.JPG, "P.leo 12.jpg", 12.05.2024_03.jpg). Dots in folders do no harm.
# Seen with webdataset 1.0.2, numpy 2.4.6, Python 3.11.7.

set -euo pipefail
T=$(mktemp -d)
trap 'rm -rf "$T"' EXIT
cd "$T"
python3 -m venv venv
venv/bin/pip install --quiet webdataset==1.0.2 numpy==2.4.6
export OMP_NUM_THREADS=1
venv/bin/python -W ignore - <<'PY'
import io
import tarfile

import webdataset


def samples(tar, files):
    with tarfile.open(tar, "w") as out:
        for name, content in files:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            out.addfile(info, io.BytesIO(content))
    read = webdataset.WebDataset(tar, shardshuffle=False)
    found = [(s["__key__"], sorted(k for k in s if not k.startswith("__"))) for s in read]
    for key, fields in found:
        print(f"  {key:10} {fields}")
    return found


pair = lambda stem, label: [(f"{stem}.jpg", b"pixels"), (f"{stem}.cls", label)]  # noqa: E731
print("dots in the folder:")
plain = samples("a.tar", pair("site1.2/IMG_0001", b"0") + pair("site1.2/IMG_0002", b"1"))
print("dots in the file name:")
dots = samples("b.tar", pair("cam1/IMG.0001", b"0") + pair("cam1/IMG.0002", b"1"))
print("images first, labels after:")
split = samples("c.tar", sorted(pair("A", b"0") + pair("B", b"1"), key=lambda f: f[0].endswith("cls")))
assert [f for _, f in plain] == [["cls", "jpg"]] * 2, "dots in folders matter now"
assert dots == [("cam1/IMG", ["0001.cls", "0001.jpg", "0002.cls", "0002.jpg"])], "names with dots are kept apart now"
assert [f for _, f in split] == [["jpg"], ["jpg"], ["cls"], ["cls"]], "distant files of one sample are joined now"
PY

# Output seen:
# dots in the folder:
#   site1.2/IMG_0001 ['cls', 'jpg']
#   site1.2/IMG_0002 ['cls', 'jpg']
# dots in the file name:
#   cam1/IMG   ['0001.cls', '0001.jpg', '0002.cls', '0002.jpg']
# images first, labels after:
#   A          ['jpg']
#   B          ['jpg']
#   A          ['cls']
#   B          ['cls']
