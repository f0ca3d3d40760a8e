"""The report: the finished runs of a dataset on one HTML page that needs nothing but itself.

``content`` collects what is said, ``page`` makes it HTML (``templates/``, report.css, report.js), ``watch`` keeps it
fresh.
"""
