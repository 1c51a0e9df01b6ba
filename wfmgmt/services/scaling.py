"""Settings of nodes while they run: worker counts, batches, time-outs and retries, over those of the spec."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from wfmgmt.domain.audit import AuditAction, AuditEvent, AuditOutcome
from wfmgmt.domain.plans import Plan, PlanAction, changes
from wfmgmt.domain.releases import WorkflowTarget
from wfmgmt.domain.workflow import LoadRequest, Node, NodeKind, NodeSettings
from wfmgmt.errors import BadRequest, NodeNotFound, VersionNotFound, WorkflowNotFound
from wfmgmt.registry.reading import Reader
from wfmgmt.registry.registry import Registry
from wfmgmt.registry.writing import Writer
from wfmgmt.services.changes import Change
from wfmgmt.services.enforcement import REACH_S, Enforcement
from wfmgmt.services.planning import workers_of
from wfmgmt.services.worker_counts import WORKER_COUNTS, CountChange, WorkerCounts, counts, differing, override


@dataclass(frozen=True, slots=True, kw_only=True)
class Scaled:
    """New settings of nodes of one version.

    Attributes:
        name: Of the workflow.
        version: The version.
        revision: The workflow's revision.
        is_changed: Whether any setting differs from before.
        operation: Identity of the operation that brings worker counts into force, which takes a while; empty without.
        min_workers: Workers that each of the nodes has at least; of the one that has most.
        is_awaited: Whether the client waits for the workers.
        is_reached: Whether the settings are in force.
        problem: Why they are not, as far as is known; empty else.
    """

    name: str
    version: str
    revision: int
    is_changed: bool
    min_workers: int
    is_awaited: bool
    operation: str = ""
    is_reached: bool = False
    problem: str = ""


#: Works out new settings of nodes, by name, from the nodes as they are and from their settings in the spec.
_Rule = Callable[[LoadRequest, Mapping[str, NodeSettings]], Mapping[str, NodeSettings]]


class Scaling:
    """Changes settings of nodes; a dry run returns a plan. Thread-safe.

    A change of worker counts is written at once, with the operation that follows it until the workers are up. What
    holds already, and is not in force yet, has the operation that is at work on it.

    Args:
        registry: The registry.
        enforcement: Brings the settings into force.
        worker_counts: Follows those that take a while.
    """

    def __init__(self, *, registry: Registry, enforcement: Enforcement, worker_counts: WorkerCounts) -> None:
        self._registry = registry
        self._worker_counts = worker_counts
        self._enforcement = enforcement

    def scale(
        self, name: str, version: str | None, counts: Mapping[str, int], change: Change, *, wait_s: float | None
    ) -> Scaled | Plan:
        """Change how many workers each model node of a version has.

        Args:
            name: Of the workflow.
            version: The version; the default one when None.
            counts: New values of `min_workers` and `max_workers`; what is not there stays.
            change: Who asks.
            wait_s: How long to wait for the workers; None when the client does not.

        Raises:
            WorkflowNotFound, VersionNotFound: There is no such thing.
            BadRequest: No node is a model, or there would be fewer workers at most than at least.
            PreconditionFailed, StalePlan: The workflow has changed.
        """

        def rule(request: LoadRequest, _spec: Mapping[str, NodeSettings]) -> Mapping[str, NodeSettings]:
            models = [node for node in request.nodes if node.kind is NodeKind.MODEL]
            if not models:
                raise BadRequest(f"Workflow {name} has no model whose workers could be scaled.")
            return {node.name: _changed(node, counts) for node in models}

        order = _Order(name=name, version=version, action=AuditAction.SCALE, change=change, rule=rule)
        return self._change(order, wait_s=wait_s)

    def update(
        self,
        name: str,
        version: str | None,
        node: str,
        settings: Mapping[str, int],
        change: Change,
        *,
        wait_s: float | None,
    ) -> Scaled | Plan:
        """Change settings of one node.

        Raises:
            WfmgmtError: As `scale`, or `NodeNotFound`.
        """

        def rule(request: LoadRequest, _spec: Mapping[str, NodeSettings]) -> Mapping[str, NodeSettings]:
            return {node: _changed(_node(request, node), settings)}

        order = _Order(
            name=name,
            version=version,
            action=AuditAction.UPDATE,
            change=change,
            rule=rule,
            has_counts=not settings.keys().isdisjoint(WORKER_COUNTS),
        )
        return self._change(order, wait_s=wait_s)

    def reset(self, name: str, version: str | None, node: str, change: Change) -> Scaled | Plan:
        """Give one node the settings of its spec back.

        Raises:
            WfmgmtError: As `update`.
        """

        def rule(request: LoadRequest, spec: Mapping[str, NodeSettings]) -> Mapping[str, NodeSettings]:
            return {node: spec[_node(request, node).name]}

        order = _Order(name=name, version=version, action=AuditAction.RESET, change=change, rule=rule)
        return self._change(order, wait_s=REACH_S)

    def declare(self, name: str, version: str, settings: Mapping[str, Mapping[str, int]], change: Change) -> None:
        """Give all nodes of a version the settings of its spec but for those that are declared.

        Args:
            name: Of the workflow.
            version: The version.
            settings: What nodes have instead, by the fields of `NodeSettings`; nodes that it does not have are ignored.
            change: Who asks.

        Raises:
            WfmgmtError: As `update`.
        """

        def rule(request: LoadRequest, spec: Mapping[str, NodeSettings]) -> Mapping[str, NodeSettings]:
            return {
                node.name: checked(replace(spec[node.name], **settings.get(node.name, {}))) for node in request.nodes
            }

        order = _Order(name=name, version=version, action=AuditAction.UPDATE, change=change, rule=rule)
        self._change(order, wait_s=None)

    def _change(self, order: "_Order", *, wait_s: float | None) -> Scaled | Plan:
        if order.change.dry_run:
            with self._registry.read() as reader:
                return _look(reader, order).plan
        with self._registry.write() as writer:
            found = _look(writer, order)
            if found.settings:
                _write(writer, found, order)
            scaled = Scaled(
                name=order.name,
                version=found.request.version,
                revision=writer.revision(order.name) or 0,
                is_changed=bool(found.settings),
                min_workers=found.min_workers,
                is_awaited=wait_s is not None,
                operation=self._operation(writer, found, order, wait_s or 0.0),
            )
            order.change.on_made(writer, scaled)
        report = self._enforcement.pursue(found.target, scaled.revision, wait_s=wait_s or 0.0)
        if report.reached and scaled.operation and scaled.is_awaited:
            self._worker_counts.on_reached(scaled.operation)
        if not report.reached and not scaled.operation and order.has_counts and not found.settings:
            # They hold already, but the operation that was to bring them into force has failed.
            with self._registry.write() as writer:
                scaled = replace(scaled, operation=self._follow(writer, found, order, found.nodes, wait_s or 0.0))
        return replace(scaled, is_reached=report.reached, problem=report.problem)

    def _operation(self, writer: Writer, found: "_Found", order: "_Order", wait_s: float) -> str:
        """Return the operation that brings worker counts into force: a new one if they differ, else one at work."""
        differ = frozenset(
            node
            for node, settings in found.settings.items()
            if not set(WORKER_COUNTS).isdisjoint(differing(found.now[node], settings))
        )
        if differ:
            return self._follow(writer, found, order, differ, wait_s)
        if not order.has_counts or found.settings:
            return ""
        at_work = writer.operations.scaling(order.name, found.request.version)
        return next((each.uid for each in at_work if not found.nodes.isdisjoint(each.request["after"])), "")

    def _follow(self, writer: Writer, found: "_Found", order: "_Order", nodes: frozenset[str], wait_s: float) -> str:
        """Record the operation that brings the worker counts of nodes into force."""
        change = CountChange(
            uid=found.request.uid,
            revision=writer.revision(order.name) or 0,
            wait_s=max(wait_s, found.request.startup_timeout_s),
            before={node: counts(found.now[node]) for node in nodes},
            after={node: counts(found.settings.get(node, found.now[node])) for node in nodes},
        )
        return self._worker_counts.accept(writer, change, order.name, found.request.version, order.change)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Order:
    """A change of settings that was asked for.

    Attributes:
        name: Of the workflow.
        version: The version; the default one when None.
        action: What the audit trail calls it.
        change: Who asks, and under which conditions.
        rule: Works out the settings.
        has_counts: Whether worker counts may be among them.
    """

    name: str
    version: str | None
    action: AuditAction
    change: Change
    rule: _Rule
    has_counts: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """What is to be changed.

    Attributes:
        target: The workflow.
        request: The version as it is.
        nodes: Names of its nodes that are meant.
        min_workers: Workers that each of these will have at least.
        settings: New settings of nodes, by name, where they differ.
        plan: What that changes.
    """

    target: WorkflowTarget
    request: LoadRequest
    nodes: frozenset[str]
    min_workers: int
    settings: Mapping[str, NodeSettings]
    plan: Plan

    @property
    def now(self) -> Mapping[str, NodeSettings]:
        """Settings of all nodes as they are, by name."""
        return {node.name: node.settings for node in self.request.nodes}


def _look(reader: Reader, order: _Order) -> _Found:
    """Return what is to be changed, after all checks."""
    target = reader.target(order.name)
    if target is None or target.release is None:
        raise WorkflowNotFound(order.name)
    version = order.version or target.release.table.default or ""
    if version not in target.versions:
        raise VersionNotFound(order.name, version)
    order.change.check(reader, order.name)
    (request,) = reader.load_requests([target.versions[version]])
    spec = reader.spec_settings(request.uid)
    wanted = order.rule(request, spec)
    nodes = {node.name: node for node in request.nodes}
    settings = {node: each for node, each in wanted.items() if each != nodes[node].settings}
    minimum = max(each.min_workers for each in wanted.values())
    plan = _plan(reader, target, request, settings, is_reset=order.action is AuditAction.RESET)
    order.change.check_plan(plan)
    return _Found(
        target=target,
        request=request,
        nodes=frozenset(wanted),
        min_workers=minimum,
        settings=settings,
        plan=plan,
    )


def _plan(
    reader: Reader,
    target: WorkflowTarget,
    request: LoadRequest,
    settings: Mapping[str, NodeSettings],
    *,
    is_reset: bool,
) -> Plan:
    nodes = {node.name: node.settings for node in request.nodes}
    table = target.release.table if target.release else None
    workers = 0 if table is None else workers_of(reader, target, table.versions)
    is_routed = table is not None and request.version in table.versions
    more = sum(each.min_workers - nodes[node].min_workers for node, each in settings.items()) if is_routed else 0
    weights = {} if table is None else table.weights
    kind = PlanAction.RESET if is_reset else PlanAction.UPDATE
    return Plan(
        action=kind if settings else PlanAction.NONE,
        workflow=target.name,
        version=request.version,
        uid=target.uid,
        revision=target.revision,
        changes=changes(
            {"nodes": {node: nodes[node].by_api_name() for node in settings}},
            {"nodes": {node: each.by_api_name() for node, each in settings.items()}},
        ),
        workers_now=workers,
        workers_after=workers + more,
        routes_before=weights,
        routes_after=weights,
    )


def _node(request: LoadRequest, name: str) -> Node:
    node = next((node for node in request.nodes if node.name == name), None)
    if node is None:
        raise NodeNotFound(request.workflow, request.version, name)
    return node


def _changed(node: Node, values: Mapping[str, int]) -> NodeSettings:
    return checked(replace(node.settings, **values))


def checked(settings: NodeSettings) -> NodeSettings:
    """Return settings unchanged.

    Raises:
        BadRequest: There would be fewer workers at most than at least.
    """
    if settings.max_workers < settings.min_workers:
        raise BadRequest("max_worker cannot be less than min_worker.")
    return settings


def _write(writer: Writer, found: _Found, order: _Order) -> None:
    """Write new settings, as far as they are not the spec's, and the audit event about them."""
    change = order.change
    override(writer, found.request.uid, found.now, found.settings, actor=change.origin.actor)
    writer.revise(found.target.name)
    writer.record(
        AuditEvent(
            origin=change.origin,
            action=order.action,
            workflow=found.target.name,
            outcome=AuditOutcome.SUCCEEDED,
            detail={
                "version": found.request.version,
                "changes": [each.json() for each in found.plan.changes],
                **change.stated_reason,
            },
        )
    )
