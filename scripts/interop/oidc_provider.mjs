// A real OpenID provider on loopback (npm oidc-provider) for one confidential client, `support-bot`, with the grant
// client_credentials, and for whatever registers itself (RFC 7591): there one person, alice, says yes to everything
// without being asked. Gives access tokens (RFC 9068, ES256) for the resources that it is told of (RFC 8707): of five
// minutes, to alice's clients of an hour. Rotates its keys when asked. Keeps all in memory: started again, it has new
// keys. Never listens beyond 127.0.0.1.
//   CLIENT_SECRET=… node oidc_provider.mjs NODE_DIRECTORY PORT RESOURCE…      (PORT 0: a free one)
// Prints one line of JSON when ready: {issuer, control, pid}, and on stderr one line per request: METHOD PATH STATUS.
// Each of these answers {signing, published}, both of kids:
//   POST {control}/rotate   a new key signs from now on, the old ones stay published
//   POST {control}/drop     only the key that signs stays published
import crypto from "node:crypto";
import http from "node:http";
import { createRequire } from "node:module";

const [directory, port, ...resources] = process.argv.slice(2);
const { Provider, errors } = createRequire(`${directory}/`)("oidc-provider");
const scope = "pg:query pg:describe pg:export";
const ask = "/alice/";

const newKey = () => {
  const { privateKey } = crypto.generateKeyPairSync("ec", { namedCurve: "P-256" });
  return { ...privateKey.export({ format: "jwk" }), kid: crypto.randomUUID(), alg: "ES256", use: "sig" };
};

// The first key signs.
const configuration = (keys) => ({
  jwks: { keys },
  cookies: { keys: [crypto.randomUUID()] },
  scopes: ["openid", "offline_access", ...scope.split(" ")],
  clientDefaults: { id_token_signed_response_alg: "ES256" },
  clients: [
    {
      client_id: "support-bot",
      client_secret: process.env.CLIENT_SECRET,
      grant_types: ["client_credentials"],
      response_types: [],
      redirect_uris: [],
      scope,
    },
  ],
  findAccount: (_context, accountId) => ({ accountId, claims: () => ({ sub: accountId }) }),
  interactions: { url: (_context, interaction) => `${ask}${interaction.uid}` },
  features: {
    clientCredentials: { enabled: true },
    registration: { enabled: true },
    devInteractions: { enabled: false },
    resourceIndicators: {
      enabled: true,
      getResourceServerInfo(_context, resource, client) {
        if (!resources.includes(resource)) throw new errors.InvalidTarget();
        const accessTokenTTL = client.clientId === "support-bot" ? 300 : 3600;
        const sign = { alg: "ES256", kid: keys[0].kid };
        return { audience: resource, scope, accessTokenTTL, accessTokenFormat: "jwt", jwt: { sign } };
      },
    },
  },
});

// Who is sent to alice comes back at once, with all that was asked for.
async function agree(provider, request, response) {
  const { params } = await provider.interactionDetails(request, response);
  const grant = new provider.Grant({ accountId: "alice", clientId: params.client_id });
  grant.addOIDCScope(params.scope);
  grant.addResourceScope(params.resource, params.scope);
  const consent = { grantId: await grant.save() };
  await provider.interactionFinished(request, response, { login: { accountId: "alice" }, consent });
}

const listen = (server, on) =>
  new Promise((ready) => server.listen(on, "127.0.0.1", () => ready(`http://127.0.0.1:${server.address().port}`)));

let provider;
const door = http.createServer((request, response) => {
  const [path] = request.url.split("?");
  response.on("finish", () => console.error(request.method, path, response.statusCode));
  if (!path.startsWith(ask)) return provider.callback()(request, response);
  agree(provider, request, response).catch((error) => response.writeHead(500).end(String(error)));
});
const issuer = await listen(door, Number(port));

// A provider's keys are fixed when it is made: each rotation makes another one behind the same door.
let keys = [];
const publish = (changed) => {
  keys = changed;
  provider = new Provider(issuer, configuration(keys));
};
publish([newKey()]);

const controls = {
  "POST /rotate": () => publish([newKey(), ...keys]),
  "POST /drop": () => publish(keys.slice(0, 1)),
};
const control = await listen(
  http.createServer((request, response) => {
    const act = controls[`${request.method} ${request.url}`];
    if (!act) return response.writeHead(404).end();
    act();
    response.end(JSON.stringify({ signing: keys[0].kid, published: keys.map((key) => key.kid) }));
  }),
  0,
);

console.log(JSON.stringify({ issuer, control, pid: process.pid }));
