"""The commands: one small function each. Nothing heavy is imported at the top."""
