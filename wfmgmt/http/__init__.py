"""What the HTTP sides of both planes share; it knows neither Flask nor aiohttp."""
