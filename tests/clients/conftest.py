"""Real clients: programs of `programs/`, run by the Python of an environment of their own against a real server."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.patience import exit_status
from tests.serving import ROOT, Server

PYTHON = ROOT / "build" / "clients" / "bin" / "python"
PROGRAMS = Path(__file__).parent / "programs"
NOWHERE = "http://127.0.0.1:9"
"""A proxy that nobody answers at: whatever a client sends elsewhere than to this machine fails at once."""
PROXIES = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"), NOWHERE)
ENVIRONMENT = {
    **PROXIES,
    **dict.fromkeys(("NO_PROXY", "no_proxy"), "127.0.0.1,localhost"),
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",  # it would fetch a list of prices as it is imported
    "PYTHONDONTWRITEBYTECODE": "1",
}


@pytest.fixture(scope="session")
def clients_python() -> Path:
    """The Python that has the clients."""
    if not (PYTHON.parent.parent / ".installed").exists():
        pytest.skip("the real clients are not installed; run `make clients`")
    return PYTHON


@pytest.fixture
def run_client(clients_python: Path, tmp_path: Path) -> Callable[..., Any]:
    """Runs a program against a server; gives what it prints as JSON: `run_client("openai_sync", server, key="k")`.

    The program finds the server's address in BASE_URL, the key in KEY, and what else is given here under its name.
    """

    def run(program: str, server: Server, key: str = "", **environment: str) -> Any:
        address = {"BASE_URL": f"http://127.0.0.1:{server.port}", "KEY": key}
        home = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}  # and not the settings of whoever runs the tests
        printed, told = tmp_path / f"{program}.out", tmp_path / f"{program}.err"
        with printed.open("wb") as out, told.open("wb") as err:
            command = [clients_python, PROGRAMS / f"{program}.py"]
            variables = home | ENVIRONMENT | address | environment
            process = subprocess.Popen(command, cwd=tmp_path, env=variables, stdout=out, stderr=err)
            status = exit_status(process, alone=False)  # it waits while the server draws
        assert status == 0, told.read_text() + printed.read_text()
        return json.loads(printed.read_text())

    return run
