"""A finished run with one more class, without training (``oltr add-class``)."""
