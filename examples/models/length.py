"""A model in one function: how many words each text has."""


def handle(data, context):
    """Return one number per text."""
    if data is None:
        return None
    return [{"words": len(_text(item).split())} for item in data]


def _text(item):
    body = item.get("body") or item.get("data") or b""
    return body if isinstance(body, str) else bytes(body).decode("utf-8")
