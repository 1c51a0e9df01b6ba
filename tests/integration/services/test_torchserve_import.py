"""The import over real stores and a real list; only the registration itself is a stand-in."""

import errno
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.factories import SEQUENTIAL_SPEC, make_mar, make_war
from tests.support.listed_workflows import listing
from tests.support.records import make_node, make_registry, make_workflow
from tests.support.scripted_server import ScriptedServer
from wfmgmt.archives.manifest import read_war
from wfmgmt.archives.reading import sha256_of
from wfmgmt.archives.stores import ArchiveFolder, StoreFolders
from wfmgmt.domain.audit import Origin
from wfmgmt.domain.limits import Limits
from wfmgmt.domain.redaction import redacted_address
from wfmgmt.domain.spec import WorkflowSpec, parse_spec
from wfmgmt.errors import RuntimeUnavailable
from wfmgmt.errors.loading import NodesFailedToLoad
from wfmgmt.registry.registry import Registry
from wfmgmt.services.changes import Change
from wfmgmt.services.leases import Leases
from wfmgmt.services.preparation import RegistrationRequest
from wfmgmt.services.registration_records import Registered
from wfmgmt.services.staging import find_archive, staged
from wfmgmt.services.torchserve_import import Outcome, Source, TorchServeImport, Verdict
from wfmgmt.torchserve.listing import TorchServeListing

ORIGIN = Origin(actor="cli:tester")


class FakeRuntime:
    """A runtime that answers a given number of times."""

    def __init__(self) -> None:
        self.answers = 1000

    def report(self, _uid: str) -> None:
        """Answer or not."""
        self.answers -= 1
        if self.answers < 0:
            raise RuntimeUnavailable("The runtime is down.")


class FakeRegistration:
    """Records what is registered, and does so from the files that are in the stores at that moment."""

    def __init__(self, registry: Registry, setup: "ImportSetup") -> None:
        self._registry = registry
        self._setup = setup
        self.failure: BaseException | None = None
        self.downloads: dict[str, Path] = {}

    def register(self, request: RegistrationRequest, _change: Change) -> Registered:
        """Register or fail."""
        if self.failure is not None:
            raise self.failure
        war = self.downloads.get(request.url) or self._setup.ours["workflow"] / request.url
        node = make_node("m1", model_sha256=sha256_of(self._setup.ours["model"] / "m1.mar"))
        new = make_workflow(
            request.workflow_name or "",
            url=redacted_address(request.url),
            archive_sha256=sha256_of(war),
            nodes=(node,),
            edges=(),
        )
        with self._registry.write() as writer:
            writer.claim_name(new)
            writer.mark_ready(new.uid)
        return Registered(name=new.name)

    def rehearse(self, request: RegistrationRequest, folders: StoreFolders) -> WorkflowSpec:
        """Find what there would be to register, or fail."""
        if self.failure is not None:
            raise self.failure
        war = self.downloads.get(request.url) or folders.workflow.find(request.url)
        spec = parse_spec(read_war(war, Limits()).spec_text, Limits())
        for node in spec.nodes:
            if node.url is not None:
                folders.model.find(node.url)
        return spec


