/** For admins: the guidelines as text; saving makes a new version, and everybody is told that they changed. */
import { useQuery, useQueryClient } from "@tanstack/react-query";
import { type FormEvent, useId, useState } from "react";
import { api, type Guidelines } from "../../api";
import { queries } from "../../queries";
import { useTexts } from "../../texts/judging";
import { Loading, ProblemLine } from "../../ui/notice";

export function GuidelineEditor() {
  const query = useQuery(queries.guidelines);
  if (query.error) return <ProblemLine error={query.error} retry={() => void query.refetch()} />;
  if (!query.data) return <Loading />;
  return <Editor key={query.data.newest?.version ?? 0} newest={query.data.newest} />;
}

function Editor({ newest }: { newest: Guidelines["newest"] }) {
  const texts = useTexts();
  const client = useQueryClient();
  const [text, setText] = useState(newest?.text ?? "");
  const [problem, setProblem] = useState<unknown>(null);
  const field = useId();
  const version = newest?.version ?? 0;
  const save = async (event: FormEvent) => {
    event.preventDefault();
    setProblem(null);
    try {
      await api.writeGuidelines(text, version);
      await client.invalidateQueries({ queryKey: queries.guidelines.queryKey });
    } catch (error) {
      setProblem(error);
    }
  };
  return (
    <form className="card flex flex-col gap-3 p-4" onSubmit={(event) => void save(event)}>
      <h2 className="flex flex-wrap items-center gap-2 font-semibold">
        <label htmlFor={field}>{texts.guideline.title}</label>
        {version > 0 && <span className="chip">{texts.guideline.version(version)}</span>}
      </h2>
      <textarea
        id={field}
        className="field min-h-40 text-[0.92rem]"
        placeholder={texts.queue.guidelinesHint}
        value={text}
        maxLength={100_000}
        onChange={(event) => setText(event.target.value)}
      />
      {problem !== null && <ProblemLine error={problem} />}
      <button
        type="submit"
        className="btn btn-main w-fit"
        disabled={!text.trim() || text === (newest?.text ?? "")}
      >
        {texts.queue.saveAs(version + 1)}
      </button>
    </form>
  );
}
