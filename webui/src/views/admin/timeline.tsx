/** What was live when, who changed it, and why. */
import type { Activation, Me } from "../../api";
import { formatTime } from "../../format";
import { useLanguage } from "../../texts";
import { useTexts } from "../../texts/console";

interface Props {
  lines: Activation[] | undefined;
  me: Me;
}

/** The pointer's moves, the newest first. */
export function Timeline({ lines, me }: Props) {
  const texts = useTexts().admin.timeline;
  const language = useLanguage();
  const newestFirst = [...(lines ?? [])].sort((a, b) => (a.at < b.at ? 1 : -1));
  if (newestFirst.length === 0) return <p className="text-muted">{texts.none}</p>;
  return (
    <ol>
      {newestFirst.map((line, index) => (
        <li key={line.at} className="relative flex gap-3 pb-3">
          {index < newestFirst.length - 1 && (
            <span className="absolute top-4 -bottom-1 left-[0.3rem] w-px bg-line" aria-hidden="true" />
          )}
          <span
            className={`mt-1.5 size-2.5 shrink-0 rounded-full ${index === 0 ? "bg-accent" : "border border-line-strong bg-surface"}`}
            aria-hidden="true"
          />
          <div className="min-w-0">
            <p className="font-medium">{texts.line(line.number, line.previous)}</p>
            <p className="text-[0.9rem] wrap-anywhere">{line.reason}</p>
            <p className="text-[0.85rem] text-muted">
              {formatTime(line.at, language)} · {texts.by(line.actor === me.id ? texts.you : line.actor)}
            </p>
          </div>
        </li>
      ))}
    </ol>
  );
}
