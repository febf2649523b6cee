// Reads webhooks, one JSON document a line, and says of each whether the
// specification's JavaScript library accepts it. The library does not know v1a:
// what is signed so is judged as the specification has it, by Node's OpenSSL.
import { createPublicKey, verify } from "node:crypto";
import { createInterface } from "node:readline";
import { Webhook } from "standardwebhooks";

class NoMatch extends Error {}

for await (const line of createInterface({ input: process.stdin })) {
  const { secret, headers, body } = JSON.parse(line);
  try {
    // What it verified it parses as JSON; the signature is what is asked here.
    if (secret.startsWith("whpk_")) verifyAsymmetric(secret, Buffer.from(body, "base64"), headers);
    else new Webhook(secret).verify(Buffer.from(body, "base64").toString("utf8"), headers);
    console.log("ok");
  } catch (error) {
    console.log(`${error.constructor.name}: ${error.message}`);
  }
}

function verifyAsymmetric(secret, body, headers) {
  const x = Buffer.from(secret.slice("whpk_".length), "base64").toString("base64url");
  const key = createPublicKey({ key: { kty: "OKP", crv: "Ed25519", x }, format: "jwk" });
  const signed = Buffer.concat([Buffer.from(`${headers["webhook-id"]}.${headers["webhook-timestamp"]}.`), body]);
  const matches = headers["webhook-signature"].split(" ").some((entry) => {
    const [version, signature] = entry.split(",");
    return version === "v1a" && verify(null, signed, key, Buffer.from(signature, "base64"));
  });
  if (!matches) throw new NoMatch("no signature of v1a matches");
}
