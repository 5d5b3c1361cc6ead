/** Lines drawn by uPlot: colours of the theme, the size of their box, a crosshair that all plots share. */
import uPlot from "uplot";
import { joined, type Line } from "./draw";

const HEIGHT_PX = 150;
const colour = (name: string) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

/** What a plot shows. `raw` stands faintly behind `main` when that is smoothed; ghosts are earlier runs. */
export interface Drawing {
  main: Line;
  raw: Line | null;
  ghosts: readonly Line[];
  /** Where alerts were, on the x axis. */
  marks: readonly number[];
}

export interface Plot {
  draw(drawing: Drawing): void;
  picture(): string;
  destroy(): void;
}

const GHOSTS = 3;

export function makePlot(box: HTMLElement, format: (value: number) => string, log: boolean): Plot {
  const font = `11px ${getComputedStyle(document.body).fontFamily}`;
  const axis = {
    stroke: colour("--muted"),
    font,
    grid: { stroke: colour("--line"), width: 1 },
    ticks: { show: false },
  };
  let marks: readonly number[] = [];
  const ghost = {
    stroke: colour("--line-strong"),
    width: 1,
    dash: [4, 3],
    spanGaps: true,
    points: { show: false },
  };
  const options: uPlot.Options = {
    width: Math.max(160, box.clientWidth),
    height: HEIGHT_PX,
    padding: [10, 10, 0, 0],
    legend: { show: false },
    cursor: { sync: { key: "heed" }, drag: { x: true, y: false }, points: { size: 7 } },
    scales: { x: { time: false }, y: log ? { distr: 3 } : {} },
    axes: [
      {
        ...axis,
        size: 24,
        gap: 4,
        grid: { show: false },
        incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 50_000, 100_000, 1_000_000],
      },
      {
        ...axis,
        size: 46,
        gap: 4,
        values: (_, ticks) => ticks.map((tick) => (tick === null ? "" : format(tick))),
      },
    ],
    series: [
      {},
      {
        stroke: colour("--series-1"),
        width: 1.75,
        spanGaps: true,
        points: { show: (_u, _s, from, to) => to - from < 30, size: 5 },
      },
      { stroke: colour("--series-1"), width: 1, alpha: 0.3, spanGaps: true, points: { show: false } },
      ...Array.from({ length: GHOSTS }, () => ghost),
    ],
    hooks: {
      draw: [
        (plot) => {
          const { ctx, bbox } = plot;
          ctx.save();
          ctx.strokeStyle = colour("--turn");
          ctx.setLineDash([3, 3]);
          for (const mark of marks) {
            const x = plot.valToPos(mark, "x", true);
            ctx.beginPath();
            ctx.moveTo(x, bbox.top);
            ctx.lineTo(x, bbox.top + bbox.height);
            ctx.stroke();
          }
          ctx.restore();
        },
      ],
    },
  };
  const nothing: uPlot.AlignedData = [[], ...Array.from({ length: 2 + GHOSTS }, () => [])] as never;
  const plot = new uPlot(options, nothing, box);
  const watcher = new ResizeObserver(() =>
    plot.setSize({ width: Math.max(160, box.clientWidth), height: HEIGHT_PX }),
  );
  watcher.observe(box);
  const none: Line = { x: [], y: [] };
  const positive = (line: Line): Line =>
    log ? { x: line.x, y: line.y.map((value) => (value > 0 ? value : (null as unknown as number))) } : line;
  return {
    draw({ main, raw, ghosts, marks: at }) {
      marks = at;
      const lines = [
        main,
        raw ?? none,
        ...Array.from({ length: GHOSTS }, (_, index) => ghosts[index] ?? none),
      ];
      plot.setData(joined(lines.map(positive)) as uPlot.AlignedData);
    },
    picture() {
      const { canvas } = plot.ctx;
      const copy = document.createElement("canvas");
      [copy.width, copy.height] = [canvas.width, canvas.height];
      const pen = copy.getContext("2d");
      if (pen) {
        pen.fillStyle = colour("--surface");
        pen.fillRect(0, 0, copy.width, copy.height);
        pen.drawImage(canvas, 0, 0);
      }
      return copy.toDataURL("image/png");
    },
    destroy() {
      watcher.disconnect();
      plot.destroy();
    },
  };
}
