"""Choosing numbers without the test set: the threshold from saved scores, everything else by studies that train.

``threshold`` needs no training. A study is a search over a ``space``: ``study`` says what it is and hands out its
trials, ``trial`` makes one, ``search`` is a worker's loop, ``storage`` keeps what was tried; ``best`` and ``pictures``
say what came of it.
"""
