// Reads webhooks, one JSON document a line, and says of each whether the
// specification's JavaScript library accepts it.
import { createInterface } from "node:readline";
import { Webhook } from "standardwebhooks";

for await (const line of createInterface({ input: process.stdin })) {
  const { secret, headers, body } = JSON.parse(line);
  try {
    // What it verified it parses as JSON; the signature is what is asked here.
    new Webhook(secret).verify(Buffer.from(body, "base64").toString("utf8"), headers);
    console.log("ok");
  } catch (error) {
    console.log(`${error.constructor.name}: ${error.message}`);
  }
}
