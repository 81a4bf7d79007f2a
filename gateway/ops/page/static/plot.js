// Small plots, drawn as SVG, each with its text beside or inside.

import { h, s } from "./dom.js";

const WIDTH = 240;

export function spark(label) {
  const fill = s("path", { class: "fill" });
  const line = s("path", { class: "line" });
  const title = s("title", {}, label);
  const svg = s("svg", { class: "plot", viewBox: `0 0 ${WIDTH} 44`, preserveAspectRatio: "none", role: "img", "aria-label": label },
    title, s("line", { class: "base", x1: 0, x2: WIDTH, y1: 43.5, y2: 43.5 }), fill, line);
  return {
    svg,
    draw(values, told) {
      const most = Math.max(1e-9, ...values.filter((value) => value !== null));
      const step = WIDTH / Math.max(1, values.length - 1);
      const points = values.map((value, place) => [place * step, value === null ? null : 42 - 38 * (value / most)]);
      const drawn = points.filter(([, y]) => y !== null);
      const path = drawn.map(([x, y], place) => `${place ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}`).join("");
      line.setAttribute("d", drawn.length > 1 ? path : "");
      fill.setAttribute("d", drawn.length > 1 ? `${path}L${drawn.at(-1)[0].toFixed(1)} 44L${drawn[0][0].toFixed(1)} 44Z` : "");
      title.textContent = `${label}: ${told}`;
      svg.setAttribute("aria-label", `${label}: ${told}`);
    },
  };
}

// Scores over messages: a line, and a ring where the verdict is out of the ordinary.
export function scores(points, told) {
  const values = points.map((point) => point.score);
  const low = Math.min(0, ...values), high = Math.max(1e-9, ...values);
  const place = (value) => 118 - 106 * ((value - low) / (high - low));
  const step = 640 / Math.max(1, points.length - 1);
  const path = values.map((value, at) => `${at ? "L" : "M"}${(at * step).toFixed(1)} ${place(value).toFixed(1)}`).join("");
  const odd = points.map((point, at) => [point, at]).filter(([point]) => point.verdict !== "normal");
  return h("figure", {},
    s("svg", { class: "plot tall", viewBox: "0 0 640 128", preserveAspectRatio: "none", role: "img", "aria-label": told },
      s("title", {}, told),
      s("line", { class: "base", x1: 0, x2: 640, y1: place(0), y2: place(0) }),
      s("path", { class: "line", d: path }),
      odd.map(([point, at]) => s("ellipse", { class: "dot odd", cx: at * step, cy: place(point.score), rx: 4, ry: 4 }))),
    h("figcaption", { class: "small muted" }, told));
}

export function meter(share, label) {
  const width = Math.max(0, Math.min(1, share)) * 100;
  return s("svg", { class: "meter", viewBox: "0 0 100 6", preserveAspectRatio: "none", role: "img", "aria-label": label },
    s("rect", { x: 0, y: 0, width, height: 6 }));
}
