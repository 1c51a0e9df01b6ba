"""One text goes to two models at once; their answers come together again."""

import json


def pre_processing(data, context):
    """Pass each text on to both models."""
    if data is None:
        return None
    return [_bytes(item.get("body") or item.get("data")).decode("utf-8") for item in data]


def aggregate(data, context):
    """Join what both models said; the input has one entry per parent, under the parent's name."""
    if data is None:
        return None
    return [{**json.loads(_bytes(item["sentiment"])), **json.loads(_bytes(item["length"]))} for item in data]


def _bytes(value):
    return value.encode("utf-8") if isinstance(value, str) else bytes(value or b"")
