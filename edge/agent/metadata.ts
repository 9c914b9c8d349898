/** The instance metadata service (IMDSv2): the instance's identity, and whether Auto Scaling will terminate it. */

const base = "http://169.254.169.254/latest";
const tokenSeconds = 300;
const askMs = 2000;

export class InstanceMetadata {
  #token: { text: string; until: number } | undefined;

  /** The value at this path; undefined if there is none. */
  async get(path: string): Promise<string | undefined> {
    const answer = await ask(`meta-data/${path}`, { headers: { "x-aws-ec2-metadata-token": await this.#current() } });
    return answer.status === 404 ? undefined : told(path, answer);
  }

  async #current(): Promise<string> {
    if (this.#token !== undefined && this.#token.until > Date.now()) return this.#token.text;
    const headers = { "x-aws-ec2-metadata-token-ttl-seconds": String(tokenSeconds) };
    const text = await told("api/token", await ask("api/token", { method: "PUT", headers }));
    this.#token = { text, until: Date.now() + (tokenSeconds * 1000) / 2 };
    return text;
  }
}

const ask = (path: string, init: RequestInit) =>
  fetch(`${base}/${path}`, { ...init, signal: AbortSignal.timeout(askMs) });

async function told(path: string, answer: Response): Promise<string> {
  if (!answer.ok) throw new Error(`instance metadata ${path} answered ${answer.status}`);
  return answer.text();
}
