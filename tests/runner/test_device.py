"""A device that is not there: the server answers all the same, and tells why nothing is drawn and what would do."""

import base64
import io
import re

import torch
from PIL import Image

from engine.gpu.capabilities import no_such_device

MISSING = next(f"{kind}:3" for kind in ("xpu", "cuda") if not getattr(torch, kind).is_available())


def a_picture():
    """A small one, in base64."""
    Image.new("RGB", (8, 8), "red").save(out := io.BytesIO(), "PNG")
    return base64.b64encode(out.getvalue()).decode()


def test_a_device_that_is_not_there_is_told_of_in_the_log_and_by_ready(make_server):
    server = make_server(FOOOCUS_DEVICE=MISSING)
    there = torch.accelerator.current_accelerator(check_available=True)
    problem = no_such_device(MISSING, there.type if there else "", torch.accelerator.device_count())
    server.said(re.escape(f"The lane 0 cannot draw: {problem}. It is tried again every 30 s"))
    reply = server.get("/ready")
    assert (reply.status, reply.json["ready"], reply.json["state"]) == (503, False, "unusable")
    assert reply.json["problem"] == problem and reply.json["lanes"][0]["state"] == "unusable"
    assert server.get("/health").status == 200 and not any("Traceback" in line for line in server.lines)
    refused = server.ask("POST", "/v1/tools/describe-image", {"image": a_picture()})
    assert (refused.status, refused.json["detail"]) == (503, problem)
    task_id = server.submit()
    server.environment["FOOOCUS_DEVICE"] = "cpu"
    server.stop()
    server.start()
    assert server.ready().ended(task_id)["task_status"] == "finished"
    assert "problem" not in server.get("/ready").json