class ImportSetup:
    """The stores of both servers and what is listed."""

    def __init__(self, folder: Path) -> None:
        self.ours = {store: folder / "ours" / store for store in ("workflow", "model")}
        self.theirs = {store: folder / "theirs" / store for store in ("workflow", "model")}
        for path in (*self.ours.values(), *self.theirs.values(), folder / "leases"):
            path.mkdir(parents=True)
        self.registry = make_registry(folder)
        self.runtime = FakeRuntime()
        self.registration = FakeRegistration(self.registry, self)
        self.leases = Leases(folder / "leases")
        self.folders = StoreFolders(**_folders(self.ours))
        self.foreign = _folders(self.theirs)
        self.importing = TorchServeImport(
            registry=self.registry,
            folders=self.folders,
            runtime=self.runtime,  # type: ignore[arg-type]
            registration=self.registration,  # type: ignore[arg-type]
            leases=self.leases,
            limits=Limits(),
            policy="ignore",
        )

    def run(
        self, urls: dict[str, str], stores: dict[str, ArchiveFolder] | None = None, **options: Any
    ) -> list[Outcome]:
        """Import what is listed."""
        figures = options.pop("figures", None)
        with ScriptedServer(listing(urls, figures=figures)) as server:
            stores = self.foreign if stores is None else stores
            source = Source(listing=TorchServeListing(server.url("")), stores=stores)
            return list(self.importing.run(source, ORIGIN, **options))

    def reason(self, url: str = "seq.war", **options: Any) -> str:
        """Return why one workflow is not imported, after checking that nothing was copied for it."""
        before = self.copies()
        (outcome,) = self.run({"seq": url}, **options)
        assert outcome.verdict is Verdict.NOT_IMPORTED
        assert self.copies() == before
        return outcome.reason

    def copies(self) -> list[str]:
        """List what is in our stores, hidden files too."""
        return [name for path in self.ours.values() for name in sorted(each.name for each in path.iterdir())]

    def fill(self, **war: Any) -> None:
        """Put a workflow and its model into their stores."""
        make_war(self.theirs["workflow"], **war)
        make_mar(self.theirs["model"])


def _folders(paths: dict[str, Path]) -> dict[str, ArchiveFolder]:
    return {store: ArchiveFolder(folder=path, suffix=f".{store[0]}ar") for store, path in paths.items()}


@pytest.fixture(name="setup")
def _setup(tmp_path: Path) -> Iterator[ImportSetup]:
    setup = ImportSetup(tmp_path)
    yield setup
    setup.registry.close()


def test_archives_are_copied_and_the_workflow_registered(setup: ImportSetup) -> None:
    """With the bytes and names that they have there, and nothing else beside them."""
    setup.fill()
    (outcome,) = setup.run({"other": "seq.war"})
    assert (outcome.workflow, outcome.verdict) == ("other", Verdict.REGISTERED)
    assert setup.copies() == ["seq.war", "m1.mar"]
    assert sha256_of(setup.ours["model"] / "m1.mar") == sha256_of(setup.theirs["model"] / "m1.mar")


def test_models_are_found_by_all_addresses_that_torchserve_takes(setup: ImportSetup) -> None:
    """A folder before the name of a model means nothing, and one file is copied once."""
    spec = "models: {a: {url: model-store/m1.mar}, b: {url: /models/m1.mar}}\ndag: {a: [b]}\n"
    setup.fill(spec=spec, handler=None)
    (outcome,) = setup.run({"seq": "seq.war"})
    assert outcome.verdict is Verdict.REGISTERED, outcome.reason
    assert setup.copies() == ["seq.war", "m1.mar"]


def test_archives_that_are_here_are_taken_as_they_are(setup: ImportSetup) -> None:
    """Without the stores of the other server too."""
    make_war(setup.ours["workflow"])
    make_mar(setup.ours["model"])
    (outcome,) = setup.run({"seq": "seq.war"}, {})
    assert (outcome.verdict, outcome.notes) == (Verdict.REGISTERED, ())


def test_archive_that_torchserve_registered_by_a_file_address_is_found_in_its_store(setup: ImportSetup) -> None:
    """It has copied it there."""
    setup.fill()
    (outcome,) = setup.run({"seq": "file:///home/somebody/seq.war"})
    assert outcome.verdict is Verdict.REGISTERED


