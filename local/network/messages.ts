/** The messages between the cloud and its network thread. */

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
  address: string;
  sourceAffinity: boolean;
  /** Public port → the port on this machine. */
  ports: [number, number][];
  groups: NetworkGroup[];
}

export type ToNetwork =
  | { type: "listeners"; listeners: NetworkListener[]; reply: number }
  | { type: "pod"; address: string; port: number; targetHost: string; targetPort: number; reply: number }
  | { type: "closePod"; address: string; port: number; reply: number };

export type FromNetwork =
  | { type: "reply"; reply: number; error?: string; port?: number }
  | { type: "health"; group: string; endpoint: string; state: "HEALTHY" | "UNHEALTHY" };
