"""Using a finished run on any images: verdicts, explanations, exported files."""
