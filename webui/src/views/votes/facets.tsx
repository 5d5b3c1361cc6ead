/** What the votes are like, with counts: a click narrows the search, another one widens it again. */
import { useState } from "react";
import { useLanguage } from "../../texts";
import { useTexts } from "../../texts/explorer";
import type { VotesFound } from "./calls";
import { Histogram } from "./histogram";
import { has, toggled, valueIn, withValue } from "./query";

const SHOWN = 6;
const ORDER = [
  "outcome", "kind", "pair", "version", "annotator", "status", "rm", "flag", "tag", "review", "used", "guideline",
  "script", "strength",
] as const; // biome-ignore format: a list

interface Props {
  found: VotesFound | undefined;
  query: string;
  onQuery: (query: string) => void;
}

export function Facets({ found, query, onQuery }: Props) {
  const texts = useTexts().votes;
  return (
    <div className="flex flex-col gap-4 p-4">
      <section aria-label={texts.time}>
        <h2 className="eyebrow mb-1.5">{texts.time}</h2>
        <Histogram bars={found?.histogram ?? []} query={query} onQuery={onQuery} />
        <div className="mt-2 flex flex-col gap-1.5">
          {(["after", "before"] as const).map((key) => (
            <label key={key} className="flex items-center justify-between gap-2 text-[0.87rem]">
              <span className="text-muted">{texts[key]}</span>
              <input
                type="date"
                className="field min-h-8 w-38 py-0.5 text-[0.87rem]"
                value={valueIn(query, key).slice(0, 10)}
                onChange={(event) => onQuery(withValue(query, key, event.target.value))}
              />
            </label>
          ))}
        </div>
      </section>
      {ORDER.map((facet) => {
        const values = found?.facets?.[facet] ?? [];
        return values.length > 0 ? (
          <Facet key={facet} facet={facet} values={values} query={query} onQuery={onQuery} />
        ) : null;
      })}
    </div>
  );
}

interface FacetProps {
  facet: (typeof ORDER)[number];
  values: { value: string; votes: number }[];
  query: string;
  onQuery: (query: string) => void;
}

function Facet({ facet, values, query, onQuery }: FacetProps) {
  const texts = useTexts().votes;
  const language = useLanguage();
  const [all, setAll] = useState(false);
  const number = new Intl.NumberFormat(language === "zh" ? "zh-Hans" : "en-GB");
  const words = texts.values as Record<string, string>;
  const shown = all ? values : values.slice(0, SHOWN);
  return (
    <section aria-label={texts.facets[facet]}>
      <h2 className="eyebrow mb-1">{texts.facets[facet]}</h2>
      <ul className="flex flex-col">
        {shown.map(({ value, votes }) => (
          <li key={value}>
            <button
              type="button"
              className="facet"
              aria-pressed={has(query, facet, value)}
              onClick={() => onQuery(toggled(query, facet, value))}
            >
              <span className="min-w-0 truncate" title={value}>
                {words[`${facet}_${value}`] ?? words[value] ?? value}
              </span>
              <span className="text-muted tabular-nums">{number.format(votes)}</span>
            </button>
          </li>
        ))}
      </ul>
      {values.length > SHOWN && (
        <button
          type="button"
          className="px-2 text-[0.85rem] text-accent underline"
          onClick={() => setAll(!all)}
        >
          {all ? texts.fewer : texts.more(values.length - SHOWN)}
        </button>
      )}
    </section>
  );
}
