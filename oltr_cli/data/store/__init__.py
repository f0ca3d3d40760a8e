"""Pixels of photographs, decoded once and kept for training (``data.store_side``)."""
