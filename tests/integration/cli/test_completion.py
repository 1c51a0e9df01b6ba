"""What the scripts complete, asked in the shells themselves."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

#: Completes the words that it is given, the last of which is unfinished.
_ASK = """
wfmgmt() {
  [ "$*" = "list -o name" ] && printf '%s\\n' seq sum other
  [ "$*" = "operations -o name" ] && printf '%s\\n' 0a1 0b2
}
source "$1"
shift
COMP_WORDS=("$@")
COMP_CWORD=$(($# - 1))
$(complete -p wfmgmt | sed 's/.*-F \\([^ ]*\\) .*/\\1/') 2>/dev/null
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture(name="scripts", scope="module")
def _scripts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scripts")
    for shell in ("bash", "zsh"):
        command = [sys.executable, "-m", "wfmgmt.cli.main", "completion", shell]
        (folder / shell).write_bytes(subprocess.run(command, check=True, capture_output=True).stdout)
    return folder


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["des"], {"describe"}),
        (["re"], {"reconcile", "register", "releases", "restore"}),
        (["describe", "s"], {"seq", "sum"}),
        (["plan", "scale", ""], {"seq", "sum", "other"}),
        (["plan", "sc"], {"scale"}),
        (["scale", "seq", "--m"], {"--min", "--max"}),
        (["rollout", "seq", "p"], {"pause", "promote"}),
        (["describe", "--ur"], {"--url"}),
        (["describe", "-o", ""], {"table", "json", "name"}),
        (["audit", ""], {"verify"}),
        (["wait", ""], {"0a1", "0b2", "seq", "sum", "other"}),
        (["cancel", "0a"], {"0a1"}),
        (["operations", "--state", ""], {"queued", "running", "succeeded", "failed", "cancelled"}),
        (["list", "--state", "r"], {"ready", "registering"}),
        (["graph", "seq", "--format", "m"], {"mermaid"}),
        (["completion", ""], {"bash", "zsh"}),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bash_completes(scripts: Path, words: list[str], expected: set[str]) -> None:
    """Commands, options and their values."""
    command = ["bash", "-c", _ASK, "bash", str(scripts / "bash"), "wfmgmt", *words]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert expected <= set(done.stdout.split())
    assert all(each.startswith(words[-1]) for each in done.stdout.split())


def test_zsh_takes_the_script(scripts: Path) -> None:
    """It is one for zsh's own completion, and zsh reads it where there is one."""
    assert (scripts / "zsh").read_text().startswith("#compdef wfmgmt\n")
    if shutil.which("zsh") is None:
        pytest.skip("there is no zsh")
    subprocess.run(["zsh", "-n", scripts / "zsh"], check=True)
