"""Sentence embeddings with all-MiniLM-L6-v2: a vector of 384 numbers for each text."""

from pathlib import Path

from sentence_transformers import SentenceTransformer


class Embed:
    """Embeds the texts of a batch together."""

    def initialize(self, context):
        """Load the model from the archive."""
        folder = Path(context.system_properties["model_dir"], "all-MiniLM-L6-v2")
        self.model = SentenceTransformer(str(folder), device="cpu", local_files_only=True)

    def handle(self, data, context):
        """Return one vector per text, as the bytes of its 32-bit floats."""
        # Without a word it reports its progress to the log, as workers log from `info` on.
        vectors = self.model.encode([_text(item) for item in data], show_progress_bar=False)
        return [vector.tobytes() for vector in vectors]


def _text(item):
    body = item.get("body") or item.get("data") or b""
    return body if isinstance(body, str) else bytes(body).decode("utf-8")
