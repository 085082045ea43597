"""The forms of the kernel: the same session gives the same replies in each, and each journal, replayed on a host
and on bare metal, gives its own leaf hash.

AK_BIN names the program ``ak``, AK_LIB the library ``libak``, AK_IMAGE the bare-metal image; `cargo xtask test` sets them.
"""

import ctypes
import json
import os
import subprocess
from pathlib import Path
from typing import Any, Dict, List, Tuple

import pytest
from conftest import daemon
from session import play, through

from authority_nanos import AuthorityKernel

Replies = List[Tuple[int, bytes]]

needs_ak = pytest.mark.skipif("AK_BIN" not in os.environ, reason="AK_BIN names no `ak`")
needs_libak = pytest.mark.skipif("AK_LIB" not in os.environ, reason="AK_LIB names no `libak`")
needs_image = pytest.mark.skipif("AK_IMAGE" not in os.environ, reason="AK_IMAGE names no image")


def embedded(state: Path) -> Replies:
    with AuthorityKernel(state_dir=state) as ak:
        return play(through(ak))


def over_a_socket(state: Path) -> Replies:
    with daemon(state.parent, "--state-dir", str(state)), AuthorityKernel() as ak:
        return play(through(ak))


def through_c(state: Path) -> Replies:
    ak = ctypes.CDLL(os.environ["AK_LIB"])
    ak.ak_call.argtypes = [ctypes.c_void_p, ctypes.c_uint16, ctypes.c_char_p, ctypes.POINTER(ctypes.c_void_p)]
    ak.ak_free.argtypes = ak.ak_shutdown.argtypes = [ctypes.c_void_p]
    session, reply = ctypes.c_void_p(), ctypes.c_void_p()
    options = json.dumps({"state_dir": str(state)}).encode()
    assert ak.ak_init(options, ctypes.byref(session), ctypes.byref(reply)) == 0

    def call(operation: int, args: Dict[str, Any]) -> Tuple[int, bytes]:
        code = ak.ak_call(session, operation, json.dumps(args).encode(), ctypes.byref(reply))
        outcome = json.loads(ctypes.string_at(reply.value or 0))
        ak.ak_free(reply)
        return code, json.dumps(outcome["result" if outcome["ok"] else "error"]).encode()

    replies = play(call)
    ak.ak_shutdown(session)
    return replies


FORMS = {
    "embedded": embedded,
    "socket": over_a_socket,
    "c": through_c,
}
MARKS = {"embedded": [], "socket": [needs_ak], "c": [needs_libak]}
ALL = [pytest.param(name, marks=MARKS[name]) for name in FORMS]  # type: ignore[arg-type]


def without_time_and_ids(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_time_and_ids(each) for key, each in value.items() if key not in ("timestamp", "trace_id")}
    return [without_time_and_ids(each) for each in value] if isinstance(value, list) else value


@pytest.mark.parametrize("name", ALL)
def test_every_form_gives_the_same_replies(name: str, tmp_path: Path) -> None:
    def comparable(replies: Replies) -> Any:
        return [(code, without_time_and_ids(json.loads(result))) for code, result in replies]

    assert comparable(FORMS[name](tmp_path / "state")) == comparable(embedded(tmp_path / "embedded"))


def replay(journal: Path, *options: str) -> str:
    command = [os.environ["AK_BIN"], "replay", "--replies", "--rerun-tools", *options, str(journal)]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


@needs_ak
@needs_image
@pytest.mark.parametrize("name", ALL)
def test_every_journal_gives_the_same_on_bare_metal(name: str, tmp_path: Path) -> None:
    FORMS[name](tmp_path / "state")
    host = replay(tmp_path / "state", "--export", str(tmp_path / "journal"))
    assert replay(tmp_path / "journal") == host
    metal = subprocess.run(
        [
            *("qemu-system-x86_64", "-M", "microvm,acpi=off", "-accel", "tcg", "-cpu", "max", "-m", "512"),
            *("-nodefaults", "-nographic", "-no-reboot", "-serial", "stdio"),
            *("-device", "isa-debug-exit,iobase=0xf4,iosize=0x04"),
            *("-kernel", os.environ["AK_IMAGE"], "-initrd", str(tmp_path / "journal")),
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        timeout=300,
    )
    assert metal.stdout.decode().replace("\r\n", "\n") == host
    assert metal.returncode == 33
