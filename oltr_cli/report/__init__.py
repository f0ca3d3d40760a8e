"""The report: the finished runs of a dataset on one self-contained HTML page.

``content`` collects the facts, ``page`` renders them as HTML (``templates/``, report.css, report.js), ``watch`` keeps
the page up to date.
"""
