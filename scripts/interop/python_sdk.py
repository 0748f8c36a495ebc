"""The checks of the Python SDK: stdio and streamable HTTP, both eras. Prints `ok NAME` or `FAIL NAME: why` per check."""

import json
import sys
import traceback

import anyio
import httpx2
from mcp import Client, MCPError, StdioServerParameters, stdio_client
from mcp.client.streamable_http import streamable_http_client

FACTS = json.load(open(sys.argv[1], encoding="utf-8"))
ERAS = {"legacy": "2025-11-25", "auto": "2026-07-28"}


def transport(door):
    if door == "stdio":
        command, *arguments = FACTS["stdio"]
        return stdio_client(StdioServerParameters(command=command, args=arguments))
    headers = {"Authorization": f"Bearer {FACTS['token']}"}
    return streamable_http_client(FACTS["mcp_url"], http_client=httpx2.AsyncClient(headers=headers, timeout=60))


def data(result):
    """Both blocks of a result carry the same facts."""
    assert not result.is_error, result
    assert json.loads(result.content[0].text) == result.structured_content, result
    return result.structured_content


async def connects(client, era):
    assert client.protocol_version == ERAS[era], client.protocol_version
    assert client.server_info.name == "pgteller", client.server_info
    assert client.instructions.startswith("Governed access to PostgreSQL."), client.instructions


async def lists_tools(client, _):
    tools = (await client.list_tools()).tools
    assert [tool.name for tool in tools] == ["query", "describe", "export", "explain", "close_task"], tools
    assert all(tool.annotations.read_only_hint != (tool.name == "close_task") and tool.output_schema for tool in tools), tools


async def describes(client, _):
    columns = {column["name"]: column for column in data(await client.call_tool("describe", {"relation": "customers"}))["columns"]}
    assert columns["email"]["masked"] and "masked" not in columns["company"], columns


async def queries_masked(client, _):
    answer = data(await client.call_tool("query", {"sql": "select company, email from customers order by id limit 3"}))
    assert answer["row_count"] == 3 and all(email.startswith("***@") for _, email in answer["rows"]), answer
    assert [column.get("masked") for column in answer["columns"]] == [None, "email"], answer


async def binds_parameters(client, _):
    arguments = {"sql": "select $1::int as a, $2 as b, $3::bool as c, $4 as d", "params": [7, "x", True, None]}
    assert data(await client.call_tool("query", arguments))["rows"] == [[7, "x", True, None]]


async def exports_and_reads(client, _):
    # Above 200 rows the demo's policy wants an approval.
    arguments = {"sql": "select id, email from customers order by id limit 2", "format": "jsonl", "max_rows": 10}
    result = await client.call_tool("export", arguments)
    uri = data(result)["uri"]
    assert [str(block.uri) for block in result.content if block.type == "resource_link"] == [uri], result
    contents = (await client.read_resource(uri)).contents
    rows = [json.loads(line) for line in contents[0].text.splitlines()]
    assert len(rows) == 2 and all(row["email"].startswith("***@") for row in rows), contents


async def refuses(client, _):
    for tool, arguments, code in [
        ("query", {"sql": "select salary from hr.staff"}, "relation-not-granted"),
        ("query", {"sql": "delete from customers"}, "not-a-query"),
        ("query", {"sql": "select from where ("}, "statement-failed"),
        ("query", {"sql": 1}, "argument-invalid"),
        ("export", {"sql": "select 1", "format": "xlsx"}, "argument-invalid"),
        ("describe", {"relation": "no_such"}, "relation-not-granted"),
    ]:
        result = await client.call_tool(tool, arguments)
        assert result.is_error, (tool, arguments, result)
        told = json.loads(result.content[0].text)
        assert told["error"]["code"] == code and told["error"]["message"] and told["request_id"], (code, told)
        assert result.structured_content in (None, told), result


async def unknown_resource(client, _):
    try:
        await client.read_resource("pgteller://exports/00000000-0000-4000-8000-000000000000")
    except MCPError as error:
        assert error.code in (-32602, -32002), error  # as each revision spells it
    else:
        raise AssertionError("an export that does not exist was read")


CHECKS = [connects, lists_tools, describes, queries_masked, binds_parameters, exports_and_reads, refuses, unknown_resource]


async def main():
    for door in ("stdio", "http"):
        for era, revision in ERAS.items():
            async with Client(transport(door), mode=era) as client:
                for check in CHECKS:
                    name = f"{door} {revision}: {check.__name__.replace('_', ' ')}"
                    try:
                        await check(client, era)
                    except Exception as error:
                        traceback.print_exc()
                        print(f"FAIL {name}: {type(error).__name__}: {str(error)[:600]}".replace("\n", " "), flush=True)
                    else:
                        print(f"ok {name}", flush=True)


anyio.run(main)
