"""Asks public MCP servers for the schemas of their tools, and which calls they accept and refuse.

    schemas.py NPM_BIN PYTHON_BIN SCRATCH > rows.json

Each row is a tool: `server`, `tool`, `schema`, and the calls that both the server and the package `jsonschema` accept
(`accepted`) or refuse (`refused`).
"""

import json
import os
import pathlib
import subprocess
import sys
import threading

import jsonschema

SECONDS_MAX = 30
# Texts by which servers report that arguments do not fit, as opposed to a call that failed.
REFUSALS = ("invalid arguments", "input validation error", "validation error", "-32602", "invalid_type")
WRONG = {"string": {"a": 1}, "number": "much", "integer": "much", "boolean": "maybe", "array": 7, "object": 7, "null": 7}
FORMATS = {"uri": "https://a.example/", "date-time": "2026-01-02T03:04:05Z", "date": "2026-01-02", "email": "ada@a.example"}


class Server:
    """A server on standard input and output."""

    def __init__(self, command: list[str], folder: pathlib.Path) -> None:
        self.process = subprocess.Popen(
            command, cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        self.number = 0
        about = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "peers", "version": "1"}}
        self.ask("initialize", about)
        self.send({"method": "notifications/initialized"})

    def send(self, message: dict) -> None:
        self.process.stdin.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
        self.process.stdin.flush()

    def ask(self, method: str, params: dict) -> dict:
        self.number += 1
        watch = threading.Timer(SECONDS_MAX, self.process.kill)
        watch.start()
        try:
            self.send({"id": self.number, "method": method, "params": params})
            for line in self.process.stdout:
                answer = json.loads(line)
                if answer.get("id") == self.number and "method" not in answer:
                    return answer
        finally:
            watch.cancel()
        raise RuntimeError(f"no answer to {method}")

    def tools(self) -> list[dict]:
        tools, cursor = [], {}
        while True:
            page = self.ask("tools/list", cursor)["result"]
            tools += page["tools"]
            if not page.get("nextCursor"):
                return tools
            cursor = {"cursor": page["nextCursor"]}

    def accepts(self, tool: str, arguments: dict) -> bool:
        """Whether the arguments fit. They also do if the call fails for another reason."""
        answer = self.ask("tools/call", {"name": tool, "arguments": arguments})
        result = answer.get("result", {})
        if "error" not in answer and not result.get("isError"):
            return True
        text = json.dumps(answer).lower()
        return not any(refusal in text for refusal in REFUSALS)

    def end(self) -> None:
        self.process.stdin.close()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()


def sample(schema: object, root: dict) -> object:
    """A small value that should fit the schema."""
    if not isinstance(schema, dict):
        return {}
    if "$ref" in schema:
        target: object = root
        for token in schema["$ref"].lstrip("#/").split("/"):
            target = target[token.replace("~1", "/").replace("~0", "~")]
        return sample(target, root)
    for keyword in ("const", "default"):
        if schema.get(keyword) is not None:
            return schema[keyword]
    for keyword in ("enum", "examples"):
        if schema.get(keyword):
            return schema[keyword][0]
    for keyword in ("anyOf", "oneOf", "allOf"):
        if schema.get(keyword):
            merged = {**{key: value for key, value in schema.items() if key != keyword}, **schema[keyword][0]}
            return sample(merged, root)
    kind = schema.get("type", "object")
    kind = kind[0] if isinstance(kind, list) else kind
    if kind == "object":
        members = schema.get("properties", {})
        return {name: sample(members.get(name, {}), root) for name in schema.get("required", [])}
    if kind == "array":
        items = schema.get("items", {})
        return [sample(items, root) for _ in range(schema.get("minItems", 0))]
    if kind in ("integer", "number"):
        return max(schema.get("minimum", 1), schema.get("exclusiveMinimum", 0) + 1)
    if kind == "string":
        text = FORMATS.get(schema.get("format"), "a")
        return text.ljust(schema.get("minLength", 0), "a")
    return {"boolean": True, "null": None}[kind]


def kind_of(schema: object) -> str | None:
    kind = schema.get("type") if isinstance(schema, dict) else None
    return kind if isinstance(kind, str) else None


def broken(schema: dict, call: dict) -> list[object]:
    """Calls that should not fit: without a required member, with a member of a wrong type, and values that are no objects."""
    calls: list[object] = [{key: value for key, value in call.items() if key != name} for name in schema.get("required", [])]
    for name, member in schema.get("properties", {}).items():
        if kind := kind_of(member):
            calls.append({**call, name: WRONG[kind]})
    return calls + [[], "a", None]


def row(server: str, tool: dict, ask: Server) -> dict:
    name, schema = tool["name"], tool["inputSchema"]
    judge = jsonschema.validators.validator_for(schema, jsonschema.Draft202012Validator)(schema)
    call = sample(schema, schema)
    made = {"server": server, "tool": name, "schema": schema, "accepted": [], "refused": [], "asked": 0}
    for arguments in [call, *broken(schema, call)]:
        fits = judge.is_valid(arguments)
        if isinstance(arguments, dict):
            made["asked"] += 1
            if ask.accepts(name, arguments) != fits:
                # A server may convert values, or require more than its schema says.
                print(f"    {server} {name}: jsonschema says {fits}, the server does not: {arguments}", file=sys.stderr)
                continue
        made["accepted" if fits else "refused"].append(arguments)
    return made


def main() -> None:
    npm, python, scratch = sys.argv[1:]
    folder = pathlib.Path(scratch).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    repository = folder / "repository"
    subprocess.run(["git", "init", "--quiet", str(repository)], check=True)
    os.environ["MEMORY_FILE_PATH"] = str(folder / "memory.json")
    servers = {
        "filesystem": [f"{npm}/mcp-server-filesystem", str(folder)],
        "everything": [f"{npm}/mcp-server-everything"],
        "memory": [f"{npm}/mcp-server-memory"],
        "sequential-thinking": [f"{npm}/mcp-server-sequential-thinking"],
        "fetch": [f"{python}/mcp-server-fetch"],
        "git": [f"{python}/mcp-server-git", "--repository", str(repository)],
        "time": [f"{python}/mcp-server-time"],
    }
    rows = []
    for name, command in servers.items():
        server = Server(command, folder)
        try:
            rows += [row(name, tool, server) for tool in server.tools()]
        finally:
            server.end()
    json.dump(rows, sys.stdout)


main()
