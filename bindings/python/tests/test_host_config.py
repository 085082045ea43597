"""The host configuration: models, secrets, and protection of the file itself."""

import json
from pathlib import Path
from typing import Any, Iterator

import pytest
from web import Echo, Model, serve

from authority_nanos import AuthorityKernel, LibakError, OperationDeniedError

TOKEN = "a-token-that-nobody-sees"


@pytest.fixture
def web() -> Iterator[Any]:
    with serve(Echo) as server:
        yield server


def test_models_are_routed_by_name(tmp_path: Path) -> None:
    with serve(Model) as one, serve(Model) as other:
        config = tmp_path / "host.toml"
        (tmp_path / "key").write_text("the-key-of-one\n")
        config.write_text(
            f"""
            [[model]]
            match = "tiny*"
            url = "http://127.0.0.1:{one.server_port}/v1"
            key = "file:key"
            name = "small"
            [[model]]
            match = "*"
            url = "http://127.0.0.1:{other.server_port}/v1"
            """
        )
        with AuthorityKernel(host_config=config) as ak:
            ak.load_policy(text='[infer]\nmodels = ["*"]')
            ak.inference("tiny-1", "count", max_tokens=1)
            ak.inference("large", "count", max_tokens=1)
        (headers, _, request), (plain, _, unnamed) = one.asked[0], other.asked[0]
        assert headers["authorization"] == "Bearer the-key-of-one" and request["model"] == "small"
        assert "authorization" not in plain and unnamed["model"] == "large"


def test_a_secret_is_sent_and_never_shown_to_agents(tmp_path: Path, web: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AK_TEST_TOKEN", TOKEN)
    address = f"127.0.0.1:{web.server_port}"
    config = tmp_path / "host.toml"
    config.write_text(
        f"""
        [secret.web]
        from = "env:AK_TEST_TOKEN"
        to = ["http://{address}/mine/**"]
        in = ["header:X-Test"]
        """
    )
    monkeypatch.setenv("AK_HOST_CONFIG", str(config))
    with AuthorityKernel() as ak:
        ak.load_policy(text=f'[http]\nallow = ["GET http://{address}/**"]\n[net]\nconnect = ["ip:{address}"]')
        answer = json.loads(ak.http_request("GET", f"http://{address}/mine/x", headers={"X-Test": "secret://web"}))
        assert answer["x"] == ["secret://web"], "the echo is cut"
        web.asked.clear()
        with pytest.raises(OperationDeniedError):
            ak.http_request("GET", f"http://{address}/other", headers={"X-Test": "secret://web"})
        assert web.asked == []
        assert not any(TOKEN.encode() in entry for entry in ak.audit_logs())


def test_agents_cannot_reach_the_host_configuration(tmp_path: Path) -> None:
    config = tmp_path / "host.toml"
    config.write_text('protect = ["closed"]')
    (tmp_path / "closed").write_text("closed")
    (tmp_path / "open").write_text("open")
    (tmp_path / "policy.toml").write_text('[fs]\nread = ["./**"]\nwrite = ["./**"]')
    with AuthorityKernel(host_config=config) as ak:
        ak.load_policy(tmp_path / "policy.toml")
        assert ak.file_read(tmp_path / "open") == b"open"
        for name in ("host.toml", "closed", "policy.toml"):
            with pytest.raises(OperationDeniedError):
                ak.file_read(tmp_path / name)
            with pytest.raises(OperationDeniedError):
                ak.file_write(tmp_path / name, b"")


def test_an_error_in_the_configuration_names_its_position(tmp_path: Path) -> None:
    config = tmp_path / "host.toml"
    config.write_text("[dns]\nserver = []")
    with pytest.raises(LibakError, match="line 2, column 1: unknown field `server`"):
        AuthorityKernel(host_config=config)
