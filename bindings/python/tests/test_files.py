"""Files: reading and writing beneath a granted directory, and nowhere else."""

import os
from pathlib import Path
from typing import Any, Callable

import pytest

from authority_nanos import (
    AuthorityKernel,
    BufferOverflowError,
    InvalidArgumentError,
    NotFoundError,
    OperationDeniedError,
)


@pytest.fixture
def granted(ak: AuthorityKernel, tmp_path: Path) -> Path:
    root = tmp_path.resolve() / "granted"
    root.mkdir()
    (tmp_path / "secret.txt").write_text("secret")
    ak.load_policy(text=f'[fs]\nread = ["{root}/**"]\nwrite = ["{root}/**"]')
    return root


@pytest.mark.parametrize("data", [b"", b"\x00\xff", "text", bytearray(b"a"), memoryview(b"b"), b"x" * 1_000_000])
def test_a_written_file_is_read_back(ak: AuthorityKernel, granted: Path, data: Any) -> None:
    ak.file_write(granted / "file", data)
    expected = data.encode() if isinstance(data, str) else bytes(data)
    assert ak.file_read(str(granted / "file")) == expected == (granted / "file").read_bytes()


def test_list_stat_delete(ak: AuthorityKernel, granted: Path) -> None:
    (granted / "sub").mkdir()
    ak.file_write(granted / "a.txt", b"12345")
    assert [(entry["name"], entry["kind"]) for entry in ak.file_list(granted)] == [("a.txt", "file"), ("sub", "directory")]
    assert ak.file_stat(granted / "a.txt")["size"] == 5
    ak.file_delete(granted / "a.txt")
    assert not (granted / "a.txt").exists()
    for call in (ak.file_read, ak.file_stat, ak.file_delete):
        with pytest.raises(NotFoundError):
            call(granted / "a.txt")


def test_relative_paths_join_the_working_directory(
    ak: AuthorityKernel, granted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(granted)
    ak.file_write("here.txt", b"here")
    assert (granted / "here.txt").read_bytes() == b"here"
    with pytest.raises(OperationDeniedError):
        ak.file_read("../secret.txt")


def test_a_file_over_max_size_raises_buffer_overflow(ak: AuthorityKernel, granted: Path) -> None:
    ak.file_write(granted / "file", b"12345")
    assert ak.file_read(granted / "file", max_size=5) == b"12345"
    with pytest.raises(BufferOverflowError):
        ak.file_read(granted / "file", max_size=4)


def test_links_and_dots_do_not_lead_out_of_a_granted_directory(ak: AuthorityKernel, granted: Path) -> None:
    outside = granted.parent / "secret.txt"
    (granted / "link").symlink_to(outside)
    (granted / "directory").symlink_to(granted.parent)
    os.link(outside, granted / "hard")
    for path in (
        outside,
        f"{granted}/../secret.txt",
        f"{granted}/./.././secret.txt",
        f"{granted}//..//secret.txt",
        f"{granted}/link",
        f"{granted}/directory/secret.txt",
        "/proc/self/environ",
        "/proc/self/root/etc/passwd",
    ):
        with pytest.raises(OperationDeniedError):
            ak.file_read(path)
    for path in (outside, granted / "link", granted / "directory/secret.txt", granted / "hard"):
        with pytest.raises(OperationDeniedError):
            ak.file_write(path, b"overwritten")
    assert outside.read_text() == "secret"


@pytest.mark.parametrize("path", ["/tmp/a\0b", "\0", "", "/tmp/\ud800"])
def test_paths_without_canonical_form_are_refused(ak: AuthorityKernel, granted: Path, path: str) -> None:
    for call in (ak.file_read, ak.file_stat, ak.file_list, ak.file_delete, lambda path: ak.file_write(path, b"")):
        with pytest.raises(InvalidArgumentError):
            call(path)


def test_a_grant_to_read_does_not_permit_writing(ak: AuthorityKernel, granted: Path, denied: Callable[..., Any]) -> None:
    ak.load_policy(text=f'[fs]\nread = ["{granted}/**"]')
    (granted / "file").write_text("x")
    assert ak.file_read(granted / "file") == b"x"
    assert denied(lambda: ak.file_write(granted / "file", b"y")).op == "fs.write"
    denied(lambda: ak.file_delete(granted / "file"))


def test_the_kernels_own_files_are_denied(form: str, tmp_path: Path) -> None:
    if form != "embedded":
        pytest.skip("the daemon has no state directory here")
    root = tmp_path.resolve()
    policy = root / "policy.toml"
    policy.write_text(f'[fs]\nread = ["{root}/**"]\nwrite = ["{root}/**"]')
    with AuthorityKernel(state_dir=root / "state", policy=policy) as ak:
        ak.file_write(root / "other", b"fine")
        for path in [policy, *(path for path in (root / "state").rglob("*") if path.is_file())]:
            for call in (ak.file_read, ak.file_delete, lambda path: ak.file_write(path, b"")):
                with pytest.raises(OperationDeniedError):
                    call(path)


def test_mkdir_append_rename_glob(ak: AuthorityKernel, granted: Path) -> None:
    ak.file_mkdir(granted / "a" / "b", parents=True)
    with pytest.raises(NotFoundError):
        ak.file_mkdir(granted / "x" / "y")
    ak.file_append(granted / "a" / "b" / "log.txt", b"one ")
    ak.file_append(granted / "a" / "b" / "log.txt", "two")
    ak.file_rename(granted / "a" / "b" / "log.txt", granted / "a" / "kept.txt")
    assert (granted / "a" / "kept.txt").read_text() == "one two"
    assert ak.file_glob(granted / "**" / "*.txt") == [str(granted / "a" / "kept.txt")]
    assert ak.file_glob(f"{granted}/*", limit=1) == [str(granted / "a")]
    assert ak.file_glob(f"{granted}/*", limit=0) == []
    with pytest.raises(InvalidArgumentError, match="limit"):
        ak.file_glob(f"{granted}/*", limit=10_001)
    with pytest.raises(OperationDeniedError):
        ak.file_rename(granted / "a" / "kept.txt", granted.parent / "out.txt")
    with pytest.raises(OperationDeniedError):
        ak.file_glob(granted.parent / "*")
