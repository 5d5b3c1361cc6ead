/** A modal question: the browser's own dialog, which keeps the focus and closes on Escape. */
import { type ReactNode, useId, useLayoutEffect, useRef } from "react";
import { useTexts } from "../texts";
import { Icon } from "./icons";

interface Props {
  title: string;
  onClose: () => void;
  /** For what needs two columns. */
  wide?: boolean;
  children: ReactNode;
}

export function Dialog({ title, onClose, wide = false, children }: Props) {
  const texts = useTexts();
  const ref = useRef<HTMLDialogElement>(null);
  const heading = useId();
  // Closed while it is still in the page: then the browser gives the focus back to where it was.
  useLayoutEffect(() => {
    const dialog = ref.current;
    if (dialog && !dialog.open) dialog.showModal();
    dialog?.querySelector<HTMLElement>("textarea, input")?.focus();
    return () => dialog?.close();
  }, []);
  return (
    <dialog
      ref={ref}
      aria-labelledby={heading}
      onCancel={(event) => {
        event.preventDefault();
        onClose();
      }}
      className={`card arrive m-auto p-5 shadow-(--shadow) ${wide ? "w-[min(64rem,calc(100vw-1.5rem))]" : "w-[min(30rem,calc(100vw-1.5rem))]"}`}
    >
      <div className="mb-3 flex items-start justify-between gap-3">
        <h2 id={heading} className="text-[1.15rem] font-semibold">
          {title}
        </h2>
        <button
          type="button"
          className="icon-btn -mt-1 -mr-1"
          onClick={onClose}
          aria-label={texts.common.close}
        >
          <Icon name="close" />
        </button>
      </div>
      {children}
    </dialog>
  );
}
