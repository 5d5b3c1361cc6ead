/** What the server computes of the votes; the page only draws it. Missing on servers without that route. */
import { useQuery } from "@tanstack/react-query";
import { call, Problem } from "../../api";
import type { components } from "../../api-types";
import { consoleKeys } from "./calls";

type Schemas = components["schemas"];
export type Statistics = Schemas["StatisticsOut"];
export type Pair = Schemas["PairRate"];

/** The pair as seen from `number`: its wins first. */
export function pairOf(pairs: readonly Pair[], number: number, other: number): Pair | undefined {
  const found = pairs.find(
    (one) => (one.a === number && one.b === other) || (one.a === other && one.b === number),
  );
  if (!found || found.a === number) return found;
  const turned = (share: number | null) => (share === null ? null : 1 - share);
  return {
    ...found,
    a: number,
    b: other,
    wins_a: found.wins_b,
    wins_b: found.wins_a,
    rate: turned(found.rate),
    low: turned(found.high),
    high: turned(found.low),
  };
}

export function useStatistics() {
  const query = useQuery({
    queryKey: consoleKeys.statistics,
    queryFn: () => call<Statistics>("GET", "/api/v1/statistics"),
    retry: false,
    staleTime: 30_000,
  });
  return {
    data: query.data,
    missing: query.error instanceof Problem && query.error.status === 404,
    pairOf: (number: number, other: number) => pairOf(query.data?.pairs ?? [], number, other),
  };
}
