"""Methods and detectors, one file each, to be read next to the paper; found by their file names."""
