"""Runs the code blocks of one Markdown page in order, in a directory of its own: ``python run_page.py PAGE DIRECTORY``.

The conventions stand in CONTRIBUTING.md. The first block that fails ends the run, and the error names its line.
"""

import os
import re
import subprocess
import sys
import traceback
from pathlib import Path
from typing import Any, Dict, Iterator, List, NamedTuple, Optional

ROOT = Path(__file__).resolve().parents[3]

#: Languages of blocks that are not run. Every other is run, or is an error.
PLAIN = {"", "text", "json", "c", "rust"}
NOT_RUN = re.compile(r"<!-- not run: (.+) -->")
#: Seconds that one shell block may take.
SHELL_SECONDS_MAX = 120


class Block(NamedTuple):
    line: int
    language: str
    #: The file that the block is written to, if any.
    file: Optional[str]
    text: str
    #: Why the block is not run, if it is not.
    not_run: Optional[str]


def blocks(page: Path) -> Iterator[Block]:
    """The fenced blocks of a page, in order."""
    lines = page.read_text().split("\n")
    at = 0
    while at < len(lines):
        fence = re.match(r"( *)(`{3,})(.*)", lines[at])
        if not fence:
            at += 1
            continue
        indent, ticks, info = len(fence[1]), fence[2], fence[3].split()
        end = next(n for n in range(at + 1, len(lines)) if lines[n].strip() == ticks)
        above = next((text for text in reversed(lines[:at]) if text.strip()), "")
        reason = NOT_RUN.fullmatch(above.strip())
        text = "\n".join(line[indent:] for line in lines[at + 1 : end]) + "\n"
        language, file = (info + ["", ""])[:2]
        assert len(info) <= 2, f"{page}:{at + 1}: a fence has a language and a file name at most"
        yield Block(at + 1, language, file or None, text, reason and reason[1])
        at = end + 1


def commands(block: Block) -> List[str]:
    """The commands of a shell block, without comments."""
    text = block.text.replace("\\\n", " ")
    if block.language == "console":
        text = "\n".join(line[2:] for line in text.split("\n") if line.startswith("$ "))
    lines = (re.sub(r"(^|\s)#.*", "", line).strip() for line in text.split("\n"))
    return [line for line in lines if line]


def check_xtask(line: str) -> None:
    """A command of this repository that takes too long to run exists."""
    name = line.split()[2]
    usage = subprocess.run(["cargo", "-q", "xtask"], cwd=ROOT, capture_output=True, text=True).stderr
    assert re.search(rf"^  {name}\b", usage, re.M), f"cargo xtask has no command {name!r}"


def shell(text: str) -> str:
    """What the commands print. Background processes do not keep the pipe open for long: they write to a file."""
    with open(".output", "w+") as output:
        run = subprocess.run(
            ["bash", "-eu", "-c", text], stdout=output, stderr=subprocess.STDOUT, timeout=SHELL_SECONDS_MAX, stdin=subprocess.DEVNULL
        )
        output.seek(0)
        printed = output.read()
    os.unlink(".output")
    assert run.returncode == 0, f"exit code {run.returncode}: {text}\n{printed}"
    return printed


def compare(expected: str, printed: str) -> None:
    """`…` stands for any text."""
    pattern = ".*?".join(map(re.escape, expected.strip().split("…")))
    assert re.fullmatch(pattern, printed.strip(), re.S), f"expected:\n{expected}\nprinted:\n{printed}"


def console(block: Block) -> None:
    """Each command, and what it prints. A command that is expected to fail ends with `; echo $?`."""
    for part in re.split(r"^\$ ", block.text, flags=re.M)[1:]:
        command, expected = [], []
        for line in part.rstrip("\n").split("\n"):
            continued = not command or command[-1].endswith("\\")
            (command if continued else expected).append(line)
        compare("\n".join(expected), shell("\n".join(command)))


def toml(block: Block) -> None:
    """A policy, a host configuration (`host*.toml`) or the manifest of a tool (`*.tool.toml`)."""
    from authority_nanos import AuthorityKernel

    name = block.file or ""
    if name.startswith("host"):
        AuthorityKernel(host_config=name).close()
        return
    with AuthorityKernel() as kernel:
        if name.endswith(".tool.toml"):
            kernel.register_tool(block.text, Path(name.replace(".tool.toml", ".wasm")).read_bytes())
        elif name:
            kernel.load_policy(name)
        else:
            Path(".policy.toml").write_text(block.text)
            kernel.load_policy(".policy.toml")


def run(page: Path, block: Block, names: Dict[str, Any]) -> None:
    if block.file:
        Path(block.file).write_text(block.text)
    if block.not_run:
        return
    if block.language == "python" and not block.file:
        exec(compile("\n" * block.line + block.text, str(page), "exec"), names)
    elif block.language == "toml":
        toml(block)
    elif block.language in ("sh", "console"):
        ours = [line for line in commands(block) if line.startswith("cargo xtask")]
        for line in ours:
            check_xtask(line)
        if ours:
            assert ours == commands(block), "commands of `cargo xtask` stand in a block of their own"
        elif block.language == "sh":
            shell(block.text)
        else:
            console(block)
    else:
        assert block.language in PLAIN | {"python"}, f"{block.language!r} is not a language of code blocks here"


def main() -> None:
    page, directory = Path(sys.argv[1]).resolve(), Path(sys.argv[2])
    os.chdir(directory)
    for entry in ROOT.iterdir():
        if not entry.name.startswith("."):
            Path(entry.name).symlink_to(entry)
    names: Dict[str, Any] = {"__name__": "page"}
    for block in blocks(page):
        try:
            run(page, block, names)
        except BaseException:
            traceback.print_exc()
            os._exit(print(f"{page}:{block.line}: the block fails", file=sys.stderr) or 1)
    # Kernels that the page left open are closed as those of any program are.


if __name__ == "__main__":
    main()
