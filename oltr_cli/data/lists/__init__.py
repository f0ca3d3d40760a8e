"""List files: read, checked against their classes, resolved to image files."""
