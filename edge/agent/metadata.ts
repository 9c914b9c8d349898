/** The instance metadata service (IMDSv2): the instance's identity, and whether Auto Scaling will terminate it. */
import { clock } from "./clock.ts";

const base = "http://169.254.169.254/latest";
const tokenSeconds = 300;
const askMs = 2000;

export class InstanceMetadata {
  #token: { text: string; until: number } | undefined;

  /** The value at this path; undefined if there is none. */
  async get(path: string): Promise<string | undefined> {
    const known = this.#token;
    const answer = await this.#ask(path);
    if (answer.status !== 401 || known === undefined) return told(path, answer);
    this.#token = undefined; // not taken any more, whatever its age
    return told(path, await this.#ask(path));
  }

  async #ask(path: string): Promise<Response> {
    return ask(`meta-data/${path}`, { headers: { "x-aws-ec2-metadata-token": await this.#current() } });
  }

  async #current(): Promise<string> {
    if (this.#token !== undefined && this.#token.until > clock()) return this.#token.text;
    const headers = { "x-aws-ec2-metadata-token-ttl-seconds": String(tokenSeconds) };
    const text = await told("api/token", await ask("api/token", { method: "PUT", headers }));
    if (text === undefined) throw new Error("the instance metadata service gives no token");
    this.#token = { text, until: clock() + (tokenSeconds * 1000) / 2 };
    return text;
  }
}

const ask = (path: string, init: RequestInit) =>
  fetch(`${base}/${path}`, { ...init, signal: AbortSignal.timeout(askMs) });

async function told(path: string, answer: Response): Promise<string | undefined> {
  if (answer.status === 404) return undefined;
  if (!answer.ok) throw new Error(`instance metadata ${path} answered ${answer.status}`);
  return answer.text();
}
