"""CIFAR as it is downloaded: pictures of noise, and pickles of Python 2 and 3."""

import io
import pickle
import struct

import numpy as np
from PIL import Image

from oltr_cli.data.lists.lists import read_list


def noise(rng, height=32, width=32):
    return rng.integers(0, 256, (height, width, 3), dtype=np.uint8)


def save(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def listed(root, split):
    return dict(zip(*(part for part in read_list(root / f"{split}.txt")), strict=True))


def contents(root):
    return {
        path.relative_to(root).as_posix(): (path.stat().st_mtime_ns, path.read_bytes())
        for path in root.rglob("*")
        if path.is_file()
    }


class Python2:
    """Protocol 2 as Python 2 wrote it: text is bytes, and an array is rebuilt through numpy.core.multiarray."""

    def __init__(self, value):
        self.out = io.BytesIO()
        self.out.write(b"\x80\x02")
        self.put(value)
        self.out.write(b".")

    def put(self, value):
        write = self.out.write
        if isinstance(value, np.ndarray):
            write(b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R(K\x01")
            self.put(value.shape)
            write(b"cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89")
            data = value.tobytes()
            write(b"T" + struct.pack("<i", len(data)) + data + b"tb")
        elif isinstance(value, str):
            write(b"U" + bytes([len(value)]) + value.encode())
        elif isinstance(value, int):
            write(b"J" + struct.pack("<i", value))
        elif isinstance(value, (list, tuple)):
            write(b"(")
            for one in value:
                self.put(one)
            write(b"l" if isinstance(value, list) else b"t")
        else:
            write(b"}(")
            for key, one in value.items():
                self.put(key)
                self.put(one)
            write(b"u")


def python2(value):
    return Python2(value).out.getvalue()


def python3(value):
    return pickle.dumps(value, protocol=4)
