/** One line drawn by uPlot: colours of the theme, the size of its box, a crosshair that all plots share. */
import uPlot from "uplot";
import type { Column } from "./series";

const HEIGHT_PX = 150;
const colour = (name: string) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

export interface Plot {
  draw(column: Column): void;
  destroy(): void;
}

export function makePlot(box: HTMLElement, format: (value: number) => string): Plot {
  const font = `11px ${getComputedStyle(document.body).fontFamily}`;
  const axis = {
    stroke: colour("--muted"),
    font,
    grid: { stroke: colour("--line"), width: 1 },
    ticks: { show: false },
  };
  const options: uPlot.Options = {
    width: Math.max(160, box.clientWidth),
    height: HEIGHT_PX,
    padding: [10, 10, 0, 0],
    legend: { show: false },
    cursor: { sync: { key: "heed" }, drag: { x: true, y: false }, points: { size: 7 } },
    scales: { x: { time: false } },
    axes: [
      {
        ...axis,
        size: 24,
        gap: 4,
        grid: { show: false },
        incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 5000],
      },
      { ...axis, size: 46, gap: 4, values: (_, ticks) => ticks.map(format) },
    ],
    series: [
      {},
      {
        stroke: colour("--series-1"),
        width: 1.75,
        spanGaps: true,
        points: { show: (_u, _s, from, to) => to - from < 30, size: 5 },
      },
    ],
  };
  const plot = new uPlot(options, [[], []], box);
  const watcher = new ResizeObserver(() =>
    plot.setSize({ width: Math.max(160, box.clientWidth), height: HEIGHT_PX }),
  );
  watcher.observe(box);
  return {
    draw: ({ steps, values }) => plot.setData([steps, values]),
    destroy() {
      watcher.disconnect();
      plot.destroy();
    },
  };
}
