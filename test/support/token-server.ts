import { randomBytes, sign, X509Certificate } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import { createServer, type Server } from 'node:https';
import type { AddressInfo } from 'node:net';
import { testTls } from './tls.ts';

/** A request for a token. */
export interface TokenRequest {
  readonly method: string;
  readonly service: string | null;
  readonly scopes: readonly string[];
}

/**
 * A token server (Docker's token authentication) over https that gives one identity token every access that it asks
 * for. Its tokens are signed with the test key.
 */
export class TokenServer implements AsyncDisposable {
  readonly issuer = 'test issuer';
  readonly service = 'test registry';
  readonly requests: TokenRequest[] = [];
  /** What it says of the life of its tokens. */
  seconds = 300;
  readonly #identityToken: string;
  readonly #server: Server;

  private constructor(identityToken: string) {
    this.#identityToken = identityToken;
    this.#server = createServer(testTls, (request, response) => {
      this.#answer(request).then(
        ({ status, body }) =>
          response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body)),
        () => response.destroy(),
      );
    });
  }

  static async start(identityToken: string): Promise<TokenServer> {
    const server = new TokenServer(identityToken);
    await new Promise<void>((resolve) => server.#server.listen(0, '127.0.0.1', resolve));
    return server;
  }

  get realm(): string {
    return `https://127.0.0.1:${(this.#server.address() as AddressInfo).port}/token`;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  async #answer(request: IncomingMessage): Promise<{ status: number; body: object }> {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const form = new URLSearchParams(Buffer.concat(chunks).toString());
    const scopes = form.getAll('scope').flatMap((scope) => scope.split(' '));
    this.requests.push({ method: request.method ?? '', service: form.get('service'), scopes });
    const isRight = form.get('grant_type') === 'refresh_token' && form.get('refresh_token') === this.#identityToken;
    if (!isRight) return { status: 401, body: { errors: [{ code: 'UNAUTHORIZED', message: 'wrong identity token' }] } };
    return { status: 200, body: { access_token: this.#token(scopes), expires_in: this.seconds } };
  }

  /** A JSON web token as https://distribution.github.io/distribution/spec/auth/jwt/ has it. */
  #token(scopes: readonly string[]): string {
    const now = Math.floor(Date.now() / 1000);
    const access = scopes.map((scope) => {
      const [type, name, actions = ''] = scope.split(':');
      return { type, name, actions: actions.split(',') };
    });
    const header = { typ: 'JWT', alg: 'ES256', x5c: [new X509Certificate(testTls.cert).raw.toString('base64')] };
    const claims = {
      iss: this.issuer,
      aud: this.service,
      sub: 'tester',
      jti: randomBytes(8).toString('hex'),
      access,
      nbf: now - 10,
      iat: now,
      exp: now + 300,
    };
    const signed = [header, claims].map((part) => Buffer.from(JSON.stringify(part)).toString('base64url')).join('.');
    const signature = sign('sha256', Buffer.from(signed), { key: testTls.key, dsaEncoding: 'ieee-p1363' });
    return `${signed}.${signature.toString('base64url')}`;
  }
}
