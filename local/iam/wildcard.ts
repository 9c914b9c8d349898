const cache = new Map<string, RegExp>();
const cachedMax = 5000;

/** Whether a text fits a pattern with `*` and `?`. Positions that are literal stand for themselves. */
export function wildcardMatches(
  pattern: string,
  text: string,
  isLiteral?: (index: number) => boolean,
  ignoreCase = false,
): boolean {
  if (!/[*?]/.test(pattern)) return ignoreCase ? pattern.toLowerCase() === text.toLowerCase() : pattern === text;
  const isMarked = (index: number) => isLiteral?.(index) ?? false;
  const marks = isLiteral && [...pattern].map((character, index) => (isLiteral(index) ? "." : character)).join("");
  const key = `${ignoreCase} ${pattern} ${marks ?? ""}`;
  let regexp = cache.get(key);
  if (regexp === undefined) {
    const source = [...pattern]
      .map((character, index) => {
        if (!isMarked(index) && character === "*") return ".*";
        if (!isMarked(index) && character === "?") return ".";
        return character.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
      })
      .join("");
    regexp = new RegExp(`^${source}$`, ignoreCase ? "is" : "s");
    if (cache.size >= cachedMax) cache.clear();
    cache.set(key, regexp);
  }
  return regexp.test(text);
}
