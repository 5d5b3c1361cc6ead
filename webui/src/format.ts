/** Times, durations and numbers as people read them, in the page's language. */
import type { Language } from "./texts";

const locale = (language: Language) => (language === "zh" ? "zh-Hans" : "en-GB");

/** "14:05" today, "3 Mar, 14:05" otherwise. */
export function formatTime(at: string | number | Date, language: Language, now = new Date()): string {
  const date = new Date(at);
  const today = date.toDateString() === now.toDateString();
  const day: Intl.DateTimeFormatOptions = today ? {} : { day: "numeric", month: "short" };
  return new Intl.DateTimeFormat(locale(language), { ...day, hour: "2-digit", minute: "2-digit" }).format(
    date,
  );
}

/** "8s", "3m 20s", "2h 5m". */
export function formatDuration(ms: number, language: Language): string {
  const seconds = Math.max(0, Math.round(ms / 1000));
  const [h, m, s] = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60, seconds % 60];
  const unit = (value: number, name: "hour" | "minute" | "second") =>
    new Intl.NumberFormat(locale(language), { style: "unit", unit: name, unitDisplay: "narrow" }).format(
      value,
    );
  if (h > 0) return [unit(h, "hour"), m > 0 ? unit(m, "minute") : ""].join(" ").trim();
  if (m > 0) return [unit(m, "minute"), s > 0 ? unit(s, "second") : ""].join(" ").trim();
  return unit(s, "second");
}

/** Three significant digits; very large and very small ones in powers of ten. */
export function formatNumber(value: number, language: Language): string {
  const size = Math.abs(value);
  const notation = size !== 0 && (size >= 1e6 || size < 1e-3) ? "scientific" : "standard";
  const digits =
    Number.isInteger(value) && notation === "standard"
      ? {}
      : { maximumSignificantDigits: size >= 1000 ? 4 : 3 };
  return new Intl.NumberFormat(locale(language), { notation, ...digits }).format(value);
}

/** "270 MB": in powers of a thousand, as disks are sold. */
export function formatBytes(bytes: number, language: Language): string {
  const units = ["byte", "kilobyte", "megabyte", "gigabyte", "terabyte"] as const;
  const power = bytes < 1 ? 0 : Math.min(units.length - 1, Math.floor(Math.log10(bytes) / 3));
  return new Intl.NumberFormat(locale(language), {
    style: "unit",
    unit: units[power],
    unitDisplay: "short",
    maximumSignificantDigits: 3,
  }).format(bytes / 1000 ** power);
}

/** "57 %", "57.3 %" below ten in a hundred. */
export function formatShare(share: number, language: Language): string {
  return new Intl.NumberFormat(locale(language), { style: "percent", maximumFractionDigits: 1 }).format(
    share,
  );
}
