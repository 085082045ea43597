"""HTTP: requests, responses, and requests that are denied."""

import json
import threading
from typing import Any, Callable, Iterator

import pytest
from web import Echo, serve

from authority_nanos import (
    AuthorityKernel,
    BufferOverflowError,
    InvalidArgumentError,
    LibakError,
    OperationDeniedError,
    TimeoutError,
)


@pytest.fixture(scope="module")
def web() -> Iterator[Any]:
    with serve(Echo) as server:
        yield server


@pytest.fixture
def url(ak: AuthorityKernel, web: Any) -> str:
    address = f"127.0.0.1:{web.server_port}"
    allowed = json.dumps([f"{method} http://{address}/**" for method in ("GET", "POST", "PUT", "HEAD")])
    ak.load_policy(text=f'[http]\nallow = {allowed}\n[net]\nconnect = ["ip:{address}"]')
    web.asked.clear()
    return f"http://{address}"


def test_a_request_is_sent_and_answered(ak: AuthorityKernel, url: str) -> None:
    response = ak.http("POST", f"{url}/a?b=c", b"the body", {"X-Test": "1"})
    assert response.status == 200
    assert response.json() == {"method": "POST", "path": "/a?b=c", "body": "the body", "x": ["1"]}
    assert [value for name, value in response.headers if name.lower() == "x-answer"] == ["one", "two"]
    assert response.header("X-ANSWER") == "one" and response.header("absent") is None


def test_http_request_gives_the_body(ak: AuthorityKernel, url: str) -> None:
    assert json.loads(ak.http_request("GET", url))["method"] == "GET"
    joined = ak.http_request("PUT", f"{url}/x", "text", [("X-Test", "1, 2")])
    assert json.loads(joined)["x"] == ["1, 2"]
    with pytest.raises(InvalidArgumentError, match="x-test"):  # which of them a server believes, nobody knows
        ak.http_request("PUT", f"{url}/x", "text", [("X-Test", "1"), ("x-test", "2")])
    assert ak.http_request("GET", f"{url}/missing") == b"nothing here"
    assert ak.http("GET", f"{url}/missing").status == 404
    assert ak.http("HEAD", f"{url}/a").body == b""


def test_a_response_over_max_response_raises_buffer_overflow(ak: AuthorityKernel, url: str) -> None:
    assert len(ak.http_request("GET", f"{url}/long", max_response=100_000)) == 100_000
    with pytest.raises(BufferOverflowError):
        ak.http_request("GET", f"{url}/long", max_response=99_999)


def test_a_timeout_raises_both_timeout_classes(ak: AuthorityKernel, url: str) -> None:
    import builtins

    with pytest.raises(TimeoutError) as raised:
        ak.http_request("GET", f"{url}/slow", timeout=0.1)
    assert isinstance(raised.value, builtins.TimeoutError)


@pytest.mark.parametrize("timeout", [-1, float("nan"), float("inf")])
def test_malformed_timeouts_are_refused(ak: AuthorityKernel, url: str, timeout: float) -> None:
    with pytest.raises(InvalidArgumentError):
        ak.http_request("GET", url, timeout=timeout)


def test_a_denied_request_is_not_sent(ak: AuthorityKernel, url: str, web: Any, denied: Callable[..., Any]) -> None:
    assert denied(lambda: ak.http_request("DELETE", f"{url}/a")).op == "http.delete"
    denied(lambda: ak.http_request("GET", "http://127.0.0.1:1/"))
    denied(lambda: ak.http_request("GET", url.replace("127.0.0.1", "localhost")))
    denied(lambda: ak.http_request("GET", "https://example.com/"))
    assert web.asked == []


def test_a_permitted_url_does_not_permit_its_private_address(ak: AuthorityKernel, web: Any) -> None:
    address = f"127.0.0.1:{web.server_port}"
    web.asked.clear()
    ak.load_policy(text=f'[http]\nallow = ["GET http://{address}/**"]')
    with pytest.raises(OperationDeniedError):
        ak.http_request("GET", f"http://{address}/")
    assert web.asked == []


def test_a_redirect_is_decided_as_a_new_request(ak: AuthorityKernel, url: str, web: Any) -> None:
    assert json.loads(ak.http_request("GET", f"{url}/to?{url}/there"))["path"] == "/there"
    web.asked.clear()
    with pytest.raises(OperationDeniedError):
        ak.http_request("GET", f"{url}/to?http://127.0.0.1:1/")
    assert [path for _, path in web.asked] == ["/to?http://127.0.0.1:1/"]


@pytest.mark.parametrize("url", ["", "not a url", "/etc/passwd", "file:///etc/passwd", "http://", "http://a\0b/"])
def test_malformed_urls_are_refused(ak: AuthorityKernel, url: str) -> None:
    with pytest.raises(InvalidArgumentError):
        ak.http_request("GET", url)


@pytest.mark.parametrize("headers", [{"X\r\nY": "1"}, {"X": "1\r\nY: 2"}, {"": "1"}])
def test_headers_cannot_smuggle(ak: AuthorityKernel, url: str, web: Any, headers: Any) -> None:
    with pytest.raises((InvalidArgumentError, LibakError)):
        ak.http_request("GET", url, headers=headers)
    assert web.asked == []


def test_other_threads_run_during_a_request(ak: AuthorityKernel, url: str) -> None:
    results = []
    threads = [
        threading.Thread(target=lambda: results.append(ak.http_request("GET", f"{url}/slow"))),
        *(threading.Thread(target=lambda: results.append(ak.tool_call("add", {"a": 1, "b": 1}))) for _ in range(4)),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results[:4] == [b'{"result":2}'] * 4 and results[4] == b"at last"
