"""Datasets: lists and drawings read, batched, checked, built from photographs, prepared from public downloads."""
