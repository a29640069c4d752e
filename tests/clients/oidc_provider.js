// A real OpenID Connect provider (the package oidc-provider) on loopback, with TLS: oidc_provider.js CHAIN KEY
//
// Prints its port. Whoever signs in gets in, by any password; the group of `boss` is `ops`, of everybody else `guests`.

import { readFileSync } from "node:fs";
import { createServer } from "node:https";
import Provider from "oidc-provider";

const [chain, key] = process.argv.slice(2);
const server = createServer({ cert: readFileSync(chain), key: readFileSync(key) });

const configuration = {
  clients: [
    {
      client_id: "console",
      client_secret: "a secret of the console, with: signs & spaces",
      application_type: "native",
      redirect_uris: ["http://127.0.0.1/console/oidc/done"],
      response_types: ["code"],
      grant_types: ["authorization_code"],
    },
  ],
  claims: { openid: ["sub"], groups: ["groups"] },
  scopes: ["openid", "groups"],
  conformIdTokenClaims: false,
  cookies: { keys: ["of a test"] },
  pkce: { required: () => true },
  findAccount: (_context, id) => ({
    accountId: id,
    claims: () => ({ sub: id, groups: id === "boss" ? ["staff", "ops"] : ["guests"] }),
  }),
  // Nobody is asked for consent: the client is the house's own.
  async loadExistingGrant(context) {
    const grant = new context.oidc.provider.Grant({
      clientId: context.oidc.client.clientId,
      accountId: context.oidc.session.accountId,
    });
    grant.addOIDCScope("openid groups");
    await grant.save();
    return grant;
  },
};

server.listen(0, "127.0.0.1", () => {
  const { port } = server.address();
  const provider = new Provider(`https://localhost:${port}`, configuration);
  server.on("request", provider.callback());
  console.log(port);
});
