// A proxy on loopback that adds `Authorization: Bearer $TOKEN` and forwards everything else as it came, Host and Origin included:
// the conformance suite cannot send a token. Prints its URL; ends when its stdin closes.
//   TOKEN=… node inject-token.mjs http://127.0.0.1:PORT/mcp
import http from "node:http";

const target = new URL(process.argv[2]);
const authorization = ["Authorization", `Bearer ${process.env.TOKEN}`];

const server = http.createServer((incoming, answer) => {
  const outgoing = http.request({
    host: target.hostname,
    port: target.port,
    method: incoming.method,
    path: incoming.url,
    headers: [...incoming.rawHeaders, ...authorization],
  });
  outgoing.on("response", (response) => {
    answer.writeHead(response.statusCode, response.rawHeaders);
    response.pipe(answer);
  });
  outgoing.on("error", () => answer.destroy());
  answer.on("close", () => outgoing.destroy());
  incoming.pipe(outgoing);
});

server.listen(0, "127.0.0.1", () => console.log(`http://127.0.0.1:${server.address().port}${target.pathname}`));
process.stdin.resume().on("end", () => process.exit(0));
