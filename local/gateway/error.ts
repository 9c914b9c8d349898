/** An error as AWS sends it: `name` is its code. */
export class AwsError extends Error {
  /** Additional headers of the response. */
  headers: Record<string, string> = {};
  override readonly name: string;
  readonly status: number;
  readonly members: Record<string, unknown>;
  constructor(name: string, message: string, status = 400, members: Record<string, unknown> = {}) {
    super(message);
    this.name = name;
    this.status = status;
    this.members = members;
  }
}
