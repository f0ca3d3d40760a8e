"""A dataset out of a folder of photographs: find, screen, split, write."""
