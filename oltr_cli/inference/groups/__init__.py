"""Rejected images as groups that look alike to the network, to be named and added as classes."""
