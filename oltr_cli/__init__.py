"""oltr: open long-tailed recognition, every method on the same footing, beside the paper's table."""

__version__ = "0.1.0"
