/** The query as text, and what a click on a facet makes of it. The server reads the same language. */

const TOKEN = /-?(?:[A-Za-z_]+:)?(?:"[^"]*"|\S+)/g;

const tokens = (query: string): string[] => query.match(TOKEN) ?? [];

/** `tag:"too long"`: a value with spaces needs quotes. */
export const term = (key: string, value: string): string =>
  `${key}:${/\s/.test(value) ? `"${value}"` : value}`;

export const has = (query: string, key: string, value: string): boolean =>
  tokens(query).includes(term(key, value));

/** With the term if it was not there, else without it. */
export function toggled(query: string, key: string, value: string): string {
  const wanted = term(key, value);
  const all = tokens(query);
  return (all.includes(wanted) ? all.filter((one) => one !== wanted) : [...all, wanted]).join(" ");
}

/** The key's one value, as of `before:`; empty when it is not there. */
export function valueIn(query: string, key: string): string {
  const found = tokens(query).find((one) => one.startsWith(`${key}:`));
  return found ? found.slice(key.length + 1).replaceAll('"', "") : "";
}

/** With exactly this value of the key; without the key when the value is empty. */
export function withValue(query: string, key: string, value: string): string {
  const others = tokens(query).filter((one) => !one.startsWith(`${key}:`));
  return (value ? [...others, term(key, value)] : others).join(" ");
}

/** The same terms in the same order, whatever spaces are between. */
export const tidy = (query: string): string => tokens(query).join(" ");
