"""Handlers as people wrote them for TorchServe, packed by its own archivers and served without a change."""

import base64
import json
import struct
import subprocess
import sys
import zlib
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.support.deployments import left_as_found
from tests.support.service import CHECKOUT, Service

#: Where `make bench-torchserve` installs TorchServe with torch, which takes gigabytes.
TORCHSERVE = CHECKOUT / ".venv-torchserve"

#: A class with the four steps that TorchServe's documentation recommends; it knows nothing of this project.
IMAGE_HANDLER = '''
import json
import os
import struct
import zlib


class ColourClassifier:
    """Tells which of its colours is nearest to an image's mean."""

    def __init__(self):
        self.initialized = False
        self.colours = self.names = self.device = None

    def initialize(self, context):
        properties = context.system_properties
        model_dir = properties.get("model_dir")
        gpu_id = properties.get("gpu_id")
        self.device = "cpu" if gpu_id is None else "cuda:" + str(gpu_id)
        weights = os.path.join(model_dir, context.manifest["model"]["serializedFile"])
        if not os.path.isfile(weights):
            raise RuntimeError("Missing the weights")
        with open(weights) as file:
            self.colours = json.load(file)
        with open(os.path.join(model_dir, "index_to_name.json")) as file:
            self.names = json.load(file)
        self.initialized = True

    def preprocess(self, requests):
        images = []
        for row in requests:
            image = row.get("data") or row.get("body")
            images.append(self.pixels(bytes(image)))
        return images

    def pixels(self, image):
        if image[:8] != b"\\x89PNG\\r\\n\\x1a\\n":
            raise ValueError("not a PNG image")
        position, size, packed = 8, None, b""
        while position < len(image):
            length, kind = struct.unpack(">I4s", image[position : position + 8])
            content = image[position + 8 : position + 8 + length]
            if kind == b"IHDR":
                size = struct.unpack(">II", content[:8])
            elif kind == b"IDAT":
                packed += content
            position += length + 12
        width, height = size
        rows, stride = zlib.decompress(packed), 1 + 3 * width
        lines = [rows[row * stride + 1 : (row + 1) * stride] for row in range(height)]
        return [tuple(line[column : column + 3]) for line in lines for column in range(0, 3 * width, 3)]

    def inference(self, images):
        scores = []
        for image in images:
            mean = [sum(channel) / len(image) for channel in zip(*image)]
            distances = [sum((a - b) ** 2 for a, b in zip(mean, colour)) ** 0.5 for colour in self.colours]
            nearness = [1 / (1 + distance) for distance in distances]
            scores.append([value / sum(nearness) for value in nearness])
        return scores

    def postprocess(self, scores):
        return [{self.names[str(index)]: round(score, 3) for index, score in enumerate(row)} for row in scores]

    def handle(self, data, context):
        if not self.initialized:
            self.initialize(context)
        return self.postprocess(self.inference(self.preprocess(data)))
'''
#: Functions as TorchServe's examples of workflows have them.
WORKFLOW_HANDLER = """
import base64
import json


def read_image(data, context):
    if data is None:
        return data
    images = []
    for row in data:
        image = row.get("data") or row.get("body")
        images.append(base64.b64decode(image) if isinstance(image, str) else image)
    return images


def choose(data, context):
    if data is None:
        return data
    answers = []
    for row in data:
        scores = json.loads(row.get("body"))
        answers.append({"colour": max(scores, key=scores.get), "scores": scores})
    return answers
"""
IMAGE_SPEC = """\
models:
  min-workers: 1
  max-workers: 1
  batch-size: 4
  max-batch-delay: 50
  retry-attempts: 3
  timeout-ms: 5000
  colours:
    url: colours.mar
dag:
  read_image: [colours]
  colours: [choose]
"""

#: Derives from TorchServe's own base class, as most handlers do, and takes a batch of texts.
TEXT_HANDLER = """
import torch
from ts.torch_handler.base_handler import BaseHandler


class LetterCounter(BaseHandler):
    def preprocess(self, data):
        texts = [row.get("data") or row.get("body") for row in data]
        texts = [text.decode("utf-8") if isinstance(text, (bytes, bytearray)) else text for text in texts]
        counts = [[text.count("a"), text.count("b"), len(text)] for text in texts]
        return torch.tensor(counts, dtype=torch.float32, device=self.device)

    def postprocess(self, output):
        return [{"score": score, "batch": len(output)} for score in output.squeeze(1).tolist()]
"""
#: Run with TorchServe's interpreter: a traced model, as `torch-model-archiver` takes it.
MAKE_MODEL = """
import sys, torch
linear = torch.nn.Linear(3, 1, bias=False)
linear.weight.data = torch.tensor([[1.0, 10.0, 100.0]])
torch.jit.script(linear).save(sys.argv[1])
"""
TEXT_SPEC = "models: {letters: {url: letters.mar, batch-size: 3, max-batch-delay: 5000}}\ndag: {letters: []}\n"


