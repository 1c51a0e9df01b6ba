"""Workflows that tell what they are given, or do what the body of a request says."""

from tests.support.factories import make_mar, make_war
from tests.support.service import CHECKOUT, Service

#: Tells what it was given.
TELLING = """
def tell(data, context):
    return data and [
        {
            "fields": {name: value if isinstance(value, (str, dict, list)) else [type(value).__name__, value.hex()]
                       for name, value in row.items()},
            "headers": context.get_all_request_header(index),
            "request_id": context.get_request_id(index),
            "manifest": context.manifest,
            "model_name": context.model_name,
        }
        for index, row in enumerate(data)
    ]
"""
#: Does what the body says, at the node that the body names.
OBEDIENT = """
import ctypes, json, os, time

def obey(node, data, context):
    if data is None:
        return None
    return [obey_one(node, row, index, context) for index, row in enumerate(data)]

def obey_one(node, row, index, context):
    body = bytes(row["body"])
    where, _, order = body.decode().partition(":")
    if where != node:
        return body
    if order == "raise":
        raise ValueError(f"cannot read {__file__}")
    if order == "paths":
        raise FileNotFoundError(2, "gone", f"{row_gate()} {CHECKOUT}/app.py {os.path.expanduser('~')}/x /srv/data/x")
    if order == "exit":
        os._exit(3)
    if order == "sleep":
        time.sleep(1.5)  # A slow model.
    if order == "wait":
        while not os.path.exists(row_gate()):
            time.sleep(0.01)  # Between looks at the gate.
        return "waited"
    if order == "status":
        context.set_response_status(418, "", index)
        context.set_response_content_type(index, "text/plain")
        context.set_response_header(index, "X-Teapot", "yes")
        return "short and stout"
    if order == "created":
        context.set_response_status(201, "", index)
    if order == "empty":
        context.set_response_status(204, "", index)
        return b""
    if order == "count":
        context.metrics.add_counter("seen", 1)
    return body

def row_gate():
    return os.environ["WFMGMT_INSTANCE"] + "/gate"
"""
FUNCTIONS = OBEDIENT + "\ndef first(data, context): return obey('first', data, context)\n"
FUNCTIONS += "\ndef last(data, context): return obey('last', data, context)\n"
MODEL = (
    f"CHECKOUT = {str(CHECKOUT)!r}\n{OBEDIENT}" + "\ndef handle(data, context): return obey('model', data, context)\n"
)
OBEDIENT_SPEC = """\
models:
  max-workers: 1
  timeout-ms: 1000
  retry-attempts: 1
  model: {url: obedient.mar}
dag:
  first: [model]
  model: [last]
"""
PATIENT_SPEC = "models: {model: {url: obedient.mar, timeout-ms: 60000, retry-attempts: 0}}\ndag: {model: []}\n"
BRANCHES = """
import time

def start(data, context):
    return data and [row["body"] for row in data]

def object_leaf(data, context):
    return data and [{"length": len(row["body"])} for row in data]

def text_leaf(data, context):
    return data and ["plain text" for row in data]

def bytes_leaf(data, context):
    return data and [b"\\xff\\xfe" for row in data]

def join(data, context):
    return data and [{name: bytes(value).decode("latin-1") for name, value in row.items()} for row in data]
"""
BATCH_MODEL = """
def handle(data, context):
    return data and [f"{row['body'].decode()} of {len(data)}" for row in data]
"""
#: Two functions that end when both have begun.
MEETING = """
import os, time

def start(data, context):
    return data and [row["body"] for row in data]

def left(data, context):
    return meet(data, "left", "right")

def right(data, context):
    return meet(data, "right", "left")

def meet(data, me, other):
    if data is None:
        return None
    open(FOLDER + me + ".here", "w").close()
    while not os.path.exists(FOLDER + other + ".here"):
        time.sleep(0.01)  # Between looks for the other one.
    return ["met"]
"""
JOIN_SPEC = "dag: {start: [object_leaf, text_leaf], object_leaf: [join], text_leaf: [join]}\n"


def register_obedient_workflows(service: Service) -> None:
    """Register all of them."""
    war, mar = service.workflow_store, service.model_store
    make_mar(mar, name="obedient", source=MODEL)
    make_mar(mar, name="batch", source=BATCH_MODEL)
    make_war(war, name="tell", spec="dag: {tell: []}\n", handler=TELLING)
    make_war(war, name="obedient", spec=OBEDIENT_SPEC, handler=FUNCTIONS)
    make_war(war, name="patient", spec=PATIENT_SPEC, handler=None)
    make_war(war, name="join", spec=JOIN_SPEC, handler=BRANCHES)
    make_war(war, name="leaves", spec="dag: {start: [object_leaf, text_leaf, bytes_leaf]}\n", handler=BRANCHES)
    make_war(war, name="meet", spec="dag: {start: [left, right]}\n", handler=MEETING.replace("FOLDER", repr(f"{war}/")))
    batch = "models: {batch: {url: batch.mar, batch-size: 3, max-batch-delay: 5000}}\ndag: {batch: []}\n"
    make_war(war, name="batch", spec=batch, handler=None)
    for name in ("tell", "obedient", "patient", "join", "leaves", "meet", "batch"):
        answer = service.register(f"{name}.war")
        assert answer.status_code == 200, answer.text
