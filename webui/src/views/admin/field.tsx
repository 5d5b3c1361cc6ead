/** A labelled field with what the server said of it beneath. */
import { type ReactNode, useId } from "react";
import type { Problem } from "../../api";

interface Props {
  label: string;
  /** What was refused of this field. */
  problem: Problem | null;
  hint?: string;
  children: (props: {
    id: string;
    className: string;
    "aria-invalid": boolean;
    "aria-describedby": string | undefined;
  }) => ReactNode;
}

export function Field({ label, problem, hint, children }: Props) {
  const id = useId();
  const said = `${id}-said`;
  return (
    <div className="flex flex-col gap-1">
      <label htmlFor={id} className="text-[0.92rem]">
        {label}
      </label>
      {children({
        id,
        className: "field min-h-9 py-1",
        "aria-invalid": problem !== null,
        "aria-describedby": problem || hint ? said : undefined,
      })}
      {problem ? (
        <span id={said} role="alert" className="text-[0.87rem] text-bad">
          {problem.detail.replace(/^[\w.]+: /, "")}
        </span>
      ) : (
        hint && (
          <span id={said} className="text-[0.87rem] text-muted">
            {hint}
          </span>
        )
      )}
    </div>
  );
}
