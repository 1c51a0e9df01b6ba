"""A sentiment model that counts words: the smallest class handler there is."""

GOOD = {"good", "great", "fine", "happy", "love"}
BAD = {"bad", "awful", "sad", "hate", "broken"}


class Sentiment:
    """Scores each text of a batch."""

    def initialize(self, context):
        """Get ready; a model with weights would load them from `model_dir` here."""
        self.model_dir = context.system_properties["model_dir"]

    def handle(self, data, context):
        """Return one score per text: good words minus bad ones."""
        return [{"score": self._score(item)} for item in data]

    def _score(self, item):
        body = item.get("body") or item.get("data") or b""
        text = body if isinstance(body, str) else bytes(body).decode("utf-8")
        words = text.split()
        return sum(word in GOOD for word in words) - sum(word in BAD for word in words)
