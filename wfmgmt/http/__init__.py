"""HTTP code that both planes share; it knows neither Flask nor aiohttp."""
