/** The guidelines beside the task: their version, and whether they have changed since they were last read. */
import { useQuery, useQueryClient } from "@tanstack/react-query";
import { api } from "../../api";
import { Markdown, UnderHeading } from "../../markdown/blocks";
import { queries } from "../../queries";
import { useTexts } from "../../texts/judging";
import { PHONE, useMedia } from "../../ui/media";

export function GuidelinePanel() {
  const texts = useTexts();
  const client = useQueryClient();
  const narrow = useMedia(PHONE);
  const { data } = useQuery(queries.guidelines);
  if (!data) return <aside aria-label={texts.guideline.title} />;
  const { newest, read_version } = data;
  const isNew = newest !== null && read_version < newest.version;
  const markRead = async (version: number) => {
    await api.guidelinesRead(version).catch(() => undefined);
    await client.invalidateQueries({ queryKey: queries.guidelines.queryKey });
  };
  return (
    <aside aria-label={texts.guideline.title} className="card min-[1100px]:sticky min-[1100px]:top-5">
      <details open={!narrow} className="p-4">
        <summary className="flex flex-wrap items-center gap-2 font-semibold">
          <h2>{texts.guideline.title}</h2>
          {newest && <span className="chip">{texts.guideline.version(newest.version)}</span>}
          {isNew && (
            <span className="chip chip-turn">
              {read_version > 0 ? texts.guideline.changed : texts.queue.unread}
            </span>
          )}
        </summary>
        <div className="mt-3 text-[0.93rem]">
          {newest ? (
            <UnderHeading value={1}>
              <Markdown text={newest.text} streaming={false} />
            </UnderHeading>
          ) : (
            <p className="text-muted">{texts.guideline.none}</p>
          )}
        </div>
        {isNew && (
          <button type="button" className="btn btn-small mt-3" onClick={() => void markRead(newest.version)}>
            {texts.queue.haveRead}
          </button>
        )}
      </details>
    </aside>
  );
}
