// A client of a pgteller whose tokens come from a real OpenID provider: finds the provider with the TypeScript SDKs,
// calls `query` while the provider rotates its keys, and kills it. Prints `ok NAME` or `FAIL NAME: why` per check, of
// the checks whose name begins with one of the words given. Never writes a token down, never starts a process.
//   node oidc_client.mjs FACTS NODE_DIRECTORY WORD…
// FACTS is a file of JSON: {mcp_url, other_resource, client_secret, provider: {issuer, control, pid}}
import assert from "node:assert/strict";
import fs from "node:fs";
import { createRequire } from "node:module";
import { setTimeout as sleep } from "node:timers/promises";

const facts = JSON.parse(fs.readFileSync(process.argv[2], "utf8"));
const require = createRequire(`${process.argv[3]}/`);
const { issuer, control, pid } = facts.provider;

const first = {
  ...require("@modelcontextprotocol/sdk/client/index.js"),
  ...require("@modelcontextprotocol/sdk/client/streamableHttp.js"),
  ...require("@modelcontextprotocol/sdk/client/auth.js"),
  ...require("@modelcontextprotocol/sdk/client/auth-extensions.js"),
};
const second = require("@modelcontextprotocol/client");
const query = { name: "query", arguments: { sql: "select id from customers order by id limit 1" } };

const post = (token) =>
  fetch(facts.mcp_url, {
    method: "POST",
    headers: {
      "content-type": "application/json",
      accept: "application/json, text/event-stream",
      "mcp-protocol-version": "2025-11-25",
      ...(token && { authorization: `Bearer ${token}` }),
    },
    body: JSON.stringify({ jsonrpc: "2.0", id: 1, method: "tools/call", params: query }),
  });

// Throws unless the row comes.
async function call(token) {
  const response = await post(token);
  const text = await response.text();
  assert.equal(response.status, 200, `status ${response.status}: ${text}`);
  assert.deepEqual(JSON.parse(text).result?.structuredContent?.rows, [[1]], text);
}

let tokenEndpoint;
async function newToken(resource = facts.mcp_url) {
  tokenEndpoint ??= (await first.discoverAuthorizationServerMetadata(issuer)).token_endpoint;
  const response = await fetch(tokenEndpoint, {
    method: "POST",
    headers: { authorization: `Basic ${Buffer.from(`support-bot:${facts.client_secret}`).toString("base64")}` },
    body: new URLSearchParams({ grant_type: "client_credentials", scope: "pg:query", resource }),
  });
  const answer = await response.json();
  assert.equal(response.status, 200, `the provider: ${JSON.stringify(answer)}`);
  return answer.access_token;
}

const kid = (token) => JSON.parse(Buffer.from(token.split(".")[0], "base64url")).kid;

// One worker per source of tokens calls without a pause until the time is over.
async function load(sources, milliseconds) {
  const until = performance.now() + milliseconds;
  const failures = [];
  const keys = new Map();
  let calls = 0;
  await Promise.all(
    sources.map(async (source) => {
      while (performance.now() < until) {
        calls += 1;
        try {
          const token = await source();
          await call(token);
          const now = performance.now();
          keys.set(kid(token), { first: now, ...keys.get(kid(token)), last: now });
        } catch (error) {
          failures.push(error.message.replaceAll("\n", " ").slice(0, 200));
        }
      }
    }),
  );
  const told = `${calls} calls, ${failures.length} failures`;
  assert.equal(failures.length, 0, `${told}, the first: ${failures.slice(0, 3).join("; ")}`);
  return { told, keys: [...keys.values()] };
}

const discovery = (version, sdk) => ({
  async [`discovery: SDK ${version} finds the provider by the 401`]() {
    const { resourceMetadataUrl } = sdk.extractWWWAuthenticateParams(await post());
    const expected = new URL("/.well-known/oauth-protected-resource/mcp", facts.mcp_url);
    assert.equal(resourceMetadataUrl?.href, expected.href);
    const metadata = await sdk.discoverOAuthProtectedResourceMetadata(facts.mcp_url, { resourceMetadataUrl });
    assert.equal(metadata.resource, facts.mcp_url);
    assert.deepEqual(metadata.authorization_servers, [issuer]);
    const server = await sdk.discoverAuthorizationServerMetadata(metadata.authorization_servers[0]);
    assert.equal(server.issuer, issuer);
    assert.ok(server.token_endpoint.startsWith(`${issuer}/`));
  },
  async [`discovery: SDK ${version} connects with nothing but its client secret, and queries`]() {
    const credentials = { clientId: "support-bot", clientSecret: facts.client_secret, expectedIssuer: issuer };
    const authProvider = new sdk.ClientCredentialsProvider(credentials);
    const client = new sdk.Client({ name: "pgteller-interop", version: "1" });
    await client.connect(new sdk.StreamableHTTPClientTransport(new URL(facts.mcp_url), { authProvider }));
    const { structuredContent } = await client.callTool(query);
    assert.deepEqual(structuredContent.rows, [[1]]);
    await client.close();
  },
});

const checks = {
  ...discovery("1.x", first),
  ...discovery("2.x", second),
  async "discovery: a token for us queries"() {
    await call(await newToken());
  },
  async "discovery: a token for another resource is refused"() {
    const response = await post(await newToken(facts.other_resource));
    assert.equal(response.status, 401, await response.text());
    assert.equal(first.extractWWWAuthenticateParams(response).error, "invalid_token");
  },
  async "rotation: the provider rotates its keys twice under load"() {
    // Each renews its token every 20 calls, but not all at once: after a rotation some still have an old one.
    const sources = Array.from({ length: 8 }, (_, index) => {
      let token;
      let used = 2 * index;
      return async () => (used++ % 20 === 0 || !token ? (token = await newToken()) : token);
    });
    const rotate = async () => assert.equal((await fetch(`${control}/rotate`, { method: "POST" })).status, 200);
    const rotations = sleep(2000).then(rotate).then(() => sleep(1500)).then(rotate);
    const [{ told, keys }] = await Promise.all([load(sources, 6000), rotations]);
    assert.equal(keys.length, 3, `${told}, with tokens of ${keys.length} keys`);
    const overlaps = keys.slice(1).filter((key, index) => keys[index].last > key.first).length;
    assert.equal(overlaps, 2, `${told}, but no old token after a rotation`);
    return `${told}, tokens of ${keys.length} keys`;
  },
  async "down: the provider is killed, tokens from before still query"() {
    const tokens = await Promise.all(Array.from({ length: 8 }, () => newToken()));
    process.kill(pid, "SIGKILL");
    while (await fetch(issuer).then(() => true, () => false)) await sleep(10);
    return (await load(tokens.map((token) => async () => token), 4000)).told;
  },
  async "again: a new token of the provider that is back queries"() {
    await call(await newToken());
  },
};

const wanted = process.argv.slice(4);
for (const [name, check] of Object.entries(checks)) {
  if (!wanted.includes(name.split(":")[0])) continue;
  await check().then(
    (told) => console.log(`ok ${name}${told ? `: ${told}` : ""}`),
    (error) => console.log(`FAIL ${name}: ${String(error).replaceAll("\n", " ").slice(0, 600)}`),
  );
}