def test_workflow_that_is_here_is_left_alone(setup: ImportSetup) -> None:
    """It is the same archive; a model of which there is another file by now is noted."""
    setup.fill()
    setup.run({"seq": "seq.war"})
    setup.registration.failure = AssertionError("registered twice")
    (outcome,) = setup.run({"seq": "seq.war"}, figures={"seq": {"batchSize": 8}})
    assert (outcome.verdict, outcome.notes) == (Verdict.HERE, ("batchSize: 8 there, 1 here",))
    make_mar(setup.theirs["model"], extra_files={"weights.bin": "new"})
    (outcome,) = setup.run({"seq": "seq.war"})
    assert outcome.verdict is Verdict.HERE
    assert outcome.notes == ("the model store has another file 'm1.mar', which stays as it is",)


def test_workflow_that_is_registered_from_another_archive_is_reported(setup: ImportSetup) -> None:
    """Whichever is meant, somebody has to decide."""
    setup.fill()
    setup.run({"seq": "seq.war"})
    make_war(setup.theirs["workflow"], file_name="newer.war", extra_files={"more.txt": "x"})
    assert setup.reason("newer.war") == "it is registered here from another archive"
    assert setup.reason("http://h.example/seq.war") == (
        "it is registered here from seq.war, and there from http://h.example/seq.war"
    )


@pytest.mark.parametrize("store", ["workflow", "model"])
def test_other_file_of_the_name_stays(setup: ImportSetup, store: str) -> None:
    """Nothing in our stores is ever replaced."""
    setup.fill()
    name = {"workflow": "seq.war", "model": "m1.mar"}[store]
    (setup.ours[store] / name).write_bytes(b"ours")
    assert setup.reason() == f"the {store} store has another file '{name}', which stays as it is"
    assert (setup.ours[store] / name).read_bytes() == b"ours"


def test_archives_that_are_nowhere_are_named_all_together(setup: ImportSetup) -> None:
    """With what to do about it."""
    spec = SEQUENTIAL_SPEC.replace("url: m1.mar", "url: a.mar\n  m2:\n    url: b.mar").replace("[m1]", "[m1, m2]")
    spec = spec.replace("m1: [post_processing]", "m1: [post_processing]\n  m2: [post_processing]")
    assert setup.reason(stores={}) == (
        "'seq.war' is not in the workflow store; put it there, or name TorchServe's own with --workflow-store"
    )
    make_war(setup.theirs["workflow"], spec=spec)
    assert setup.reason() == (
        "'a.mar' is not in the model store, nor in that of TorchServe; "
        "'b.mar' is not in the model store, nor in that of TorchServe"
    )


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("../seq.war", "Relative path is not allowed"),
        ("/etc/passwd", "is not in the workflow store"),
        ("file:///etc/passwd", "is not in the workflow store"),
        ("file:seq.war", "file: addresses are never read"),
        ("seq.zip", "is not in the workflow store"),
        ("seq\x1b.war", "control character"),
        ("s3://bucket/seq.war", "is not in the workflow store"),
        ("http://user:secret@h.example:port/x.war", "not a number from 1 to 65535"),
    ],
)
def test_url_that_leads_elsewhere_is_refused(setup: ImportSetup, url: str, reason: str) -> None:
    """What the other server names is looked for in the stores, and nowhere else."""
    setup.fill()
    refusal = setup.reason(url)
    assert reason in refusal
    assert "secret" not in refusal


@pytest.mark.parametrize("name", ["", "..", ".hidden", "a/b", "a b", "ü", "a" * 129, "\x1b[31m", "\ud800"], ids=ascii)
def test_name_that_is_not_allowed_here_is_reported(setup: ImportSetup, name: str) -> None:
    """It is not even asked for; the others are imported."""
    setup.fill()
    verdicts = [outcome.verdict for outcome in setup.run({name: "seq.war", "seq": "seq.war"})]
    assert sorted(verdicts) == [Verdict.NOT_IMPORTED, Verdict.REGISTERED]


