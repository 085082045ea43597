"""Every code block of every page runs, and no page names a command that does not exist."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import List

import pytest
from run_page import PLAIN, ROOT, blocks, commands

PAGES = [
    page
    for page in sorted(ROOT.rglob("*.md"))
    if not {"target", "node_modules", ".git"} & set(page.relative_to(ROOT).parts)
]
RUNNING = [page for page in PAGES if any(block.language not in PLAIN for block in blocks(page))]
needs_ak = pytest.mark.skipif("AK_BIN" not in os.environ, reason="AK_BIN names no `ak`")
#: Seconds that a page may take.
PAGE_SECONDS_MAX = 300
#: What a block that does not run may not hold.
OURS = re.compile(r"authority_nanos|AuthorityKernel|(?m:^(?:\$ )?ak )")


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


@needs_ak
@pytest.mark.parametrize("page", RUNNING, ids=name)
def test_the_blocks_of_a_page_run(page: Path, tmp_path: Path) -> None:
    binaries = tmp_path / "bin"
    binaries.mkdir()
    (binaries / "ak").symlink_to(os.environ["AK_BIN"])
    # A symbolic link would lead Python out of its environment.
    (binaries / "python").write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    (binaries / "python").chmod(0o755)
    directory = tmp_path / "page"
    directory.mkdir()
    kept = {key: os.environ[key] for key in ("CARGO_HOME", "RUSTUP_HOME", "LANG", "VIRTUAL_ENV") if key in os.environ}
    home = os.environ.get("HOME", "")
    kept.setdefault("CARGO_HOME", f"{home}/.cargo")
    kept.setdefault("RUSTUP_HOME", f"{home}/.rustup")
    path = f"{binaries}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    running = subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("run_page.py")), str(page), str(directory)],
        env={**kept, "PATH": path, "HOME": str(directory)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        printed, _ = running.communicate(timeout=PAGE_SECONDS_MAX)
        assert running.returncode == 0, printed
    finally:
        try:
            os.killpg(running.pid, signal.SIGKILL)  # servers that the page started
        except ProcessLookupError:
            pass


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_a_block_that_does_not_run_says_why_and_is_not_ours(page: Path) -> None:
    for block in blocks(page):
        where = f"{name(page)}:{block.line}"
        assert block.language != "bash", f"{where}: write sh"
        if block.not_run:
            print(f"{where} does not run: {block.not_run}")
            assert not OURS.search(block.text), f"{where} does not run, and holds a command or API of ours"
        if block.language == "rust":
            library = page.parent / "src" / "lib.rs"
            included = page.name == "README.md" and library.exists() and 'include_str!("../README.md")' in library.read_text()
            assert included, f"{where}: no doctest includes this page"
        if block.language in ("text", "json", ""):
            assert "import authority_nanos" not in block.text, f"{where}: Python in a block that does not run"


def subcommands() -> List[str]:
    help_text = subprocess.run([os.environ["AK_BIN"], "--help"], capture_output=True, text=True).stdout
    return re.findall(r"^  (\w+) ", help_text, re.M)


@needs_ak
def test_commands_that_the_prose_names_exist() -> None:
    usage = subprocess.run(["cargo", "-q", "xtask"], cwd=ROOT, capture_output=True, text=True).stderr
    known = {"ak": set(subcommands()), "cargo xtask": set(re.findall(r"^  (\w+)", usage, re.M))}
    assert "serve" in known["ak"] and "demo" in known["cargo xtask"]
    for page in PAGES:
        if page.name == "CHANGELOG.md" or "decisions" in page.parts:
            continue  # these tell of what was
        for spelled, found in re.findall(r"`(ak|cargo xtask) ([a-z]\w*)", page.read_text()):
            assert found in known[spelled], f"{name(page)}: there is no `{spelled} {found}`"
        for block in blocks(page):
            for line in commands(block) if block.language in ("sh", "console") else []:
                named = re.match(r"(ak|cargo xtask) ([a-z]\w*)", line)
                assert not named or named[2] in known[named[1]], f"{name(page)}:{block.line}: {line}"
