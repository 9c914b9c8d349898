/**
 * The places of addresses. Each cloud has a loopback /16, 127.<n>.0.0, so that clouds can run side by side. Subnets:
 * 127.n.1.k accelerators, 127.n.(10 + region).k edges, 127.n.(100 + region).k pods, 127.n.(200 + city).k clients.
 */
import { readFileSync } from "node:fs";
import path from "node:path";

export interface City {
  name: string;
  /** The nearest region in the table, and the assumed last mile to it, ms. */
  region: string;
  lastMileMs: number;
}

export const cities: City[] = [
  { name: "seattle", region: "us-west-2", lastMileMs: 8 },
  { name: "new-york", region: "us-east-1", lastMileMs: 10 },
  { name: "sao-paulo", region: "sa-east-1", lastMileMs: 8 },
  { name: "paris", region: "eu-west-3", lastMileMs: 6 },
  { name: "cape-town", region: "af-south-1", lastMileMs: 8 },
  { name: "mumbai", region: "ap-south-1", lastMileMs: 10 },
  { name: "tokyo", region: "ap-northeast-1", lastMileMs: 5 },
  { name: "sydney", region: "ap-southeast-2", lastMileMs: 6 },
];

/** The loopback network that infra/fleet.ts uses. A second cloud on the same machine uses another one. */
export const defaultNetwork = 77;
export const withinRegionMs = 1;

const third = { accelerators: 1, edges: 10, pods: 100, cities: 200 };

/** A place: a region, and the last mile to it. */
export interface Place {
  region: string;
  lastMileMs: number;
}

export class Geography {
  readonly network: number;
  readonly regions: string[];
  readonly #rtt = new Map<string, number>();

  /** `regions` must be in the fleet's order: the order numbers the subnets. */
  constructor(network: number, regions: string[], table = readTable()) {
    this.network = network;
    this.regions = regions;
    for (const [from, to, ms] of table) this.#rtt.set(`${from} ${to}`, ms).set(`${to} ${from}`, ms);
  }

  /** The two static addresses of an accelerator. */
  acceleratorAddresses = (index: number) =>
    [third.accelerators, third.accelerators + 1].map((subnet) => `127.${this.network}.${subnet}.${index + 1}`);
  edgeAddress = (region: string, index: number) =>
    `127.${this.network}.${third.edges + this.#index(region)}.${index + 1}`;
  podAddress = (region: string, index: number) =>
    `127.${this.network}.${third.pods + this.#index(region)}.${index + 1}`;
  cityAddress = (index: number) => `127.${this.network}.${third.cities + index}.1`;

  /** City name → the source address of clients there. */
  get locations(): Record<string, string> {
    return Object.fromEntries(cities.map(({ name }, index) => [name, this.cityAddress(index)]));
  }

  #index(region: string): number {
    const index = this.regions.indexOf(region);
    if (index < 0) throw new Error(`${region} is not a region of this fleet: use one of ${this.regions.join(", ")}`);
    return index;
  }

  /** The place of an address; the home region for an address without a place, such as 127.0.0.1. */
  placeOf(address: string): Place {
    const [first, second, subnet = 0] = address
      .replace(/^::ffff:/, "")
      .split(".")
      .map(Number);
    const home = { region: this.regions[0]!, lastMileMs: 0 };
    if (first !== 127 || second !== this.network) return home;
    const city = cities[subnet - third.cities];
    if (city !== undefined) return city;
    const region = this.regions[subnet >= third.pods ? subnet - third.pods : subnet - third.edges];
    return region === undefined ? home : { region, lastMileMs: 0 };
  }

  /** Round trip between two regions, ms. */
  regionRtt(from: string, to: string): number {
    if (from === to) return withinRegionMs;
    const ms = this.#rtt.get(`${from} ${to}`);
    if (ms === undefined) throw new Error(`the table has no round trip from ${from} to ${to}`);
    return ms;
  }

  /** Round trip between two places, ms, last miles included. */
  rtt = (from: Place, to: Place) => this.regionRtt(from.region, to.region) + from.lastMileMs + to.lastMileMs;
}

const tableFile = path.resolve(import.meta.dirname, "../../data/aws-inter-region-rtt.csv");

function readTable(): [string, string, number][] {
  return readFileSync(tableFile, "utf8")
    .split("\n")
    .filter((line) => line !== "" && !line.startsWith("#") && !line.startsWith("from,"))
    .map((line) => {
      const [from = "", to = "", ms] = line.split(",");
      return [from, to, Number(ms)];
    });
}
