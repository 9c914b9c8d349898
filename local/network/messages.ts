/** The messages between the cloud and its network thread. */

import type { Impairment } from "../../schemas/local.ts";

export interface NetworkEndpoint {
  id: string;
  address: string;
  weight: number;
}
export interface NetworkGroup {
  arn: string;
  region: string;
  dial: number;
  health: {
    protocol: "TCP" | "HTTP" | "HTTPS";
    port: number | undefined;
    path: string;
    intervalMs: number;
    threshold: number;
  };
  overrides: { listener: number; endpoint: number }[];
  endpoints: NetworkEndpoint[];
}
export interface NetworkListener {
  arn: string;
  /** Where it listens: every port on each address. */
  addresses: string[];
  sourceAffinity: boolean;
  /** Public port → the port on this machine. */
  ports: [number, number][];
  groups: NetworkGroup[];
}

export type ToNetwork =
  | { type: "listeners"; listeners: NetworkListener[]; reply: number }
  | { type: "pod"; address: string; port: number; targetHost: string; targetPort: number; reply: number }
  | { type: "closePod"; address: string; port: number; reply: number }
  | { type: "impair"; from: string; to: string; impairment: Impairment | undefined; reply: number };

export type FromNetwork =
  | { type: "reply"; reply: number; error?: string; port?: number }
  | { type: "fault"; error: string }
  | { type: "health"; group: string; endpoint: string; state: "HEALTHY" | "UNHEALTHY" };
