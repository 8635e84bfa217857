import type { Curve, Point } from "./scale.ts";

/** Curves as one SVG image: a panel each, three in a row. Plain lines, so that it can be read in a diff. */

const COLUMNS = 3;
const PANEL = { width: 300, height: 190 };
/** Where the curve lies in its panel. */
const PLOT = { left: 62, top: 40, width: 220, height: 105 };
/** Room above the highest point. */
const HEADROOM = 1.15;

/** The image. Values along an axis of harts, TVMs or vCPUs double from step to step, so that axis is logarithmic; upright axes begin at 0. */
export function chart(curves: readonly Curve[]): string {
  const rows = Math.ceil(curves.length / COLUMNS);
  const [width, height] = [PANEL.width * COLUMNS, PANEL.height * rows];
  const panels = curves.map((curve, index) => {
    const x = (index % COLUMNS) * PANEL.width;
    const y = Math.floor(index / COLUMNS) * PANEL.height;
    return `<g transform="translate(${x} ${y})">\n${panel(curve)}\n</g>`;
  });
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" font-family="sans-serif" font-size="11">`,
    `<rect width="${width}" height="${height}" fill="#ffffff"/>`,
    ...panels,
    "</svg>",
    "",
  ].join("\n");
}

function panel({ title, unit, along, points }: Curve): string {
  const { left, top, width, height } = PLOT;
  const highest = Math.max(...points.map(({ y }) => y)) * HEADROOM;
  const linear = along === "GiB";
  const position = (x: number): number => (linear ? x : Math.log2(x));
  const last = position(points.at(-1)!.x);
  const first = linear ? 0 : position(points[0].x);
  const place = ({ x, y }: Point): [number, number] => [
    round(left + ((position(x) - first) / (last - first)) * width),
    round(top + height - (y / highest) * height),
  ];
  const places = points.map(place);
  const bottom = top + height;
  return [
    `<text x="${left}" y="16" font-weight="bold">${title}</text>`,
    `<text x="${left}" y="30" fill="#555555">${unit}, by ${along}</text>`,
    `<path d="M${left} ${top}V${bottom}H${left + width}" fill="none" stroke="#888888"/>`,
    `<polyline points="${places.map((at) => at.join(",")).join(" ")}" fill="none" stroke="#1a6fb5" stroke-width="2"/>`,
    ...places.map(([x, y]) => `<circle cx="${x}" cy="${y}" r="2.5" fill="#1a6fb5"/>`),
    ...[points[0], points.at(-1)!].map((point) => label(place(point)[0], bottom + 14, "middle", String(point.x))),
    label(left - 6, place(points.at(-1)!)[1] + 4, "end", short(points.at(-1)!.y)),
    label(left - 6, bottom, "end", "0"),
  ].join("\n");
}

function label(x: number, y: number, anchor: string, text: string): string {
  return `<text x="${x}" y="${y}" text-anchor="${anchor}">${text}</text>`;
}

function round(value: number): number {
  return Math.round(value * 10) / 10;
}

/** 98975940 as "99.0 M". */
function short(value: number): string {
  if (value >= 1e6) return `${(value / 1e6).toFixed(1)} M`;
  return value >= 1e4 ? `${(value / 1e3).toFixed(1)} k` : String(value);
}
