/** A small seeded generator (mulberry32): the same seed, the same numbers. */
export class Random {
  #state: number;
  constructor(seed: number) {
    this.#state = seed >>> 0;
  }

  /** 0 ≤ x < 1 */
  next = (): number => {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let t = this.#state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
  chance = (probability: number) => this.next() < probability;
  /** 0 … most − 1 */
  below = (most: number) => Math.floor(this.next() * most);
  between = (least: number, most: number) => least + this.below(most - least + 1);
  pick = <T>(items: readonly T[]): T => items[this.below(items.length)]!;
}
