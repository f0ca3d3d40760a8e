"""oltr: open long-tailed recognition, with all methods under the same conditions, compared with the paper."""

__version__ = "0.1.0"
