// Stands before a server on loopback and says what was asked of it: one line per answer on stderr,
// METHOD PATH STATUS MCP-METHOD, the last being the JSON-RPC method of the body or `-`. Passes everything on unchanged.
//   node recorder.mjs PORT TARGET_PORT
import http from "node:http";
import { buffer } from "node:stream/consumers";

const [port, target] = process.argv.slice(2).map(Number);

function rpcMethod(body) {
  try {
    return JSON.parse(body).method ?? "-";
  } catch {
    return "-";
  }
}

const recorder = http.createServer(async (request, response) => {
  const { method, url: path, headers } = request;
  const body = await buffer(request);
  const onward = http.request({ host: "127.0.0.1", port: target, method, path, headers }, (answer) => {
    console.error(method, path, answer.statusCode, rpcMethod(body));
    response.writeHead(answer.statusCode, answer.headers);
    answer.pipe(response);
  });
  onward.on("error", () => response.destroy());
  onward.end(body);
});
recorder.listen(port, "127.0.0.1");
