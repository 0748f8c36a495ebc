// The checks of the TypeScript SDKs: stdio and streamable HTTP, both eras. Prints `ok NAME` or `FAIL NAME: why` per check.
import assert from "node:assert/strict";
import fs from "node:fs";
import { createRequire } from "node:module";

const facts = JSON.parse(fs.readFileSync(process.argv[2], "utf8"));
const require = createRequire(`${process.argv[3]}/`);

const first = {
  ...require("@modelcontextprotocol/sdk/client/index.js"),
  ...require("@modelcontextprotocol/sdk/client/stdio.js"),
  ...require("@modelcontextprotocol/sdk/client/streamableHttp.js"),
};
const second = { ...require("@modelcontextprotocol/client"), ...require("@modelcontextprotocol/client/stdio") };

const eras = [
  { name: "1.x 2025-11-25", sdk: first, options: {} },
  { name: "2.x 2025-11-25", sdk: second, options: { versionNegotiation: { mode: "legacy" } } },
  { name: "2.x 2026-07-28", sdk: second, options: { versionNegotiation: { mode: { pin: "2026-07-28" } } } },
];

const doors = {
  stdio: (sdk) => new sdk.StdioClientTransport({ command: facts.stdio[0], args: facts.stdio.slice(1), stderr: "inherit" }),
  http: (sdk) =>
    new sdk.StreamableHTTPClientTransport(new URL(facts.mcp_url), {
      requestInit: { headers: { Authorization: `Bearer ${facts.token}` } },
    }),
};

const checks = {
  async "lists tools"(client) {
    const { tools } = await client.listTools();
    assert.deepEqual(tools.map((tool) => tool.name), ["query", "describe", "export", "explain", "close_task"]);
  },
  async "describes"(client) {
    const { structuredContent } = await client.callTool({ name: "describe", arguments: { relation: "customers" } });
    assert.ok(structuredContent.columns.find((column) => column.name === "email").masked);
  },
  async "queries masked"(client) {
    const sql = "select email from customers order by id limit 2";
    const { structuredContent } = await client.callTool({ name: "query", arguments: { sql } });
    assert.equal(structuredContent.row_count, 2);
    for (const [email] of structuredContent.rows) assert.match(email, /^\*\*\*@/);
  },
  async "exports and reads"(client) {
    // Above 200 rows the demo's policy wants an approval.
    const query = { sql: "select id, email from customers order by id limit 2", format: "csv", max_rows: 10 };
    const { content } = await client.callTool({ name: "export", arguments: query });
    const { contents } = await client.readResource({ uri: content.find((block) => block.type === "resource_link").uri });
    assert.match(contents[0].text, /^id,email\r\n1,\*\*\*@/);
  },
  async "refuses, and the caller gets to read why"(client) {
    for (const [sql, code] of [["select salary from hr.staff", "relation-not-granted"], ["delete from customers", "not-a-query"]]) {
      const result = await client.callTool({ name: "query", arguments: { sql } });
      assert.equal(result.isError, true);
      assert.equal(JSON.parse(result.content[0].text).error.code, code);
    }
  },
};

for (const door of Object.keys(doors)) {
  for (const era of eras) {
    const client = new era.sdk.Client({ name: "pgteller-interop", version: "1" }, era.options);
    await client.connect(doors[door](era.sdk));
    for (const [name, check] of Object.entries(checks)) {
      await check(client).then(
        () => console.log(`ok ${door} ${era.name}: ${name}`),
        (error) => console.log(`FAIL ${door} ${era.name}: ${name}: ${String(error).replaceAll("\n", " ").slice(0, 600)}`),
      );
    }
    await client.close();
  }
}
