/** The guidelines while voting: their version, and whether they have changed since they were last read. */
import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useEffect } from "react";
import { api } from "../../api";
import { Markdown } from "../../markdown/blocks";
import { queries } from "../../queries";
import { useTexts } from "../../texts";
import { Dialog } from "../../ui/dialog";
import { Loading, ProblemLine } from "../../ui/notice";

export default function Guideline({ onClose }: { onClose: () => void }) {
  const texts = useTexts();
  const client = useQueryClient();
  const query = useQuery(queries.guidelines);
  const newest = query.data?.newest ?? null;
  const isNew = newest !== null && (query.data?.read_version ?? 0) < newest.version;
  useEffect(() => {
    if (!newest || !isNew) return;
    // Told when it is closed: until then "changed" stays on the screen.
    return () => {
      void api.guidelinesRead(newest.version).then(
        () => client.invalidateQueries({ queryKey: queries.guidelines.queryKey }),
        () => undefined,
      );
    };
  }, [newest, isNew, client]);
  return (
    <Dialog title={texts.guideline.title} onClose={onClose} wide>
      {query.isPending && <Loading />}
      {query.error && <ProblemLine error={query.error} retry={() => void query.refetch()} />}
      {query.data && !newest && <p className="text-muted">{texts.guideline.none}</p>}
      {newest && (
        <>
          <p className="mb-3 flex flex-wrap gap-2">
            <span className="chip">{texts.guideline.version(newest.version)}</span>
            {isNew && (query.data?.read_version ?? 0) > 0 && (
              <span className="chip chip-turn">{texts.guideline.changed}</span>
            )}
          </p>
          <div className="max-h-[62vh] overflow-y-auto" tabIndex={0} role="group" aria-label={texts.guideline.title}>
            <Markdown text={newest.text} streaming={false} />
          </div>
        </>
      )}
    </Dialog>
  );
}
