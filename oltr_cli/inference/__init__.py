"""A finished run at work on images from anywhere: verdicts, explanations, exported files."""