def run_archiver(program: str, **options: Path | str) -> None:
    """Run one of TorchServe's archivers."""
    arguments = [text for name, value in options.items() for text in (f"--{name.replace('_', '-')}", str(value))]
    subprocess.run([Path(sys.executable).parent / program, *arguments], check=True)


def write(folder: Path, files: Mapping[str, str]) -> dict[str, Path]:
    """Write files of these names and contents; return their paths."""
    paths = {name: folder / name for name in files}
    for name, content in files.items():
        paths[name].write_text(content)
    return paths


def make_png(width: int, height: int, colour: tuple[int, int, int]) -> bytes:
    """Return an image of one colour."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    rows = (b"\0" + bytes(colour) * width) * height
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


@pytest.fixture(scope="module", name="service")
def _service(service: Service, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with left_as_found(service):
        files = write(
            tmp_path_factory.mktemp("sources"),
            {
                "colour_classifier.py": IMAGE_HANDLER,
                "weights.pt": json.dumps([[255, 0, 0], [0, 255, 0], [0, 0, 255]]),
                "index_to_name.json": json.dumps({"0": "red", "1": "green", "2": "blue"}),
                "workflow_handler.py": WORKFLOW_HANDLER,
                "spec.yaml": IMAGE_SPEC,
            },
        )
        run_archiver(
            "torch-model-archiver",
            model_name="colours",
            version="1.0",
            handler=files["colour_classifier.py"],
            serialized_file=files["weights.pt"],
            extra_files=files["index_to_name.json"],
            export_path=service.model_store,
        )
        run_archiver(
            "torch-workflow-archiver",
            workflow_name="colours",
            spec_file=files["spec.yaml"],
            handler=files["workflow_handler.py"],
            export_path=service.workflow_store,
        )
        answer = service.register("colours.war")
        assert answer.status_code == 200, answer.text
        yield service


@pytest.mark.parametrize(
    ("colour", "name"), [((250, 10, 0), "red"), ((30, 200, 30), "green"), ((0, 0, 90), "blue")], ids=lambda value: value
)
@pytest.mark.parametrize("sent_as", ["body", "form", "text"])
def test_image_is_classified(service: Service, colour: tuple[int, int, int], name: str, sent_as: str) -> None:
    """A picture goes in, as the whole body, as a file of a form or in base64, and JSON comes out."""
    image = make_png(40, 30, colour)
    sent: dict[str, dict[str, Any]] = {
        "body": {"data": image},
        "form": {"files": {"data": ("picture.png", image, "image/png")}},
        "text": {"data": base64.b64encode(image), "headers": {"Content-Type": "text/plain"}},
    }
    answer = requests.post(f"{service.inference}/wfpredict/colours", timeout=30, **sent[sent_as])
    assert answer.status_code == 200, answer.text
    assert answer.json()["colour"] == name
    assert sum(answer.json()["scores"].values()) == pytest.approx(1, abs=0.01)


def test_what_is_no_image_is_the_handlers_error(service: Service) -> None:
    """The client reads what the handler says about it."""
    answer = requests.post(f"{service.inference}/wfpredict/colours", data=b"no picture", timeout=30)
    assert (answer.status_code, answer.json()["node"]) == (500, "colours")
    assert answer.json()["message"] == "Error executing colours: ValueError: not a PNG image"


@pytest.mark.skipif(
    not (TORCHSERVE / ".torchserve").exists(),
    reason="needs torch beside TorchServe: make bench-torchserve installs them",
)
def test_handler_that_derives_from_torchserves_base_class_answers_batches(tmp_path: Path) -> None:
    """Its base class loads the model and moves through it the one batch that requests of three clients make."""
    (packages,) = TORCHSERVE.glob("lib/python3*/site-packages")
    files = write(tmp_path, {"letter_counter.py": TEXT_HANDLER, "spec.yaml": TEXT_SPEC})
    model = tmp_path / "letters.pt"
    subprocess.run([TORCHSERVE / "bin" / "python", "-c", MAKE_MODEL, model], check=True)
    service = Service(tmp_path / "i", preload="torch")
    service.environment["PYTHONPATH"] = str(packages)
    run_archiver(
        "torch-model-archiver",
        model_name="letters",
        version="1.0",
        handler=files["letter_counter.py"],
        serialized_file=model,
        export_path=service.model_store,
    )
    run_archiver(
        "torch-workflow-archiver",
        workflow_name="letters",
        spec_file=files["spec.yaml"],
        handler=files["letter_counter.py"],
        export_path=service.workflow_store,
    )
    with service, ThreadPoolExecutor(3) as pool:
        answer = service.register("letters.war")
        assert answer.status_code == 200, answer.text
        address = f"{service.inference}/wfpredict/letters"
        answers = list(pool.map(lambda text: requests.post(address, data=text, timeout=60).json(), ["ab", "b", "aaa"]))
        assert answers == [{"score": 211.0, "batch": 3}, {"score": 110.0, "batch": 3}, {"score": 303.0, "batch": 3}]
        assert "wfmgmt_handler_" in service.inference_metrics()
