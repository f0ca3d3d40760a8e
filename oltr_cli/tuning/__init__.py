"""Choosing numbers without the test set: the threshold from saved scores, everything else by studies that train.

``threshold`` needs no training. A study is a search over a ``space``: ``study`` defines it and hands out its trials,
``trial`` runs one, ``search`` starts a worker, ``storage`` keeps what was tried; ``best`` and ``pictures`` show the
results.
"""
