"""What programs use: a finished run for images, evaluation of scores, and what a run gets wrong. See docs/api.md.

Its names are those of ``oltr_cli`` itself, which imports them when they are first used.
"""
