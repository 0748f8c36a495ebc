"""Codex CLI without a model: through `codex app-server`, which editors use, it connects to each MCP server named,
lists its tools, and calls `query`. Prints `ok NAME` or `FAIL NAME: why` per check.
    python3 hosts_codex.py SERVER…
"""
import json
import subprocess
import sys

# A provider of models that is not there: Codex would call its usual one when a thread starts.
NO_MODEL = ["-c", 'model_provider="none"', "-c", 'model_providers.none={name="none",base_url="http://127.0.0.1:9"}']
SQL = "select email from customers order by id limit 2"

codex = subprocess.Popen(
    ["codex", *NO_MODEL, "app-server"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
)
requests = 0


def notify(**message):
    print(json.dumps(message), file=codex.stdin, flush=True)


def request(method, **params):
    global requests
    requests += 1
    notify(id=requests, method=method, params=params)
    for line in codex.stdout:
        message = json.loads(line)
        if message.get("id") == requests and "method" not in message:
            if "error" in message:
                raise AssertionError(message["error"])
            return message["result"]
    raise AssertionError("codex app-server has ended")


def check(name, holds, seen):
    print(f"ok {name}" if holds else f"FAIL {name}: {json.dumps(seen)[:600]}", flush=True)


request("initialize", clientInfo={"name": "pgteller-interop", "version": "1"})
notify(method="initialized")
listed = {server["name"]: server for server in request("mcpServerStatus/list")["data"]}
thread = request("thread/start", ephemeral=True)["thread"]["id"]
for name in sys.argv[1:]:
    tools = list(listed.get(name, {}).get("tools", {}))
    check(f"Codex: {name}: connects and lists the tools", {"describe", "query"} <= set(tools), listed.get(name))
    answer = request("mcpServer/tool/call", threadId=thread, server=name, tool="query", arguments={"sql": SQL})
    rows = (answer.get("structuredContent") or {}).get("rows", [])
    masked = len(rows) == 2 and all(email.startswith("***@") for (email,) in rows)
    check(f"Codex: {name}: queries, masked", masked, answer)
codex.stdin.close()
sys.exit(codex.wait(20))
