"""What happens around the models: a ticket comes in as it was mailed, and goes to a queue or to a person."""

import json

#: Below this the classifier guesses.
SURE = 0.5


def clean_up(data, context):
    """Leave out what a mail program adds: quoted lines, and all that follows the mark of a signature."""
    if data is None:
        return None
    return [_own_words(_text(item)) for item in data]


def route(data, context):
    """Send a ticket to the queue that the classifier is sure of, or else to a person, with the guess."""
    if data is None:
        return None
    return [_decision(json.loads(bytes(item["body"]))) for item in data]


def _own_words(mail):
    text, _, _ = mail.replace("\r\n", "\n").partition("\n-- \n")
    return " ".join(line.strip() for line in text.split("\n") if not line.startswith(">")).strip()


def _decision(classified):
    queue, probability = classified["queue"], classified["probability"]
    if probability >= SURE:
        return {"queue": queue, "probability": probability}
    return {"queue": "person", "guess": queue, "probability": probability}


def _text(item):
    body = item.get("body") or item.get("data") or b""
    return body if isinstance(body, str) else bytes(body).decode("utf-8")
