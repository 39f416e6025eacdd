"""A device that is not there: the server answers all the same, and tells why nothing is drawn and what would do."""

import re

import torch

from engine.gpu.capabilities import no_such_device

MISSING = next(f"{kind}:3" for kind in ("xpu", "cuda") if not getattr(torch, kind).is_available())


def test_a_device_that_is_not_there_is_told_of_in_the_log_and_by_ready(make_server):
    server = make_server(FOOOCUS_DEVICE=MISSING)
    there = torch.accelerator.current_accelerator(check_available=True)
    problem = no_such_device(MISSING, there.type if there else "", torch.accelerator.device_count())
    server.said(re.escape(f"Nothing can be drawn: {problem}. It is tried again every 30 s"))
    reply = server.get("/ready")
    assert (reply.status, reply.json["ready"], reply.json["state"]) == (503, False, "unusable")
    assert reply.json["problem"] == problem and reply.json["lanes"][0]["state"] == "unusable"
    assert server.get("/health").status == 200 and not any("Traceback" in line for line in server.lines)
    task_id = server.submit()
    server.environment["FOOOCUS_DEVICE"] = "cpu"
    server.stop()
    server.start()
    assert server.ready().ended(task_id)["task_status"] == "finished"
    assert "problem" not in server.get("/ready").json
