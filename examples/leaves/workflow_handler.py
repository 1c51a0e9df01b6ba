"""One text goes to two models, and the client gets both answers."""


def pre_processing(data, context):
    """Pass each text on to both models."""
    if data is None:
        return None
    return [_bytes(item.get("body") or item.get("data")).decode("utf-8") for item in data]


def _bytes(value):
    return value.encode("utf-8") if isinstance(value, str) else bytes(value or b"")
