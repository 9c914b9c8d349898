const cache = new Map<string, RegExp>();
const cachedMax = 5000;

/** Whether a text fits a pattern with `*` and `?`. Positions that are literal stand for themselves. */
export function wildcardMatches(
  pattern: string,
  text: string,
  isLiteral: (index: number) => boolean = () => false,
  ignoreCase = false,
): boolean {
  const marks = [...pattern].map((character, index) => (isLiteral(index) ? "." : character)).join("");
  const key = `${ignoreCase} ${pattern} ${marks}`;
  let regexp = cache.get(key);
  if (regexp === undefined) {
    const source = [...pattern]
      .map((character, index) => {
        if (!isLiteral(index) && character === "*") return ".*";
        if (!isLiteral(index) && character === "?") return ".";
        return character.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
      })
      .join("");
    regexp = new RegExp(`^${source}$`, ignoreCase ? "is" : "s");
    if (cache.size >= cachedMax) cache.clear();
    cache.set(key, regexp);
  }
  return regexp.test(text);
}
