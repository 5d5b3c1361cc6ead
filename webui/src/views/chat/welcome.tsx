/** An empty conversation: what happens here, and three ways to begin. */
import { useTexts } from "../../texts";

export function Welcome({ pick }: { pick: (text: string) => void }) {
  const texts = useTexts();
  return (
    <div className="mx-auto flex w-full max-w-190 flex-col gap-5 pt-[14vh]">
      <div>
        <h2 className="text-2xl font-semibold">{texts.chat.emptyTitle}</h2>
        <p className="mt-1 text-[1.05rem] text-muted">{texts.chat.emptyLead}</p>
      </div>
      <ul className="flex flex-col items-start gap-2">
        {texts.chat.ideas.map((idea) => (
          <li key={idea}>
            <button
              type="button"
              onClick={() => pick(idea)}
              className="rounded-lg border border-line bg-surface px-3.5 py-2 text-left hover:border-line-strong hover:bg-hover"
            >
              {idea}
            </button>
          </li>
        ))}
      </ul>
    </div>
  );
}
