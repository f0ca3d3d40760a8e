"""The paper's tables: ``paper`` reads them, ``rows`` lists their runs, ``fill`` adds results, the rest prints."""
