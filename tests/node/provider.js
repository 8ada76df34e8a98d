// A provider of logins for the black-box tests: the certified oidc-provider, or, told so, one that lies in its ID tokens.
// Usage: node provider.js PORT REDIRECT_URI; prints a line when it is ready.
import { createServer } from "node:http";
import { SignJWT, UnsecuredJWT, exportJWK, generateKeyPair } from "jose";
import Provider from "oidc-provider";

const [port, redirectUri] = process.argv.slice(2);
const issuer = `http://127.0.0.1:${port}`;
const client = { id: "airouter", secret: "a secret of the client" };

// A name at the provider is `address` or, where the provider hasn't proved the address, `unproved-address`.
function account(name) {
  const isProved = !name.startsWith("unproved-");
  return { sub: name, email: name.replace("unproved-", ""), email_verified: isProved, name: "A Person" };
}

const provider = new Provider(issuer, {
  clients: [{ client_id: client.id, client_secret: client.secret, redirect_uris: [redirectUri] }],
  claims: { openid: ["sub"], email: ["email", "email_verified"], profile: ["name"] },
  findAccount: (_context, sub) => ({ accountId: sub, claims: () => account(sub) }),
  cookies: { keys: ["a key of the provider"] },
});

// The other one lives below /lying. How it lies is the code that its browser brings: `CODE:NONCE`.
const { publicKey, privateKey } = await generateKeyPair("RS256");
const { privateKey: anothersKey } = await generateKeyPair("RS256");
const lying = `${issuer}/lying`;

async function idToken(code) {
  const [lie, nonce] = code.split(":");
  const claims = { ...account("liar@example.com"), nonce: lie === "nonce" ? "another" : nonce };
  const now = Math.floor(Date.now() / 1000);
  const fill = (token) =>
    token
      .setIssuer(lie === "issuer" ? issuer : lying)
      .setAudience(lie === "audience" ? "another" : client.id)
      .setIssuedAt(lie === "expired" ? now - 7200 : now)
      .setExpirationTime(lie === "expired" ? now - 3600 : now + 60);
  if (lie === "unsigned") return fill(new UnsecuredJWT(claims)).encode();
  const signed = fill(new SignJWT(claims).setProtectedHeader({ alg: "RS256", kid: "a" }));
  return signed.sign(lie === "signature" ? anothersKey : privateKey);
}

const answers = {
  "/lying/.well-known/openid-configuration": () => ({
    issuer: lying,
    authorization_endpoint: `${lying}/auth`,
    token_endpoint: `${lying}/token`,
    jwks_uri: `${lying}/keys`,
  }),
  "/lying/keys": async () => ({ keys: [{ ...(await exportJWK(publicKey)), kid: "a" }] }),
  "/lying/token": async (body) => ({
    access_token: "x",
    token_type: "Bearer",
    id_token: await idToken(new URLSearchParams(body).get("code")),
  }),
};

const certified = provider.callback();
createServer(async (request, response) => {
  const answer = answers[request.url];
  if (!answer) return certified(request, response);
  let body = "";
  for await (const chunk of request) body += chunk;
  response.setHeader("content-type", "application/json");
  response.end(JSON.stringify(await answer(body)));
}).listen(Number(port), "127.0.0.1", () => console.log("ready"));
