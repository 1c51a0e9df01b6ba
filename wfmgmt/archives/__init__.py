"""The archives that workflows come from: the store folders, safe reading, fetching by URL."""
