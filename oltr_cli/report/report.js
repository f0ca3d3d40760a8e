"use strict";
// Sorting and filtering of all tables, and the section "One run": its threshold, its mistakes, its classes.
// Text from run folders is only ever set as textContent; nothing here writes HTML.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const GROUPS = ["many", "medium", "few"];
  const missing = "–";
  const byId = (id) => document.getElementById(id);

  function element(tag, attributes = {}, ...children) {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    made.append(...children);
    return made;
  }

  function svg(tag, attributes = {}, ...children) {
    const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    made.append(...children);
    return made;
  }

  // --- what a page that loads itself again should remember
  const place = `oltr report ${document.title}`;
  function remembered() {
    try { return JSON.parse(sessionStorage.getItem(place)) || {}; } catch { return {}; }
  }
  function remember(what) {
    try { sessionStorage.setItem(place, JSON.stringify({ ...remembered(), ...what })); } catch { /* not allowed here */ }
  }

  // --- tables
  const headsOf = (table) => [...table.tHead.rows[table.tHead.rows.length - 1].cells];  // below those of groups

  function sortTable(table, column, direction) {
    const heads = headsOf(table);
    const isNumber = heads[column].dataset.kind === "number";
    const sign = direction === "ascending" ? 1 : -1;
    const keyed = [...table.tBodies[0].rows].map((row) => {
      const value = row.cells[column].dataset.v;
      return { row, value: value === undefined ? null : isNumber ? Number(value) : value };
    });
    keyed.sort((a, b) => {
      // A missing value comes last, whichever way the others go.
      if (a.value === null || b.value === null) return (a.value === null) - (b.value === null);
      return sign * (isNumber ? a.value - b.value : a.value.localeCompare(b.value, undefined, { numeric: true }));
    });
    table.tBodies[0].append(...keyed.map((one) => one.row));
    heads.forEach((head, i) => head.setAttribute("aria-sort", i === column ? direction : "none"));
  }

  function sortAgain(table) {
    const heads = headsOf(table);
    const column = heads.findIndex((head) => head.getAttribute("aria-sort") !== "none");
    if (column >= 0) sortTable(table, column, heads[column].getAttribute("aria-sort"));
  }

  function filterTable(table, text) {
    const words = text.toLocaleLowerCase().split(/\s+/).filter(Boolean);
    const rows = [...table.tBodies[0].rows];
    let shown = 0;
    for (const row of rows) {
      const content = row.textContent.toLocaleLowerCase();
      row.hidden = !words.every((word) => content.includes(word));
      shown += row.hidden ? 0 : 1;
    }
    document.querySelector(`[data-counts="${table.id}"]`).textContent =
      words.length ? `${shown} of ${rows.length} rows` : `${rows.length} row${rows.length === 1 ? "" : "s"}`;
  }

  for (const table of document.querySelectorAll("table.sortable")) {
    headsOf(table).forEach((head, column) => {
      head.querySelector("button").addEventListener("click", () => {
        const first = head.dataset.kind === "number" ? "descending" : "ascending";
        const other = first === "descending" ? "ascending" : "descending";
        sortTable(table, column, head.getAttribute("aria-sort") === first ? other : first);
      });
    });
    const field = document.querySelector(`[data-filters="${table.id}"]`);
    field.addEventListener("input", () => filterTable(table, field.value));
    filterTable(table, field.value);
  }

  // --- one run
  const chooser = byId("run");
  if (!chooser) return;
  const percent = (value) => (100 * value).toFixed(1);
  const fraction = (value) => value.toFixed(3);
  const rounded = (tau) => String(Number(tau.toPrecision(5)));
  const exact = String;  // τ comes as the shortest decimals of its float32: fixed:… with these gives the same numbers
  // Key in the curve, label, how it is shown, and how its line looks; a null look is not drawn.
  const LINES = [
    ["f_measure", "F-measure", fraction, ["--f", "", 3]],
    ["f_measure_2019", "F-measure, 2019 (lenient)", fraction, null],
    ["overall", "accuracy, overall, %", percent, ["--overall", ""]],
    ["many", "accuracy, many, %", percent, ["--many", "8 4"]],
    ["medium", "accuracy, medium, %", percent, ["--medium", "8 3 2 3"]],
    ["few", "accuracy, few, %", percent, ["--few", "2 3"]],
    ["known_rejected", "known samples rejected, %", percent, ["--known", "12 3"]],
    ["open_rejected", "open samples rejected, %", percent, ["--open", "4 2"]],
  ];
  const look = ([color, dashes, width = 2]) => ({ style: `stroke: var(${color}); stroke-width: ${width}`, ...(dashes ? { "stroke-dasharray": dashes } : {}) });
  const size = { width: 640, height: 300,  // in pixels, so that its letters stay readable on a phone
    left: 44, right: 14, top: 10, bottom: 34 };
  let run, slider, marker, markerLabel;

  function nearest(tau) {
    const all = run.curve.tau;
    let best = 0;
    for (let i = 1; i < all.length; i++) if (Math.abs(all[i] - tau) < Math.abs(all[best] - tau)) best = i;
    return best;
  }

  function x(tau) {
    const all = run.curve.tau;
    const span = all[all.length - 1] - all[0] || 1;
    return size.left + ((tau - all[0]) / span) * (size.width - size.left - size.right);
  }

  const y = (share) => size.top + (1 - share) * (size.height - size.top - size.bottom);

  function ticks(low, high) {
    const rough = (high - low || 1) / 6;
    const power = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 5, 10].map((factor) => factor * power).find((one) => one >= rough);
    const found = [];
    for (let i = Math.ceil(low / step); i * step <= high; i++) found.push(i * step);
    return found;
  }

  function plot() {
    const all = run.curve.tau;
    const view = { viewBox: `0 0 ${size.width} ${size.height}`, class: "plot", role: "img",
      "aria-label": "Open-set metrics against the threshold; the table next to the plot has the values at the marker." };
    const drawn = svg("svg", view);
    for (let i = 0; i <= 4; i++) {
      drawn.append(svg("line", { class: "grid", x1: size.left, x2: size.width - size.right, y1: y(i / 4), y2: y(i / 4) }));
      drawn.append(svg("text", { x: size.left - 6, y: y(i / 4) + 4, "text-anchor": "end" }, i === 4 ? "100 %" : String(25 * i)));
    }
    for (const tau of ticks(all[0], all[all.length - 1])) {
      drawn.append(svg("text", { x: x(tau), y: size.height - 18, "text-anchor": "middle" }, rounded(tau)));
    }
    drawn.append(svg("text", { x: (size.left + size.width) / 2, y: size.height - 3, "text-anchor": "middle" }, "confidence threshold τ"));
    for (const { tau } of run.named) drawn.append(svg("line", { class: "own", x1: x(tau), x2: x(tau), y1: y(1), y2: y(0) }));
    for (const [key, , , style] of LINES) {
      if (!style || !run.curve[key]) continue;
      const points = run.curve[key].map((value, i) => `${x(all[i]).toFixed(1)},${y(value).toFixed(1)}`).join(" ");
      drawn.append(svg("polyline", { points, ...look(style) }));
    }
    marker = svg("line", { class: "marker", id: "marker", y1: y(1), y2: y(0) });
    markerLabel = svg("text", { y: y(1) + 10 });
    drawn.append(marker, markerLabel);
    drawn.addEventListener("click", (event) => {
      const box = drawn.getBoundingClientRect();
      const at = ((event.clientX - box.left) / box.width) * size.width;
      const share = (at - size.left) / (size.width - size.left - size.right);
      move(nearest(all[0] + Math.min(1, Math.max(0, share)) * (all[all.length - 1] - all[0])));
    });
    return drawn;
  }

  function showThreshold() {
    const box = byId("threshold");
    box.replaceChildren();
    slider = null;
    if (!run.curve) {
      box.append(element("p", { class: "notes" }, "This run has no scores for open samples, so there is no threshold to choose."));
      return;
    }
    slider = element("input", { type: "range", id: "tau", min: 0, max: run.curve.tau.length - 1, step: 1 });
    slider.addEventListener("input", () => move(Number(slider.value)));
    const marks = element("div", { class: "marks" });
    for (const { rule, tau } of run.named) {
      const button = element("button", { type: "button", "data-tau": tau }, `τ = ${exact(tau)} (${rule})`);
      button.addEventListener("click", () => move(nearest(tau)));
      marks.append(button);
    }
    const own = nearest(run.own);
    size.width = Math.max(300, Math.min(720, 0.58 * box.clientWidth > 400 ? 0.58 * box.clientWidth : box.clientWidth));
    const body = element("tbody");
    for (const [key, label, shown, style] of LINES) {
      const values = run.curve[key];
      const sample = svg("svg", { class: "key", viewBox: "0 0 29 11", "aria-hidden": "true" });
      if (style) sample.append(svg("line", { x1: 0, x2: 29, y1: 5.5, y2: 5.5, ...look(style) }));
      body.append(element("tr", {},
        element("th", { scope: "row" }, sample, label),
        element("td", { "data-key": key }, missing),
        element("td", {}, values ? shown(values[own]) : missing)));
    }
    const head = element("tr", {}, element("th", { scope: "col" }, "open set"),
      element("th", { scope: "col" }, "at τ"), element("th", { scope: "col" }, `at ${exact(run.own)}`));
    const numbers = element("table", { id: "at-tau" }, element("thead", {}, head), body);
    box.append(element("div", { class: "threshold" },
      element("div", {},
        element("label", { for: "tau" }, "Threshold: samples with a confidence below τ = ", element("strong", { id: "tau-shown" }), " are rejected."),
        slider, marks, plot()),
      element("div", {}, numbers,
        element("p", { class: "notes" }, "Test-set results, computed from saved scores. A τ chosen by looking at them is tuned on the test set."))));
    move(own, false);
  }

  function move(at, keep = true) {
    slider.value = at;
    const tau = run.curve.tau[at];
    slider.setAttribute("aria-valuetext", `τ = ${exact(tau)}`);
    const shown = byId("tau-shown");
    shown.textContent = exact(tau);
    shown.dataset.tau = tau;
    for (const [key, , show] of LINES) {
      const cell = document.querySelector(`#at-tau [data-key="${key}"]`);
      if (run.curve[key]) cell.textContent = show(run.curve[key][at]);
    }
    marker.setAttribute("x1", x(tau));
    marker.setAttribute("x2", x(tau));
    const right = x(tau) > size.width - 110;  // no room for nine digits
    markerLabel.setAttribute("x", x(tau) + (right ? -5 : 5));
    markerLabel.setAttribute("text-anchor", right ? "end" : "start");
    markerLabel.textContent = `τ = ${exact(tau)}`;
    for (const button of document.querySelectorAll(".marks button")) {
      button.setAttribute("aria-pressed", String(Number(button.dataset.tau) === tau));
    }
    if (keep) remember({ run: run.run, tau });
    showGallery(tau);
  }

  // --- mistakes
  const KINDS = [
    ["known_as_other", "Known as another class", "known samples taken for another class, highest confidence first", (c, tau) => tau === null || c >= tau],
    ["known_as_unknown", "Known as unknown", "known samples that are rejected, lowest confidence first", (c, tau) => tau !== null && c < tau],
    ["unknown_as_known", "Unknown as known", "open samples that are accepted, highest confidence first", (c, tau) => tau === null || c >= tau],
    ["tail_as_head", "Tail as head", "few-shot classes mistaken for many-shot ones, highest confidence first", (c, tau) => tau === null || c >= tau],
    ["perhaps_mislabelled", "Perhaps mislabelled", "by confident learning (cleanlab): labels that the network doubts most, in val, test and train; look before you change one", () => true],
  ];
  const NEED_TAU = ["known_as_unknown", "unknown_as_known"];
  const className = (label) => (label < 0 ? "unknown" : data.classSets[run.class_set].names[label]);

  function tile(one, kind) {
    const said = { known_as_unknown: "rejected, nearest", perhaps_mislabelled: "perhaps" }[kind] || "mistaken for";
    const number = kind === "perhaps_mislabelled" ? `label’s probability (${one.split})` : "confidence";
    const picture = one.picture === null
      ? element("span", { class: "none" }, "no image")
      : element("img", { src: data.pictures[one.picture], alt: one.name || className(one.true), width: 96, height: 96 });
    const made = element("div", { class: "tile", title: one.name }, picture,
      element("b", {}, className(one.true)), element("br"),
      `${said} ${className(one.said)}`, element("br"),
      element("small", {}, `${number} ${Number(one.confidence.toPrecision(3))}`), element("br"),
      element("small", {}, one.name));
    return made;
  }

  function showGallery(tau) {
    const box = byId("gallery");
    box.replaceChildren();
    if (!run.gallery) {
      box.append(element("p", { class: "notes" }, "Mistakes are shown only for the first run of each method."));
      return;
    }
    if (run.galleryProblem) box.append(element("p", { class: "problem" }, run.galleryProblem));
    for (const [kind, title, about, holds] of KINDS) {
      if (tau === null && NEED_TAU.includes(kind)) continue;
      if (!run.gallery[kind]) {
        if (kind === "perhaps_mislabelled") box.append(element("p", { class: "notes" }, `${title}: ${run.noSuspects}`));
        continue;
      }
      const tiles = run.gallery[kind].filter((one) => holds(one.confidence, tau)).map((one) => tile(one, kind));
      box.append(element("div", { class: "kind", "data-kind": kind },
        element("h4", {}, `${title} `, element("small", {}, about)),
        tiles.length ? element("div", { class: "tiles" }, ...tiles) : element("p", { class: "notes" }, tau === null || kind === "perhaps_mislabelled" ? "None." : `None at τ = ${exact(tau)}.`)));
    }
  }

  // --- classes
  function cell(value, shown, kind = "number") {
    const attributes = { number: {}, text: { class: "text" }, head: { scope: "row" } }[kind];
    const made = element(kind === "head" ? "th" : "td", attributes, value === null ? missing : shown);
    if (value !== null) made.dataset.v = value;
    return made;
  }

  function fill(table, rows) {
    table.tBodies[0].replaceChildren(...rows);
    sortAgain(table);
    filterTable(table, document.querySelector(`[data-filters="${table.id}"]`).value);
  }

  function showConfusions() {
    const name = (label, other) => data.classSets[run.class_set].names[label] ?? other;
    fill(byId("confusions"), run.confusions.map(([label, decided, count, share]) => {
      const [from, to] = [name(label, "open"), name(decided, "unknown")];
      return element("tr", {}, cell(from, from, "head"), cell(to, to, "text"), cell(count, String(count)), cell(share, percent(share)));
    }));
  }

  function showClasses() {
    const rows = [];
    if (run.classes) {
      const { names, counts, groups } = data.classSets[run.class_set];
      const c = run.classes;
      for (let label = 0; label < names.length; label++) {
        const asName = c.as[label] === null ? null : names[c.as[label]];
        rows.push(element("tr", {},
          cell(names[label], names[label], "head"),
          cell(GROUPS[groups[label]], GROUPS[groups[label]], "text"),
          cell(counts[label], String(counts[label])),
          cell(c.test[label], String(c.test[label])),
          cell(c.closed[label], c.closed[label] === null ? "" : percent(c.closed[label])),
          cell(c.open[label], c.open[label] === null ? "" : percent(c.open[label])),
          cell(c.rejected[label], c.rejected[label] === null ? "" : percent(c.rejected[label])),
          cell(asName, asName, "text"),
          cell(c.share[label], c.share[label] === null ? "" : percent(c.share[label]))));
      }
    }
    fill(byId("classes"), rows);
  }

  function show(number, keep = true) {
    run = data.runs[number];
    chooser.value = String(number);
    for (const part of document.querySelectorAll(".of-run")) part.hidden = part.dataset.run !== String(number);
    showThreshold();
    if (!run.curve) showGallery(null);
    showClasses();
    showConfusions();
    if (keep) remember({ run: run.run, tau: run.own });
  }

  chooser.addEventListener("change", () => show(Number(chooser.value)));
  for (const link of document.querySelectorAll("a[data-run]")) {
    link.addEventListener("click", () => show(data.runs.findIndex((one) => one.run === link.dataset.run)));
  }
  const before = remembered();
  const found = data.runs.findIndex((one) => one.run === before.run);
  show(Math.max(0, found), false);
  if (found >= 0 && run.curve && Number.isFinite(before.tau)) move(nearest(before.tau), false);
})();
