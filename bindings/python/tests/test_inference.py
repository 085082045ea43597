"""Inference against a server of the OpenAI chat-completions format on the loopback."""

import asyncio
import json
import threading
from typing import Any, Callable, Iterator, List

import pytest
from conftest import wait_until
from web import Model, serve

from authority_nanos import (
    AsyncAuthorityKernel,
    AuthorityKernel,
    BudgetExceededError,
    ErrorCode,
    InferenceRequest,
    InvalidArgumentError,
    LibakError,
)

POLICY = '[infer]\nmodels = ["tiny*", "broken", "nonsense"]\nmax_tokens = 4'


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    with serve(Model) as server:
        monkeypatch.setenv("AK_INFER_URL", f"http://127.0.0.1:{server.server_port}/v1")
        monkeypatch.setenv("AK_INFER_KEY", "the-key")
        yield server


# The fixture `model` must run first: the kernel's process takes the endpoint from its environment.
@pytest.fixture
def ak(model: Any, form: str) -> Iterator[AuthorityKernel]:
    with AuthorityKernel() as kernel:
        kernel.load_policy(text=POLICY)
        yield kernel


def content(answer: bytes) -> str:
    text: str = json.loads(answer)["choices"][0]["message"]["content"]
    return text


def words(chunks: List[bytes]) -> str:
    events = [json.loads(chunk) for chunk in chunks]
    return "".join(choice["delta"]["content"] for event in events for choice in event["choices"])


def test_inference_gives_a_completion(ak: AuthorityKernel, model: Any) -> None:
    request = {"model": "tiny", "messages": [{"role": "user", "content": "count"}], "max_tokens": 3, "temperature": 0.5}
    for form in (json.dumps(request).encode(), json.dumps(request), request):
        answer = ak.inference(form)
        assert content(answer) == "one two three "
        assert json.loads(answer)["usage"]["total_tokens"] == 10
    headers, path, sent = model.asked[0]
    assert path == "/v1/chat/completions" and headers["authorization"] == "Bearer the-key"
    assert {key: sent[key] for key in request} == request


def test_inference_takes_a_model_and_a_prompt(ak: AuthorityKernel, model: Any) -> None:
    assert content(ak.inference("tiny", "count", max_tokens=2)) == "one two "
    assert content(ak.inference(InferenceRequest("tiny", "count", max_tokens=2, temperature=0))) == "one two "
    for _, _, sent in model.asked:
        assert sent["messages"] == [{"role": "user", "content": "count"}]
    assert model.asked[1][2]["temperature"] == 0


def test_the_policy_clamps_the_tokens(ak: AuthorityKernel, model: Any) -> None:
    assert content(ak.inference("tiny", "count", max_tokens=1000)) == "one two three four "
    assert model.asked[0][2]["max_tokens"] == 4


def test_a_stream_gives_every_chunk(ak: AuthorityKernel) -> None:
    chunks = list(ak.inference_stream("tiny", "count", max_tokens=3))
    assert words(chunks) == "one two three "
    assert list(ak.inference_stream("tiny", "count", max_tokens=1))


def test_tokens_are_counted(ak: AuthorityKernel) -> None:
    def used() -> int:
        return int(ak.budget_status("tokens")["used"])

    ak.inference("tiny", "count", max_tokens=3)
    assert used() == 10
    list(ak.inference_stream("tiny", "count", max_tokens=3))
    assert used() == 20
    # This server reports no usage, so the kernel counts the tokens itself.
    list(ak.inference_stream("tiny-silent", "count", max_tokens=3))
    assert used() > 20
    assert ak.budget_status("tokens")["reserved"] == 0


def test_the_token_budget_is_reserved_before_a_request_is_sent(ak: AuthorityKernel, model: Any) -> None:
    ak.set_budget("tokens", 10)
    with pytest.raises(BudgetExceededError):
        ak.inference("tiny", "a prompt of many more tokens than ten " * 10)
    with pytest.raises(BudgetExceededError):
        list(ak.inference_stream("tiny", "a prompt of many more tokens than ten " * 10))
    assert model.asked == []


def test_a_stopped_stream_stops_the_model(ak: AuthorityKernel, model: Any) -> None:
    stream = ak.inference_stream("tiny-endless", "count", max_tokens=4)
    assert next(stream)
    stream.close()
    assert list(stream) == []
    wait_until(lambda: model.cut)
    assert model.sent < 4000
    wait_until(lambda: ak.budget_status("tokens")["reserved"] == 0)


def test_a_dropped_stream_stops_the_model(ak: AuthorityKernel, model: Any) -> None:
    stream = ak.inference_stream("tiny-endless", "count", max_tokens=4)
    assert next(stream)
    del stream
    wait_until(lambda: model.cut)


def test_other_calls_pass_while_a_stream_is_open(ak: AuthorityKernel) -> None:
    if ak.is_owner:
        stream = ak.inference_stream("tiny-endless", "count", max_tokens=4)
        assert next(stream)
        done = threading.Event()
        threading.Thread(target=lambda: (ak.tool_call("add", {"a": 1, "b": 1}), done.set())).start()
        try:
            assert done.wait(5)
        finally:
            stream.close()


def test_another_model_is_denied(ak: AuthorityKernel, model: Any, denied: Callable[..., Any]) -> None:
    assert denied(lambda: ak.inference("gpt-4", "count")).op == "infer"
    denied(lambda: next(ak.inference_stream("gpt-4", "count")))
    assert model.asked == []


@pytest.mark.parametrize("name", ["broken", "nonsense"])
def test_a_failing_server_raises(ak: AuthorityKernel, name: str) -> None:
    for call in (lambda: ak.inference(name, "count"), lambda: list(ak.inference_stream(name, "count"))):
        with pytest.raises(LibakError):
            call()  # type: ignore[no-untyped-call]
    assert ak.budget_status("tokens")["reserved"] == 0


@pytest.mark.parametrize("request_json", [b"not json", b"[]", b"{}", {"model": "tiny"}, {"model": "tiny", "messages": []}])
def test_malformed_inference_requests_are_refused(ak: AuthorityKernel, model: Any, request_json: Any) -> None:
    with pytest.raises(InvalidArgumentError):
        ak.inference(request_json)
    assert model.asked == []


def test_an_async_stream_gives_every_chunk(model: Any, form: str) -> None:
    async def main() -> List[bytes]:
        async with AsyncAuthorityKernel() as ak:
            await ak.load_policy(text=POLICY)
            return [chunk async for chunk in ak.inference_stream("tiny", "count", max_tokens=3)]

    assert words(asyncio.run(main())) == "one two three "


def test_without_an_endpoint_the_error_says_what_to_set() -> None:
    with AuthorityKernel() as ak:
        ak.load_policy(text=POLICY)
        with pytest.raises(LibakError) as raised:
            ak.inference("tiny", "count")
        assert raised.value.code == ErrorCode.NOT_CONFIGURED and "AK_INFER_URL" in str(raised.value)
