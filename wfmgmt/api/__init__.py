"""The management API: Flask blueprints that parse, call a service and shape the answer."""
