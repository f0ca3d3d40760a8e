"""Backbones, the layers that methods share, and the weights that networks start from."""
