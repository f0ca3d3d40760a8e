"""The paper's tables: ``paper`` reads them, ``fill`` lays them over runs, ``formats`` prints and saves them."""
