"""Models on a TorchServe: its own workflows beside those of wfmgmt that has its models there."""

import statistics
from functools import partial

from benchmarks.torchserve.comparison import TORCHSERVE, WFMGMT, Comparison
from benchmarks.torchserve.contest import Contest, Server, Terms, alternate, register, wait_for_answer
from benchmarks.torchserve.load import TEXT, write_script
from benchmarks.wrk import Round, run_wrk

_WARM_UP_S, _TIMEOUT_S = 3, 30
#: The same archive in both; TorchServe's own workflow takes the name of the model.
_NAMES = {TORCHSERVE: "sequential", WFMGMT: "over"}


def over_torchserve(contest: Contest, terms: Terms) -> list[Comparison]:
    """Load the sequential example, its model on one and the same TorchServe, driven by it and by wfmgmt in turns."""
    script = write_script(contest.folder, TEXT)
    comparisons: list[Comparison] = []
    with contest.create_torchserve() as torchserve, contest.create_over(torchserve) as wfmgmt:
        servers: dict[str, Server] = {TORCHSERVE: torchserve, WFMGMT: wfmgmt}
        urls = {}
        for name, server in servers.items():
            register(server, "sequential", _NAMES[name])
            wait_for_answer(server, _NAMES[name])
            urls[server.inference] = f"{server.inference}/wfpredict/{_NAMES[name]}"
        for connections, times in ((1, None), (16, 3.0), (64, None)):

            def load(seconds: int, server: Server, connections: int = connections) -> Round:
                url = urls[server.inference]
                return run_wrk(url, seconds=seconds, connections=connections, script=script, timeout_s=_TIMEOUT_S)

            alternate(servers, 1, partial(load, _WARM_UP_S))
            measured = alternate(servers, terms.rounds, partial(load, terms.seconds))
            what = f"sequential, its model on the same TorchServe, {connections} connections"
            rates = {name: statistics.median(each.requests_per_s for each in of) for name, of in measured.items()}
            p50 = {name: statistics.median(each.p50_ms for each in of) for name, of in measured.items()}
            failed = {name: sum(each.failed + each.socket_errors for each in of) for name, of in measured.items()}
            comparisons += [
                Comparison(what=what, values=rates, unit="requests/s", is_rate=True, at_least_times=times),
                Comparison(what=f"{what}, p50", values=p50, unit="ms"),
                Comparison(what=f"{what}, failed answers", values=failed, unit="answers", at_most=0),
            ]
    return comparisons
