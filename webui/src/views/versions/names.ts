/** Names of what is measured, in the page's language where it is a known one. */
import type { Texts } from "../../texts/console";

export const metricName = (name: string, texts: Texts): string =>
  (texts.admin.curves.names as Record<string, string>)[name] ??
  texts.admin.summary[name] ??
  name.replaceAll("_", " ").replaceAll(".", " · ");
