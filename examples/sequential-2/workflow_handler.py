"""Version 2.0 of what happens around the sentiment model: its sentences have stars, one to five."""

import json


def pre_processing(data, context):
    """Strip each text and bring it to lower case."""
    if data is None:
        return None
    return [_text(item).strip().lower() for item in data]


def post_processing(data, context):
    """Turn each score into a sentence with stars."""
    if data is None:
        return None
    return [_sentence(json.loads(_text(item))) for item in data]


def _text(item):
    body = item.get("body") or item.get("data") or b""
    return body if isinstance(body, str) else bytes(body).decode("utf-8")


def _sentence(score):
    mood = "good" if score["score"] > 0 else "bad" if score["score"] < 0 else "neutral"
    return {"mood": mood, "score": score["score"], "stars": min(max(3 + score["score"], 1), 5)}
