"""What workers must not have in common although all begin as copies of one process."""

import json
from pathlib import Path

import pytest

from tests.support.factories import make_mar
from tests.support.model_servers import LocalServers, open_servers
from wfmgmt.serving.models.local.forkserver_client import WorkerEnvironment
from wfmgmt.testing import in_event_loop, load

TORCH = """
import random
_state = random.Random(1)
def manual_seed(seed):
    _state.seed(seed)
def rand():
    return _state.random()
"""
SHUFFLED = """
class Broken:
    def seed(self): raise RuntimeError("can only re-seed a MT19937 BitGenerator")
import sys
sys.modules["numpy.random"] = Broken()
"""


async def draw(servers: LocalServers, folder: Path, expression: str) -> None:
    """Have each of three workers draw a number while it loads its handler."""
    source = (
        "import json, os\n"
        "def handle(data, context):\n"
        f"    import random\n    number = {expression}\n"
        f"    with open({str(folder)!r} + f'/{{os.getpid()}}.number', 'w') as file:\n"
        "        json.dump(float(number), file)\n"
    )
    await load(servers.models, make_mar(folder, source=source), min_workers=3)


def numbers_in(folder: Path) -> list[float]:
    """Return what was drawn."""
    return [json.loads(path.read_text()) for path in folder.glob("*.number")]


@pytest.mark.parametrize(
    ("module", "expression"),
    [
        pytest.param("random", "random.random()", id="random"),
        pytest.param("numpy.random", "__import__('numpy').random.rand()", id="numpy"),
        pytest.param("stub_torch", "__import__('torch').rand()", id="torch"),
    ],
)
@in_event_loop
async def test_workers_draw_numbers_of_their_own(tmp_path: Path, module: str, expression: str) -> None:
    """The global generators of preloaded modules are seeded anew in each worker."""
    if module == "numpy.random":
        pytest.importorskip(module)
    (tmp_path / "torch.py").write_text(TORCH)
    (tmp_path / "stub_torch.py").write_text("import torch\ntorch.manual_seed(1)\n")
    worker_environment = WorkerEnvironment(environment={"PYTHONPATH": str(tmp_path)}, preload=(module,))
    async with open_servers(tmp_path / "unpacked", worker_environment=worker_environment) as servers:
        await draw(servers, tmp_path, expression)
    assert len(set(numbers_in(tmp_path))) == 3


@in_event_loop
async def test_workers_start_when_a_generator_cannot_be_seeded(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It is said in the log, and everything else goes on."""
    caplog.set_level("INFO", logger="wfmgmt.handler")
    (tmp_path / "shuffled.py").write_text(SHUFFLED)
    worker_environment = WorkerEnvironment(environment={"PYTHONPATH": str(tmp_path)}, preload=("shuffled",))
    async with open_servers(tmp_path / "unpacked", worker_environment=worker_environment) as servers:
        await draw(servers, tmp_path, "1")
    assert numbers_in(tmp_path) == [1.0] * 3
    assert "numpy.random could not be seeded anew: can only re-seed a MT19937 BitGenerator" in caplog.messages
