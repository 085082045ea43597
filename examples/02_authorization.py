#!/usr/bin/env python3
"""Authorization: what no policy permits is denied; a denial says what would permit it; a policy file does.

Files and HTTP go through the kernel's host, never through Python's ``open``, so what was checked is what is used.
"""

import http.server
import sys
import tempfile
import threading
from pathlib import Path

from authority_nanos import AuthorityKernel, AuthorityKernelError, OperationDeniedError

POLICY = """
[fs]
read = ["./data/**"]                      # relative to this file
write = ["./data/**"]

[http]
allow = ["GET http://127.0.0.1:{port}/**"]

[net]
connect = ["ip:127.0.0.1:{port}"]         # private addresses are closed unless granted by address
"""


class Hello(http.server.BaseHTTPRequestHandler):
    """A web server to talk to, so that the example needs no internet."""

    def do_GET(self) -> None:
        body = b"hello from the web"
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def denied(error: OperationDeniedError) -> None:
    print(f"ℹ️  Denied, as expected: {error}")


def main(directory: Path, port: int) -> int:
    report = directory / "data" / "report.txt"
    report.parent.mkdir()
    url = f"http://127.0.0.1:{port}/greeting"

    with AuthorityKernel() as ak:
        print("✅ Connected to Authority Kernel")

        # Nothing that reaches outside is permitted by itself.
        details = ak.authorize_details("write", str(report))
        print(f"ℹ️  May write {report.name}: {details.authorized} ({details.reason})")
        try:
            ak.file_write(report, b"quarterly figures")
        except OperationDeniedError as error:
            denied(error)
        denial = ak.get_last_denial()
        if denial and denial.suggestion:
            print("ℹ️  Appended to the policy, this would permit exactly that:")
            for line in denial.suggestion.strip().splitlines():
                print(f"ℹ️      {line}")

        # A policy file turns the denials into successes.
        policy = directory / "policy.toml"
        policy.write_text(POLICY.format(port=port))
        ak.load_policy(policy)
        print(f"✅ Loaded {policy.name}")

        ak.file_write(report, b"quarterly figures")
        print(f"✅ Wrote {report.name}")
        print(f"✅ Read it back: {ak.file_read(report).decode()}")
        print(f"✅ Fetched {url}: {ak.http_request('GET', url).decode()}")

        # What the policy does not name is as closed as before.
        for path in ("/etc/hostname", f"{directory}/data/../secret.txt"):
            try:
                ak.file_read(path)
                print(f"❌ {path} was read")
                return 1
            except OperationDeniedError as error:
                denied(error)
        try:
            ak.http_request("POST", url, b"{}")
            print("❌ a POST was sent")
            return 1
        except OperationDeniedError as error:
            denied(error)

        # A policy with a fault is refused whole, and the one in force stays.
        try:
            ak.load_policy(text='[fs]\nraed = ["/**"]')
        except AuthorityKernelError as error:
            print(f"ℹ️  {error}")
        assert ak.authorize("read", str(report)) and not ak.authorize("read", "/etc/hostname")

        ak.load_policy(text="")
        print("✅ Went back to the baseline policy")
    return 0


if __name__ == "__main__":
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hello)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        with tempfile.TemporaryDirectory() as temporary:
            sys.exit(main(Path(temporary).resolve(), server.server_port))
    except AuthorityKernelError as error:
        print(f"❌ {type(error).__name__}: {error}")
        sys.exit(1)
