// A real OpenID provider on loopback (npm oidc-provider) for one confidential client, `support-bot`, with the grant
// client_credentials. Gives access tokens of five minutes (RFC 9068, ES256) for the resources that it is told of
// (RFC 8707), and rotates its keys when asked. Keeps all in memory: started again, it has new keys. Never knows a user,
// never listens beyond 127.0.0.1.
//   CLIENT_SECRET=… node oidc_provider.mjs NODE_DIRECTORY PORT RESOURCE…      (PORT 0: a free one)
// Prints one line of JSON when ready: {issuer, control, pid}. Each of these answers {signing, published}, both of kids:
//   POST {control}/rotate   a new key signs from now on, the old ones stay published
//   POST {control}/drop     only the key that signs stays published
import crypto from "node:crypto";
import http from "node:http";
import { createRequire } from "node:module";

const [directory, port, ...resources] = process.argv.slice(2);
const { Provider, errors } = createRequire(`${directory}/`)("oidc-provider");
const scope = "pg:query pg:describe pg:export";

const newKey = () => {
  const { privateKey } = crypto.generateKeyPairSync("ec", { namedCurve: "P-256" });
  return { ...privateKey.export({ format: "jwk" }), kid: crypto.randomUUID(), alg: "ES256", use: "sig" };
};

// The first key signs.
const configuration = (keys) => ({
  jwks: { keys },
  scopes: scope.split(" "),
  clients: [
    {
      client_id: "support-bot",
      client_secret: process.env.CLIENT_SECRET,
      grant_types: ["client_credentials"],
      response_types: [],
      redirect_uris: [],
      id_token_signed_response_alg: "ES256",
      scope,
    },
  ],
  features: {
    clientCredentials: { enabled: true },
    devInteractions: { enabled: false },
    resourceIndicators: {
      enabled: true,
      getResourceServerInfo(_context, resource) {
        if (!resources.includes(resource)) throw new errors.InvalidTarget();
        const sign = { alg: "ES256", kid: keys[0].kid };
        return { audience: resource, scope, accessTokenTTL: 300, accessTokenFormat: "jwt", jwt: { sign } };
      },
    },
  },
});

const listen = (server, on) =>
  new Promise((ready) => server.listen(on, "127.0.0.1", () => ready(`http://127.0.0.1:${server.address().port}`)));

let answer;
const issuer = await listen(http.createServer((request, response) => answer(request, response)), Number(port));

// A provider's keys are fixed when it is made: each rotation makes another one behind the same door.
let keys = [];
const publish = (changed) => {
  keys = changed;
  answer = new Provider(issuer, configuration(keys)).callback();
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
