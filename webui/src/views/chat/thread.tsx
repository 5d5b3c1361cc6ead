/** The scrolling part: it stays at the end while text comes, unless the person has scrolled up or wants it still. */
import { type ReactNode, useEffect, useLayoutEffect, useRef, useState } from "react";
import { useActions } from "../../keys";
import { useTexts } from "../../texts";
import { Icon } from "../../ui/icons";
import { showToast } from "../../ui/toasts";
import { setFollows, useFollows } from "./follow";

const NEAR_PX = 48;

interface Props {
  /** A message is on its way, and whoever sent it wants to see what comes. */
  sending: boolean;
  streaming: boolean;
  children: ReactNode;
}

export function Thread({ sending, streaming, children }: Props) {
  const texts = useTexts();
  const frame = useRef<HTMLDivElement>(null);
  const content = useRef<HTMLDivElement>(null);
  const pinned = useRef(true);
  const [away, setAway] = useState(false);
  const follows = useFollows();
  const still = useRef(false);
  useLayoutEffect(() => {
    still.current = streaming && !follows;
  });
  useActions({
    follow: () => {
      setFollows(!follows);
      showToast({ text: follows ? texts.chat.followOff : texts.chat.followOn });
    },
  });

  useEffect(() => {
    const box = frame.current;
    if (!box || !content.current) return;
    const settle = () => {
      if (still.current) pinned.current = false;
      else if (pinned.current) box.scrollTop = box.scrollHeight;
      setAway(!pinned.current && box.scrollHeight - box.scrollTop - box.clientHeight > NEAR_PX * 2);
    };
    const watcher = new ResizeObserver(settle);
    watcher.observe(content.current);
    watcher.observe(box);
    let last = box.scrollTop;
    const onScroll = () => {
      // Only a move upwards is somebody's wish to stay there: text that grows leaves the end by itself.
      if (box.scrollHeight - box.scrollTop - box.clientHeight < NEAR_PX) pinned.current = true;
      else if (box.scrollTop < last) pinned.current = false;
      last = box.scrollTop;
      if (pinned.current) setAway(false);
    };
    box.addEventListener("scroll", onScroll, { passive: true });
    return () => {
      watcher.disconnect();
      box.removeEventListener("scroll", onScroll);
    };
  }, []);

  const toEnd = () => {
    pinned.current = true;
    if (frame.current) frame.current.scrollTop = frame.current.scrollHeight;
    setAway(false);
  };
  // biome-ignore lint/correctness/useExhaustiveDependencies: only when a message is sent
  useEffect(() => {
    if (sending) toEnd();
  }, [sending]);
  return (
    <div className="relative min-h-0 flex-1">
      <div
        ref={frame}
        id="thread"
        className="relative h-full overflow-y-auto px-3 sm:px-5"
        tabIndex={0}
        role="log"
        aria-live="off"
        aria-label={texts.frame.chat}
      >
        <div ref={content} className="flex flex-col gap-7 py-6">
          {children}
        </div>
      </div>
      {away && (
        <button
          type="button"
          onClick={toEnd}
          className="btn btn-small absolute bottom-3 left-1/2 -translate-x-1/2 shadow-(--shadow)"
        >
          <Icon name="unfold" className="size-4" />
          {texts.chat.newBelow}
        </button>
      )}
    </div>
  );
}
