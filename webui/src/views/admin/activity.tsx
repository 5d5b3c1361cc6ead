/** What people did lately. */
import { useQuery } from "@tanstack/react-query";
import { Link } from "wouter";
import type { Me } from "../../api";
import { formatTime } from "../../format";
import { useLanguage, useTexts } from "../../texts";
import { useConsole } from "../../texts/console";
import { actionName } from "../audit/format";
import { consoleApi } from "../console/calls";
import { Card, may } from "../console/guard";

const SHOWN = 12;

export function Activity({ me }: { me: Me }) {
  const words = useConsole();
  const { nav } = useTexts();
  const language = useLanguage();
  const log = useQuery({
    queryKey: ["audit", "newest"],
    queryFn: () => consoleApi.audit({}),
    enabled: may(me, "manage"),
    refetchInterval: 30_000,
  });
  if (!may(me, "manage")) return null;
  return (
    <Card
      id="activity-title"
      title={words.training.activity}
      actions={
        <Link href="/audit" className="text-[0.9rem] text-accent underline">
          {nav.audit}
        </Link>
      }
    >
      {log.data?.items.length === 0 && <p className="text-muted">{words.audit.none}</p>}
      <ol className="flex flex-col gap-1.5">
        {log.data?.items.slice(0, SHOWN).map((entry) => (
          <li key={entry.id} className="text-[0.92rem] wrap-anywhere">
            <span className="font-medium">{entry.actor_name ?? entry.actor}</span>{" "}
            {actionName(entry.action, words.audit.actions)} {entry.object_name ?? entry.object}
            <span className="block text-[0.85rem] text-muted">
              {[formatTime(entry.at, language), entry.reason].filter(Boolean).join(" · ")}
            </span>
          </li>
        ))}
      </ol>
    </Card>
  );
}
