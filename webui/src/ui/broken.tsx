/** Catches an error of the page itself and offers a way on. */
import { Component, type ReactNode } from "react";
import { useTexts } from "../texts";
import { Empty } from "./notice";

export class Broken extends Component<{ children: ReactNode }, { broken: boolean }> {
  override state = { broken: false };

  static getDerivedStateFromError() {
    return { broken: true };
  }

  override render() {
    return this.state.broken ? <Sorry /> : this.props.children;
  }
}

function Sorry() {
  const texts = useTexts();
  return (
    <main className="mx-auto mt-24 w-fit">
      <Empty title={texts.common.broke} hint={texts.common.brokeHint}>
        <button type="button" className="btn btn-main mt-2" onClick={() => location.reload()}>
          {texts.common.reload}
        </button>
      </Empty>
    </main>
  );
}
