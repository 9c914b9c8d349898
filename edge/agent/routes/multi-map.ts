/** Values by key, of which most keys have one: only the others take a set. */
export class MultiMap<K, V extends object> {
  readonly #values = new Map<K, V | Set<V>>();

  /** Returns true if the key had no value. */
  add(key: K, value: V): boolean {
    const before = this.#values.get(key);
    if (before instanceof Set) before.add(value);
    else if (before === undefined) this.#values.set(key, value);
    else if (before !== value) this.#values.set(key, new Set([before, value]));
    return before === undefined;
  }

  /** Returns true if the key has no value any more. */
  delete(key: K, value: V): boolean {
    const before = this.#values.get(key);
    if (before === undefined) return false;
    if (before === value) return this.#values.delete(key);
    if (before instanceof Set && before.delete(value) && before.size === 1) this.#values.set(key, [...before][0]!);
    return false;
  }

  get(key: K): Iterable<V> {
    const found = this.#values.get(key);
    if (found === undefined) return [];
    return found instanceof Set ? found : [found];
  }

  first(key: K): V | undefined {
    for (const value of this.get(key)) return value;
    return undefined;
  }

  has(key: K): boolean {
    return this.#values.has(key);
  }

  keys(): MapIterator<K> {
    return this.#values.keys();
  }

  get size(): number {
    return this.#values.size;
  }
}
