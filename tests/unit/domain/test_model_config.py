"""What the configuration file of a model changes of a workflow."""

import pytest

from wfmgmt.domain.limits import Limits
from wfmgmt.domain.model_config import configure, max_startup_s, parse_model_config
from wfmgmt.domain.spec import WorkflowSpec, parse_spec
from wfmgmt.domain.workflow import NodeSettings
from wfmgmt.errors import InvalidArchive

NUMBER = "expected a whole number from"


def configured(text: str, settings: str = "", startup_timeout_s: int = 120) -> WorkflowSpec:
    """Return a spec of one model that has these settings there and this text in its file."""
    spec = parse_spec(f"models: {{m: {{url: m.mar{settings}}}}}\ndag: {{m: []}}", Limits())
    return configure(spec, {"m": parse_model_config("c.yaml", text)}, startup_timeout_s)


@pytest.mark.parametrize(
    ("text", "settings", "expected"),
    [
        ("", "", NodeSettings()),
        ("handler: {0: !cat [*a], ? {b: c} : d}\nbatchSizes: &a 7\n1: 2\n", "", NodeSettings()),
        ("---\n", "", NodeSettings()),
        ("minWorkers: 2\nx: {maxWorkers: 9}\nmaxWorkers: 3", "", NodeSettings(min_workers=2, max_workers=3)),
        ("responseTimeout: 3", "", NodeSettings(timeout_ms=3000)),
        ("responseTimeout: 10\nstartupTimeout: 120\nbatchSize: 1\nmaxBatchDelay: 50", "", NodeSettings()),
        ("batchSize: 4", ", batch-size: 4", NodeSettings(batch_size=4)),
    ],
    ids=["empty", "handler's own", "empty document", "workers", "response", "no change", "same batch"],
)
def test_settings_that_count_in_torchserve_count(text: str, settings: str, expected: NodeSettings) -> None:
    """Workers and the time of an answer are the file's, and what only the handler reads is its own business."""
    spec = configured(text, settings)
    assert spec.nodes[0].settings == expected
    assert spec.warnings == ()


@pytest.mark.parametrize(
    ("text", "settings", "warnings"),
    [
        ("minWorkers: 2", "", ["minWorkers has no effect without maxWorkers"]),
        ("maxWorkers: 2", "", ["maxWorkers has no effect without minWorkers"]),
        ("minWorkers: 3\nmaxWorkers: 2", "", ["minWorkers and maxWorkers have no effect: 3 is more than 2"]),
        (
            "minWorkers: 0\nmaxWorkers: x",
            "",
            [
                f"minWorkers has no effect: {NUMBER} 1 to 1000, got '0'",
                f"maxWorkers has no effect: {NUMBER} 1 to 1000, got 'x'",
            ],
        ),
        ("batchSize: yes", "", [f"batchSize has no effect: {NUMBER} 1 to 2147483647, got 'yes'"]),
        ("batchSize: '2'", "", [f"batchSize has no effect: {NUMBER} 1 to 2147483647, got something else"]),
        ("batchSize: [2]", "", [f"batchSize has no effect: {NUMBER} 1 to 2147483647, got something else"]),
        (
            "batchSize: 4\nmaxBatchDelay: 5",
            ", batch-size: 2",
            [
                "batchSize has no effect, batch-size of the spec counts, which is 2",
                "maxBatchDelay has no effect, max-batch-delay of the spec counts, which is 50",
            ],
        ),
        ("responseTimeout: 60", "", ["responseTimeout has no effect, timeout-ms of the spec counts, which is 10000"]),
        ("startupTimeout: 60", "", ["startupTimeout has no effect, startup_timeout of the registration is 120"]),
    ],
)
def test_settings_without_effect_are_warnings(text: str, settings: str, warnings: list[str]) -> None:
    """Each is a warning that names the model, the file, the key and what counts in its place."""
    spec = configured(text, settings)
    assert list(spec.warnings) == [f"models.m: c.yaml: {warning}" for warning in warnings]
    assert (
        spec.nodes[0].settings
        == parse_spec(f"models: {{m: {{url: m.mar{settings}}}}}\ndag: {{m: []}}", Limits()).nodes[0].settings
    )


def test_settings_that_replace_those_of_the_spec_are_warnings() -> None:
    """Who wrote both gets the file's, as on TorchServe, and learns of it."""
    spec = configured("minWorkers: 2\nmaxWorkers: 2", ", min-workers: 1, max-workers: 4")
    assert (spec.nodes[0].settings.min_workers, spec.nodes[0].settings.max_workers) == (2, 2)
    assert spec.warnings == (
        "models.m: c.yaml: maxWorkers counts, which is 2, and not max-workers of the spec, which is 4",
    )


def test_max_startup_is_what_a_model_needs() -> None:
    """A model that is slow to load gets its time, though the registration asks for less."""
    configs = {"m": parse_model_config("c.yaml", "startupTimeout: 60")}
    assert [max_startup_s(asked, configs) for asked in (3, 120)] == [60, 120]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("- 1", r"c\.yaml: expected a mapping of settings"),
        ("just text", r"c\.yaml: expected a mapping of settings"),
        ("a: [", r"c\.yaml is not YAML: .*line 2"),
        ("a: b: c", r"c\.yaml is not YAML: .*line 1"),
        ("a: \0", r"c\.yaml is not YAML: "),
    ],
    ids=["list", "text", "unclosed", "nested", "NUL"],
)
def test_file_that_is_no_mapping_is_refused(text: str, reason: str) -> None:
    """No handler can read settings from it."""
    with pytest.raises(InvalidArchive, match=reason):
        parse_model_config("c.yaml", text)
