#!/usr/bin/env python3
"""Tools: WebAssembly modules that see their arguments and nothing else, metered and limited.

``add`` and ``concat`` come with the kernel. Which tools an agent may call is the policy's decision.
"""

import json
import sys

from authority_nanos import (
    AuthorityKernel,
    AuthorityKernelError,
    InvalidArgumentError,
    OperationDeniedError,
    RateLimitError,
    ToolCall,
    ToolError,
)

# No profile at all, and one capability: `add` may be executed, twice a minute, for an hour from now on.
POLICY = """
profiles = []

[[capability]]
name = "add"
resource = "*"
methods = ["execute"]
expires_minutes = 60
rate = "2/min"
"""


def main() -> int:
    with AuthorityKernel() as ak:
        print("✅ Connected to Authority Kernel")

        result = ak.tool_call("add", json.dumps({"a": 5, "b": 3}).encode())
        print(f"✅ Tool 'add' gave: {result.decode()}")
        result = ak.tool_call(ToolCall("concat", {"str1": "Hello, ", "str2": "World!"}))
        print(f"✅ Tool 'concat' gave: {result.decode()}")
        print(f"✅ The same with Python values: {ak.call_tool('add', {'a': 0.5, 'b': 2})}")

        # A tool that fails says so, and the next call starts afresh.
        try:
            ak.tool_call("add", {"a": "five", "b": 3})
        except ToolError as error:
            print(f"ℹ️  The tool failed: {error}")
        try:
            ak.tool_call("add", b"{not json")
        except InvalidArgumentError as error:
            print(f"ℹ️  Arguments refused before the tool ran: {error}")

        # Without a permit a tool does not run, and whether it exists is not told.
        for name in ("shell_exec", "no_such_tool"):
            try:
                ak.tool_call(name, {"command": "id"})
                print(f"❌ {name} ran")
                return 1
            except OperationDeniedError as error:
                print(f"ℹ️  {error}")

        # A capability opens one tool, with a clock and a rate.
        ak.load_policy(text="profiles = []")
        try:
            ak.call_tool("add", {"a": 5, "b": 3})
            print("❌ add ran under an empty policy")
            return 1
        except OperationDeniedError as error:
            print(f"ℹ️  Under an empty policy: {error}")
        ak.load_policy(text=POLICY)
        for _ in range(2):
            print(f"✅ With the capability: {ak.call_tool('add', {'a': 5, 'b': 3})}")
        try:
            ak.call_tool("add", {"a": 5, "b": 3})
            print("❌ the rate was not kept")
            return 1
        except RateLimitError as error:
            print(f"ℹ️  {error}; again in {error.retry_after_ms} ms")
        assert not ak.authorize("execute", "concat")

        ak.load_policy(text="")
        print("✅ Went back to the baseline policy")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except AuthorityKernelError as error:
        print(f"❌ {type(error).__name__}: {error}")
        sys.exit(1)
