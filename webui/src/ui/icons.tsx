/** The page's icons, drawn in one hand: 20 by 20, one stroke, the colour of the text around. */
const PATHS = {
  menu: "M3 5.5h14M3 10h14M3 14.5h14",
  plus: "M10 4v12M4 10h12",
  close: "M5 5l10 10M15 5L5 15",
  pencil: "M4 16l.6-3L13 4.6l2.4 2.4L7 15.4zM11.5 6l2.4 2.4",
  trash: "M4 6h12M8 6V4h4v2M6 6l.6 10h6.8L14 6M8.5 9v4M11.5 9v4",
  send: "M10 16V4.5M5 9.2L10 4.2l5 5",
  stop: "M6 6h8v8H6z",
  copy: "M7.5 7.5h8v8h-8zM12.5 7.5v-3h-8v8h3",
  check: "M4.5 10.5l3.5 3.5 7.5-8",
  up: "M7 9v7M7 9.2L10 3.5c1.3 0 2 1 1.8 2.2L11.4 8H15c1 0 1.6.9 1.4 1.8l-1 4.7c-.2.9-.9 1.5-1.8 1.5H7M7 9H4v7h3",
  down: "M13 11V4M13 10.8l-3 5.7c-1.3 0-2-1-1.8-2.2l.4-2.3H5c-1 0-1.6-.9-1.4-1.8l1-4.7C4.8 4.6 5.5 4 6.4 4H13M13 11h3V4h-3",
  again: "M15.5 6.5A6.5 6.5 0 1 0 16.5 10M15.8 3v3.8H12",
  left: "M12 5l-5 5 5 5",
  right: "M8 5l5 5-5 5",
  fold: "M5 12.5l5-5 5 5",
  unfold: "M5 7.5l5 5 5-5",
  out: "M8 4H4.5v12H8M8.5 10H16M13 6.8L16.2 10 13 13.2",
  chat: "M4 5h12v8.5H9L5.5 16.5v-3H4z",
  chart: "M4 4v12h12M7 12.5l3-3.5 2.5 2 3.5-5",
  warn: "M10 3.5l7 12.5H3zM10 8.5v3.5M10 14v.2",
  play: "M7 5l8 5-8 5z",
  back: "M8 5L4 9l4 4M4.5 9H12a4 4 0 0 1 0 8H9",
  clock: "M10 3.5a6.5 6.5 0 1 0 0 13 6.5 6.5 0 0 0 0-13M10 6.5V10l2.5 1.8",
  dash: "M6 10h8",
  key: "M12.5 3.5a4 4 0 1 1-3.3 6.3L4 15v2h3v-2h2v-2h1.5M13.5 7v.2",
  search: "M9 3.8a5.2 5.2 0 1 0 0 10.4A5.2 5.2 0 0 0 9 3.8M12.9 12.9L16.5 16.5",
  more: "M4.4 10a.6.6 0 1 0 1.2 0 .6.6 0 0 0-1.2 0M9.4 10a.6.6 0 1 0 1.2 0 .6.6 0 0 0-1.2 0M14.4 10a.6.6 0 1 0 1.2 0 .6.6 0 0 0-1.2 0",
  download: "M10 4v8.5M6.5 9.2L10 12.7l3.5-3.5M4.5 16h11",
  upload: "M10 13V4.3M6.5 7.8L10 4.3l3.5 3.5M4.5 16h11",
  keyboard: "M2.8 5.5h14.4v9H2.8zM5.5 8.4h.01M8.5 8.4h.01M11.5 8.4h.01M14.5 8.4h.01M6.5 11.8h7",
  rank: "M4 16v-5h4v5M8 16V5h4v11M12 16V8.5h4V16M3 16h14",
  people:
    "M7.5 4a2.7 2.7 0 1 0 0 5.4A2.7 2.7 0 0 0 7.5 4M2.8 16c.2-2.6 2.1-4.3 4.7-4.3s4.5 1.7 4.7 4.3M12.6 4.4a2.6 2.6 0 0 1 0 4.7M14.2 12.2c1.8.5 2.9 1.9 3 3.8",
  theme: "M10 3.5a6.5 6.5 0 1 0 6.5 6.5A5 5 0 0 1 10 3.5",
  language:
    "M10 3.5a6.5 6.5 0 1 0 0 13 6.5 6.5 0 0 0 0-13M3.5 10h13M10 3.5c4 4 4 9 0 13M10 3.5c-4 4-4 9 0 13",
} as const;

export type IconName = keyof typeof PATHS;

export function Icon({ name, className = "size-5" }: { name: IconName; className?: string }) {
  return (
    <svg
      viewBox="0 0 20 20"
      className={`shrink-0 ${className}`}
      fill="none"
      stroke="currentColor"
      strokeWidth="1.6"
      strokeLinecap="round"
      strokeLinejoin="round"
      aria-hidden="true"
    >
      <path d={PATHS[name]} />
    </svg>
  );
}

/** The sign of the product: two sides, and a vote between them. */
export function Mark({ className = "size-6" }: { className?: string }) {
  return (
    <svg viewBox="0 0 32 32" className={className} aria-hidden="true">
      <rect width="32" height="32" rx="8" fill="var(--accent)" />
      <path
        d="M9 8v16M9 16h14M23 8v16"
        stroke="var(--on-accent)"
        strokeWidth="3.4"
        strokeLinecap="round"
        fill="none"
      />
      <circle cx="16" cy="16" r="4.2" fill="#f4b740" stroke="var(--accent)" strokeWidth="1.4" />
    </svg>
  );
}
