/** AWS's list prices in dollars, us-west-2 and us-east-1, late 2025: the pricing page of each service. */
export const prices = {
  /** DynamoDB on demand, a request unit. Storage and streams' reads by Lambda are below a cent here. */
  writeUnit: 0.625e-6,
  readUnit: 0.125e-6,
  /** S3 Standard: PUT and LIST, GET; DELETE is free. */
  s3Put: 5e-6,
  s3Get: 0.4e-6,
  /** Data to another region, a byte. */
  regionByte: 0.02e-9,
  /** Step Functions Standard, a transition; Express, a request and a GB-second, of which each has at least 64 MB and 100 ms. */
  transition: 25e-6,
  expressRequest: 1e-6,
  expressGbSecond: 16.67e-6,
  /** Lambda on x86: a request, a GB-second. */
  invocation: 0.2e-6,
  gbSecond: 16.667e-6,
  /** EventBridge: a custom event. KMS: an asymmetric signature, not RSA-2048; a key for a month. */
  event: 1e-6,
  signature: 15e-6,
  keyMonth: 1,
} as const;

/** Lambda's memory here, and how long a function and each of its calls lasts. *Assumed*: no function ran on AWS. */
export const assumed = { gigabytes: 0.5, baseMs: 5, callMs: 8 } as const;

export const monthSeconds = 730 * 3600;
