"""The settings of a node, which are listed once, and their names outside."""

from wfmgmt.domain.workflow import SETTINGS, WORKFLOW_SETTINGS, NodeSettings


def test_settings_have_the_names_of_specs_and_answers() -> None:
    """A name that changes breaks every spec, or every client."""
    assert [(setting.field, setting.key, setting.api_name) for setting in SETTINGS] == [
        ("min_workers", "min-workers", "minWorkers"),
        ("max_workers", "max-workers", "maxWorkers"),
        ("batch_size", "batch-size", "batchSize"),
        ("max_batch_delay_ms", "max-batch-delay", "maxBatchDelay"),
        ("retry_attempts", "retry-attempts", "retryAttempts"),
        ("timeout_ms", "timeout-ms", "timeoutMs"),
    ]
    assert WORKFLOW_SETTINGS == ("minWorkers", "maxWorkers", "batchSize", "maxBatchDelay")


def test_defaults_are_within_their_bounds() -> None:
    """A default that is written into a spec is accepted there."""
    for setting in SETTINGS:
        assert setting.low <= getattr(NodeSettings(), setting.field) <= setting.high
