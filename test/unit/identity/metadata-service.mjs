// Serves one kind of metadata service at its link-local address, asks it as the agent does, and prints what came of it.
import { createServer } from "node:http";
import { cloudLocation } from "../../../src/identity/location/cloud.ts";
import { metadataService } from "../../../src/identity/location/metadata-service.ts";

const kind = process.argv[2];
let received = 0;

const server = createServer((request, response) => {
  if (kind === "silent") return;
  if (kind === "redirect") return response.writeHead(302, { location: "http://127.0.0.1:1/" }).end();
  if (kind === "endless") return pour(response);
  if (request.url === "/latest/api/token" && request.method === "PUT") return response.end("token");
  if (request.headers["x-aws-ec2-metadata-token"] !== "token") return response.writeHead(401).end();
  response.end('{"region":"eu-west-1"}');
});

/** Until the other side closes. */
function pour(response) {
  while (!response.destroyed && response.write("x".repeat(65_536))) received += 65_536;
  response.once("drain", () => pour(response));
}

await new Promise((resolve) => server.listen(80, "169.254.169.254", resolve));
const location = await cloudLocation(metadataService(new AbortController().signal));
process.stdout.write(JSON.stringify(location === undefined ? { received } : { location }));
process.exit(0);
