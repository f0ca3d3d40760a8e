"""Batches: sampling, transforms and loading."""
