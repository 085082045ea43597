"""Kernels for the tests: each test that takes ``ak`` runs on an embedded kernel, and on a daemon's where the
variable AK_BIN names the program ``ak``."""

import os
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Callable, Iterator

import pytest

from authority_nanos import AuthorityKernel

FORMS = ["embedded", "socket"] if os.environ.get("AK_BIN") else ["embedded"]


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(("AK_URL", "AK_POLICY", "AK_STATE_DIR", "AK_TOKEN_FILE", "AK_HOST_CONFIG", "AK_INFER_", "OPENAI_")):
            monkeypatch.delenv(name)


@contextmanager
def daemon(directory: Path, *options: str) -> Iterator[None]:
    """Runs ``ak serve``. Meanwhile AK_URL and AK_TOKEN_FILE name this daemon and its owner's token."""
    socket, token = directory / "ak.sock", directory / "token"
    command = [os.environ["AK_BIN"], "serve", "--socket", str(socket), "--token-file", str(token), *options]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        assert process.stderr.readline().strip() == f"listening on unix:{socket}"
        with pytest.MonkeyPatch.context() as environment:
            environment.setenv("AK_URL", f"unix://{socket}")
            environment.setenv("AK_TOKEN_FILE", str(token))
            yield
    finally:
        process.terminate()
        process.wait()


@pytest.fixture(params=FORMS)
def form(request: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The form of the kernel that ``AuthorityKernel()`` opens."""
    if request.param == "embedded":
        yield request.param
    else:
        with daemon(tmp_path_factory.mktemp("daemon")):
            yield request.param


@pytest.fixture
def ak(form: str) -> Iterator[AuthorityKernel]:
    with AuthorityKernel() as kernel:
        yield kernel


@pytest.fixture
def denied() -> Callable[..., Any]:
    """Asserts that a call is denied, and returns the denial."""
    from authority_nanos import OperationDeniedError

    def check(call: Callable[[], Any]) -> Any:
        with pytest.raises(OperationDeniedError) as raised:
            call()
        assert raised.value.denial is not None
        return raised.value.denial

    return check


def wait_until(condition: Callable[[], bool], seconds: float = 5.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)