def test_archive_that_cannot_be_understood_is_reported(setup: ImportSetup) -> None:
    """Before anything of it is copied."""
    setup.fill(spec="dag: [")
    assert "Failed to parse yaml" in setup.reason()
    (setup.theirs["workflow"] / "seq.war").write_bytes(b"no zip")
    assert "Workflow archive seq.war" in setup.reason()


@pytest.mark.parametrize("failure", [NodesFailedToLoad("seq", {"m1": "no card"}), KeyboardInterrupt()], ids=repr)
def test_copies_go_when_the_registration_fails(setup: ImportSetup, failure: BaseException) -> None:
    """Also when somebody interrupts it."""
    setup.fill()
    setup.registration.failure = failure
    if isinstance(failure, KeyboardInterrupt):
        with pytest.raises(KeyboardInterrupt):
            setup.run({"seq": "seq.war"})
    else:
        assert "no card" in setup.reason()
    assert setup.copies() == []


def test_copy_of_one_who_dies_is_swept_away(setup: ImportSetup) -> None:
    """Until the registration is done, copies are what a sweep takes for unfinished."""
    setup.fill()
    war = find_archive("workflow", "seq.war", ours=setup.folders, theirs=setup.foreign)
    with staged([war], folders=setup.folders, lease="dead", is_used=lambda *_: True):
        assert "seq.war" in setup.folders.workflow.sweep(lambda _: False, lambda _: False)
    assert setup.copies() == []


def test_file_that_changes_meanwhile_is_not_copied(setup: ImportSetup) -> None:
    """What was checked is what is registered."""
    setup.fill()
    war = find_archive("workflow", "seq.war", ours=setup.folders, theirs=setup.foreign)
    changes: dict[str, Callable[[], object]] = {
        "changes while it is copied": lambda: war.path.write_bytes(b"other"),
        "has another file": lambda: (war.path.write_bytes(original), make_war(setup.ours["workflow"])),
    }
    original = war.path.read_bytes()
    for reason, change in changes.items():
        change()
        with (
            pytest.raises(Exception, match=reason),
            staged([war], folders=setup.folders, lease="me", is_used=lambda *_: False),
        ):
            pytest.fail("it was copied")
    assert setup.copies() == ["seq.war"]


def test_archive_that_cannot_be_read_is_reported(setup: ImportSetup) -> None:
    """As what it is."""
    setup.fill()
    archive = setup.theirs["workflow"] / "seq.war"
    archive.unlink()
    archive.symlink_to("/proc/self/mem")  # A regular file that nobody can read from the start, not even root.
    assert setup.reason() == "'seq.war' cannot be read: Input/output error"


