"""What a gunicorn deployment adds: its hooks, its web worker class and its housekeeping."""
