"""The paper's tables: ``paper`` reads them, ``rows`` says which runs they show, ``fill`` measures, the rest prints."""
