"""A scikit-learn classifier of embedded texts, as `build.py` trained it."""

from pathlib import Path

import joblib
import numpy as np


class Classify:
    """Says for each vector of a batch which class is the likeliest."""

    def initialize(self, context):
        """Load the trained model, under the name that the archiver wrote into the manifest."""
        name = context.manifest["model"]["serializedFile"]
        self.model = joblib.load(Path(context.system_properties["model_dir"], name))

    def handle(self, data, context):
        """Return one class per vector, with its probability."""
        vectors = np.stack([np.frombuffer(item["body"], dtype=np.float32) for item in data])
        return [
            {"queue": str(self.model.classes_[each.argmax()]), "probability": round(float(each.max()), 3)}
            for each in self.model.predict_proba(vectors)
        ]