def test_store_that_cannot_be_written_is_reported(setup: ImportSetup, monkeypatch: pytest.MonkeyPatch) -> None:
    """As here, where its file system can only be read."""
    setup.fill()

    def link(*_: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(os, "link", link)
    assert setup.reason() == "'seq.war' cannot be copied: Read-only file system"


def test_file_that_goes_meanwhile_is_reported(setup: ImportSetup) -> None:
    """It may vanish at any point of its registration."""
    setup.fill()
    setup.registration.failure = FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
    assert setup.reason() == "a file cannot be read or written: No such file or directory"


def test_models_of_a_workflow_that_was_downloaded_are_copied(setup: ImportSetup) -> None:
    """TorchServe's own download tells which they are."""
    setup.fill()
    url = "http://user:secret@h.example/path/seq.war"
    setup.registration.downloads = {url: setup.theirs["workflow"] / "seq.war"}
    (planned,) = setup.run({"seq": url}, is_dry=True)
    assert (planned.verdict, planned.notes) == (
        Verdict.PLANNED,
        (
            "would be downloaded from http://h.example/path/seq.war",
            "m1.mar would be copied into the model store",
        ),
    )
    (outcome,) = setup.run({"seq": url})
    assert (outcome.verdict, outcome.notes) == (
        Verdict.REGISTERED,
        ("downloaded from http://h.example/path/seq.war", "m1.mar copied into the model store"),
    )
    assert setup.copies() == ["m1.mar"]
    assert setup.run({"seq": url})[0].verdict is Verdict.HERE


def test_only_named_workflows_are_imported(setup: ImportSetup) -> None:
    """In the order in which they are named; one that is not there is reported."""
    setup.fill()
    outcomes = setup.run({"a": "seq.war", "b": "seq.war", "c": "seq.war"}, only=["nosuch", "c", "a", "c"])
    assert [(outcome.workflow, outcome.verdict) for outcome in outcomes] == [
        ("nosuch", Verdict.NOT_IMPORTED),
        ("c", Verdict.REGISTERED),
        ("a", Verdict.REGISTERED),
    ]
    assert outcomes[0].reason == "TorchServe has no workflow of that name"


def test_runtime_that_goes_down_ends_it(setup: ImportSetup) -> None:
    """What was imported before that stays."""
    setup.fill()
    setup.runtime.answers = 1
    with pytest.raises(RuntimeUnavailable):
        setup.run({"a": "seq.war", "b": "seq.war"})
    with setup.registry.read() as reader:
        assert (reader.uid("a") is None, reader.uid("b")) == (False, None)


def test_figures_are_compared_as_what_they_mean(setup: ImportSetup) -> None:
    """The order of a graph's edges means nothing."""
    setup.fill()
    same = {"workflowDag": "{m1=[post_processing], pre_processing=[m1]}"}
    (outcome,) = setup.run({"seq": "seq.war"}, figures={"seq": {**same, "minWorkers": 3}}, is_dry=True)
    assert "minWorkers: 3 there, 1 here" in outcome.notes
    assert not any("workflowDag" in note for note in outcome.notes)
    other = {"workflowDag": "{m1=[other]}"}
    (outcome,) = setup.run({"seq": "seq.war"}, figures={"seq": other}, is_dry=True)
    expected = "workflowDag: {m1=[other]} there, {pre_processing=[m1], m1=[post_processing]} here"
    assert expected in outcome.notes


def test_dry_run_plans_each_copy_once(setup: ImportSetup) -> None:
    """What one workflow has copied is here for the next one, as in the real run."""
    setup.fill()
    make_war(setup.theirs["workflow"], name="other")
    urls = {"a": "seq.war", "b": "other.war"}
    planned = [outcome.notes for outcome in setup.run(urls, is_dry=True)]
    done = [outcome.notes for outcome in setup.run(urls)]
    assert planned == [tuple(note.replace("copied", "would be copied") for note in notes) for notes in done]
    assert [len(notes) for notes in done] == [2, 1]


def test_dry_run_finds_that_there_is_no_room(setup: ImportSetup, monkeypatch: pytest.MonkeyPatch) -> None:
    """The copies are weighed against the disk before anything is done."""
    setup.fill()
    full = shutil.disk_usage("/")._replace(free=10)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: full)
    assert setup.reason(is_dry=True) == "No space is left for the archive."


@pytest.mark.parametrize("is_dry", [True, False], ids=["dry run", "import"])
def test_archives_that_list_libraries_are_named(setup: ImportSetup, *, is_dry: bool) -> None:
    """TorchServe does not say whether it installs them, so the operator has to know."""
    make_war(setup.theirs["workflow"], extra_files={"requirements.txt": "numpy"})
    make_mar(setup.theirs["model"], requirements="numpy\n")
    (outcome,) = setup.run({"seq": "seq.war"}, is_dry=is_dry)
    assert outcome.verdict is (Verdict.PLANNED if is_dry else Verdict.REGISTERED)
    assert outcome.notes[-1] == (
        "m1.mar lists libraries in requirements.txt, which TorchServe installs if install_py_dep_per_model is true; "
        "here that is WFMGMT_MODEL_REQUIREMENTS, which is ignore"
    )
    assert not any("requirements" in note for note in outcome.notes[:-1])
