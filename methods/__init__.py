"""Methods and detectors, one file each, to be read beside the paper; found by their file names."""
