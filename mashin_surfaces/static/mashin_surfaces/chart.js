// The chart of some numbers, by uPlot (vendor/uplot: 1.6.32, its ES module minified by esbuild), which is
// loaded when there is something to draw. It takes its colours from the page's CSS variables, and its
// width from its place.

import { onDemand } from "./on_demand.js";

/** What a chart is made with; it may come late. */
export const plotter = () => onDemand("./vendor/uplot/uplot.esm.js");

const FEWEST = 30; // the line has room for so many at least: it does not leap at first
const DIGITS = 6; // of a number at the axis
const LONG = 1e5; // from here on numbers at the axis are shortened: 1.2M
const CHARACTER = 7; // pixels of one of them, about
const GAP = 6; // pixels between the axis and its numbers

const isDark = matchMedia("(prefers-color-scheme: dark)");
const language = document.documentElement.lang || undefined;
const plain = new Intl.NumberFormat(language, { maximumSignificantDigits: DIGITS });
const short = new Intl.NumberFormat(language, { maximumSignificantDigits: DIGITS, notation: "compact" });

const format = (numbers) => {
  const { format: tell } = numbers.some((number) => Math.abs(number) >= LONG) ? short : plain;
  return numbers.map((number) => tell(number));
};

// Numbers that have none beside them, and the last one, which is the newest: no line shows where they are.
const dotted = (plot) => {
  const numbers = plot.data[1];
  const isAlone = (at) => numbers[at] != null && numbers[at - 1] == null && numbers[at + 1] == null;
  return [...numbers.keys()].filter((at) => isAlone(at) || (at === numbers.length - 1 && numbers[at] != null));
};

export class Chart {
  #place;
  #plot;
  #sizes;
  #recolour = () => this.#plot.redraw();

  /**
   * place: an element with a height of its own; what is in there is the chart's from now on. uPlot: of
   * the plotter.
   */
  constructor(place, { default: uPlot }) {
    this.#place = place;
    const colour = (name) => () => getComputedStyle(place).getPropertyValue(name).trim();
    const line = { stroke: colour("--line"), width: 1 };
    this.#plot = new uPlot(
      {
        ...this.#size(),
        padding: [8, 8, 8, 0],
        cursor: { show: false },
        legend: { show: false },
        scales: { x: { time: false, range: (plot, from, to) => [0, Math.max(to, FEWEST - 1)] } },
        axes: [
          { show: false },
          {
            stroke: colour("--soft-ink"),
            grid: line,
            ticks: { show: false },
            gap: GAP,
            space: 28,
            size: (plot, texts) => GAP + CHARACTER * Math.max(1, ...(texts ?? []).map((text) => text.length)),
            values: (plot, numbers) => format(numbers),
          },
        ],
        series: [
          {},
          {
            stroke: colour("--accent"),
            width: 2,
            points: { show: false, filter: dotted, size: 6, fill: colour("--accent") },
          },
        ],
      },
      null,
      place,
    );
    this.#sizes = new ResizeObserver(() => this.#plot.setSize(this.#size()));
    this.#sizes.observe(place);
    isDark.addEventListener("change", this.#recolour);
  }

  /** numbers: null where the line is broken. */
  show(numbers) {
    this.#plot.setData([[...numbers.keys()], numbers]);
  }

  /** The place is nobody's again. */
  remove() {
    this.#sizes.disconnect();
    isDark.removeEventListener("change", this.#recolour);
    this.#plot.destroy();
  }

  #size() {
    return { width: this.#place.clientWidth, height: this.#place.clientHeight };
  }
}
