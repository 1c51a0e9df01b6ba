"""Functions that only running the handler file can tell, and handlers that are not there."""

from collections.abc import Iterator

import pytest
import requests

from tests.support.deployments import left_as_found
from tests.support.factories import make_mar, make_war
from tests.support.service import Service

SPEC = "models: {}\ndag: {prepare_a: [prepare_b]}\n"
MODEL_SPEC = "models: {m: {url: m1.mar}}\ndag: {m: []}\n"
MAKE = "def make(tag):\n    return lambda data, context: None if data is None else [tag]\n"
#: What leaves the functions prepare_a and prepare_b behind, or those of the names in `NAMES`.
MAKERS = {
    "globals": "for name in NAMES: globals()[name] = make(name[-1])",
    "setattr": "import sys\nfor name in NAMES: setattr(sys.modules[__name__], name, make(name[-1]))",
    "exec": "for name in NAMES: exec(f'{name} = make({name[-1]!r})')",
    "star import": "from made import *",
    "decorator": "def both(made):\n    for name in NAMES: globals()[name] = make(name[-1])\n@both\ndef other(): ...",
    "other module": "import fill\nfill.into(__name__, NAMES, make)",
    "module attribute": "def __getattr__(name):\n    if name in NAMES: return make(name[-1])\n"
    "    raise AttributeError(name)",
    "global in a function": "def setup():\n    global prepare_a, prepare_b\n"
    "    prepare_a = make('a')\n    if len(NAMES) == 2: prepare_b = make('b')\nsetup()",
    "condition": "if 'prepare_a' in NAMES: prepare_a = make('a')\nif 'prepare_b' in NAMES: prepare_b = make('b')",
}
FILL = """
import sys
def into(module, names, make):
    for name in names:
        setattr(sys.modules[module], name, make(name[-1]))
"""


@pytest.fixture(name="service", scope="module")
def _service(service: Service) -> Iterator[Service]:
    with left_as_found(service):
        yield service


def register(service: Service, maker: str, names: list[str]) -> requests.Response:
    """Register a workflow whose handler file makes functions of these names."""
    start = f"NAMES = {names}\n{MAKE}"
    made = start + MAKERS["globals"] + "\n__all__ = NAMES\n"
    files = {"made.py": made, "fill.py": FILL}
    make_war(service.workflow_store, spec=SPEC, handler=start + MAKERS[maker], extra_files=files)
    return service.register("seq.war")


@pytest.mark.parametrize("maker", MAKERS)
def test_functions_made_at_run_time_are_found(service: Service, maker: str) -> None:
    """However they come into being, they are called in their order."""
    answer = register(service, maker, ["prepare_a", "prepare_b"])
    assert answer.status_code == 200, answer.text
    assert requests.post(f"{service.inference}/wfpredict/seq", data=b"x", timeout=30).text == "b"
    assert service.unregister("seq").ok


@pytest.mark.parametrize("maker", MAKERS)
def test_function_that_is_not_made_is_refused_by_name(service: Service, maker: str) -> None:
    """What the worker does not find is refused as what the source does not show: with the function and the file."""
    answer = register(service, maker, ["prepare_a"])
    assert (answer.status_code, answer.json()["type"]) == (400, "InvalidWorkflowException")
    expected = "dag: prepare_b is neither under models nor a function of the handler file handler.py"
    assert answer.json()["message"] == expected
    assert service.unregister("seq").status_code == 404


def test_function_that_is_no_function_is_refused(service: Service) -> None:
    """A name of the handler file that cannot be called is no function."""
    make_war(service.workflow_store, spec=SPEC, handler=f"prepare_a = 1\n{MAKE}prepare_b = make('b')\n")
    answer = service.register("seq.war")
    assert (answer.status_code, answer.json()["type"]) == (400, "InvalidWorkflowException")
    assert "prepare_a is neither" in answer.json()["message"]


def test_class_stands_in_for_the_functions_as_in_torchserve(service: Service) -> None:
    """A handler file with one class and no functions has its method called for each of them."""
    handler = (
        "class Both:\n    def initialize(self, context): ...\n    def handle(self, data, context): return ['both']\n"
    )
    make_war(service.workflow_store, spec=SPEC, handler=handler)
    assert service.register("seq.war").status_code == 200
    assert requests.post(f"{service.inference}/wfpredict/seq", data=b"x", timeout=30).text == "both"
    assert service.unregister("seq").ok


@pytest.mark.parametrize(
    ("handler", "reason"),
    [
        ("handler.py:nosuch", "handler.py has neither a function nosuch nor a class with a method handle"),
        ("pkg.mod:run", "handler file pkg.mod.py is not in the archive"),
        ("image_classifier", "handler file image_classifier.py is not in the archive, and torchserve, which may have"),
    ],
    ids=["function", "module", "built in"],
)
def test_model_whose_handler_is_not_there_is_the_archives_fault(service: Service, handler: str, reason: str) -> None:
    """A handler string that leads to nothing is a 400, though only a worker could find out."""
    make_mar(service.model_store, handler=handler, source=None, extra_files={"handler.py": "def run(*_): ..."})
    make_war(service.workflow_store, spec=MODEL_SPEC, handler=None)
    answer = service.register("seq.war")
    assert (answer.status_code, answer.json()["type"]) == (400, "WorkflowException")
    assert reason in answer.json()["message"]
