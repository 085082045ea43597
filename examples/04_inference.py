#!/usr/bin/env python3
"""Inference: models behind the gate. Policy by model name, token budget, rate limit, streaming.

The kernel speaks to any server of the OpenAI chat-completions format: set AK_INFER_URL (and AK_INFER_KEY) where the
kernel runs, and AK_INFER_MODEL here. Without a server the example still shows what the gate refuses.
"""

import json
import os
import sys

from authority_nanos import (
    AuthorityKernel,
    AuthorityKernelError,
    BudgetExceededError,
    ErrorCode,
    InferenceRequest,
    LibakError,
    OperationDeniedError,
    RateLimitError,
)

MODEL = os.environ.get("AK_INFER_MODEL", "gpt-4")

POLICY = """
[infer]
models = [{model}]
max_tokens = 200                # per request, whatever the caller asks for
"""

RATE = """
[[capability]]
name = "infer"
resource = {model}
methods = ["infer"]
rate = "2/min"
"""


def ask(ak: AuthorityKernel) -> None:
    """Asks once in one piece and once as a stream."""
    request = json.dumps({"model": MODEL, "messages": [{"role": "user", "content": "What is 2 + 2?"}], "max_tokens": 50})
    try:
        answer = json.loads(ak.inference(request.encode()))
        print(f"✅ {answer['choices'][0]['message']['content']}")
        print(f"✅ Usage: {answer.get('usage')}")
        words = []
        for chunk in ak.inference_stream(InferenceRequest(MODEL, "Count to five.", max_tokens=50)):
            for choice in json.loads(chunk).get("choices", []):
                words.append(choice.get("delta", {}).get("content") or "")
        print(f"✅ Streamed in {len(words)} chunks: {''.join(words)}")
    except LibakError as error:
        if error.code != ErrorCode.NOT_CONFIGURED:
            raise
        print(f"ℹ️  Nobody was asked: {error}")


def main() -> int:
    model = json.dumps(MODEL)
    with AuthorityKernel() as ak:
        print("✅ Connected to Authority Kernel")

        # Policy: no model may be asked until one is named.
        try:
            ak.inference(MODEL, "What is 2 + 2?")
            print("❌ a model was asked without a permit")
            return 1
        except OperationDeniedError as error:
            print(f"ℹ️  Denied: {error}")
        ak.load_policy(text=POLICY.format(model=model))
        print(f"✅ Policy permits {MODEL}: {ak.authorize('infer', MODEL)}")
        print(f"✅ Policy permits another model: {ak.authorize('infer', 'another-model')}")
        ask(ak)

        # Budget: the worst case is set aside before anything is sent, so the limit holds.
        used = ak.budget_status("tokens")["used"]
        ak.set_budget("tokens", used + 10)
        try:
            ak.inference(MODEL, "Tell me everything.", max_tokens=200)
            print("❌ the token budget was not kept")
            return 1
        except BudgetExceededError as error:
            print(f"ℹ️  Token budget: {error}")
        ak.set_budget("tokens", None)

        # Rate: a capability with a clock. A refused attempt costs nothing, a permitted one counts.
        ak.load_policy(text=RATE.format(model=model))
        attempts = 0
        try:
            for attempts in range(1, 4):
                try:
                    ak.inference(MODEL, "Hi.", max_tokens=5)
                except LibakError as error:
                    if error.code != ErrorCode.NOT_CONFIGURED:
                        raise
            print("❌ the rate was not kept")
            return 1
        except RateLimitError as error:
            print(f"ℹ️  Rate limit at attempt {attempts}: again in {error.retry_after_ms} ms")

        ak.load_policy(text="")
        print("✅ Went back to the baseline policy")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except AuthorityKernelError as error:
        print(f"❌ {type(error).__name__}: {error}")
        sys.exit(1)
