/** The way between two addresses: what geography says, and what somebody made worse. */
import type { Impairment } from "../../schemas/local.ts";
import type { Ways } from "./connection.ts";
import { cities, type Geography } from "./geography.ts";
import type { Way } from "./wire.ts";

interface Impaired {
  from: string;
  to: string;
  impairment: Impairment;
}

export class Paths {
  readonly #geography: Geography;
  #impaired: Impaired[] = [];
  /** Grows with every change, so that open connections notice it. */
  #version = 0;

  constructor(geography: Geography) {
    this.#geography = geography;
  }

  /** @throws Error when there is no such place; without an impairment the path is as measured again */
  impair(from: string, to: string, impairment: Impairment | undefined): void {
    for (const place of [from, to]) this.#check(place);
    const others = this.#impaired.filter((one) => !(isBetween(one, from, to) || isBetween(one, to, from)));
    this.#impaired = impairment === undefined ? others : [...others, { from, to, impairment }];
    this.#version++;
  }

  get impaired(): readonly Impaired[] {
    return this.#impaired;
  }

  /** Both directions between two addresses, as they are whenever somebody asks. */
  between(from: string, to: string): Ways {
    let known: { version: number; way: Way } | undefined;
    const way = () => {
      if (known?.version !== this.#version) known = { version: this.#version, way: this.#wayOf(from, to) };
      return known.way;
    };
    return { there: way, back: way };
  }

  #wayOf(from: string, to: string): Way {
    const measured = this.#geography.rtt(this.#geography.placeOf(from), this.#geography.placeOf(to));
    const found = this.#impaired.filter(
      (one) =>
        (this.#isAt(from, one.from) && this.#isAt(to, one.to)) ||
        (this.#isAt(from, one.to) && this.#isAt(to, one.from)),
    );
    const merged: Impairment = Object.assign({}, ...found.map(({ impairment }) => impairment));
    return {
      oneWayMs: (merged.rttMs ?? measured) / 2,
      jitterMs: merged.jitterMs ?? 0,
      lossShare: merged.lossShare ?? 0,
      cut: merged.cut ?? false,
    };
  }

  /** Whether an address is at a place: a city has its clients, a region its edges and pods. */
  #isAt(address: string, place: string): boolean {
    if (address === place) return true;
    const at = this.#geography.placeOf(address);
    if (cities.some(({ name }) => name === place)) return "name" in at && at.name === place;
    return !("name" in at) && at.region === place;
  }

  #check(place: string): void {
    const names = [...cities.map(({ name }) => name), ...this.#geography.regions];
    if (!names.includes(place) && !/^127(\.\d{1,3}){3}$/.test(place))
      throw new Error(
        `${place} is not a place: use a city or a region (${names.join(", ")}), or an address of this cloud`,
      );
  }
}

const isBetween = (one: Impaired, from: string, to: string) => one.from === from && one.to === to;
