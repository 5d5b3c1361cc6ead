/** What the server computes of the votes; the page only draws it. Missing on servers without that route. */
import { useQuery } from "@tanstack/react-query";
import { call, Problem } from "../../api";
import { consoleKeys } from "./calls";

export interface Rate {
  low: number | null;
  high: number | null;
  n: number;
}
export interface Pair extends Rate {
  a: number;
  b: number;
  wins_a: number;
  ties: number;
  wins_b: number;
  both_bad: number;
  /** Of a over b. */
  rate: number | null;
}
export interface Statistics {
  pairs: Pair[];
  position: Rate & { left_share: number | null };
  agreement: { alpha: number | null; n: number };
  canary: { state: string; e_value: number | null; n: number; needs: number | null } | null;
}

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
