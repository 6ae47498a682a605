// Shows tables, sentences and curves in the selected convention; the page contains them in every convention.
"use strict";
(() => {
  const node = document.getElementById("live");
  const form = document.getElementById("selector");
  if (!node || !form) return;
  const data = JSON.parse(node.textContent);
  const correlation = document.getElementById("choose-correlation");
  const power = document.getElementById("choose-power");
  const texts = Array.from(document.querySelectorAll("[data-live]"), (el) => [el, data.texts[el.dataset.live]]);

  function showText([el, entry], k) {
    el.textContent = entry.text[k];
    if (entry.title) el.title = entry.title[k];
    if (!entry.heat) return;
    const level = entry.heat[k];
    el.classList.toggle("hot", level !== null && level > 60);
    el.classList.toggle("cool", level !== null && level <= 60);
    el.style.setProperty("--v", `${level ?? 0}%`);
  }

  // Draw the path of a mark from its positions and from values that are mapped to coordinates.
  function showMark(mark, k) {
    const group = document.getElementById(mark.id);
    if (!group) return;
    const coordinate = (value) => mark.map[0] + mark.map[1] * value;
    const point = (i, value) =>
      mark.along === "y" ? [mark.at[i], coordinate(value)] : [coordinate(value), mark.at[i]];
    const [first, second] = mark.values[k];
    const written = (i, value) => point(i, value).map((c) => c.toFixed(2)).join(" ");
    if (mark.kind === "dots") return showDots(group, first, point);
    const path = group.querySelector("path");
    if (!path) return;
    let d = "";
    if (mark.kind === "line") {
      let pen = "M";
      first.forEach((value, i) => {
        if (value === null) { pen = "M"; return; }
        d += `${pen}${written(i, value)} `;
        pen = "L";
      });
    } else {
      const known = first.map((_, i) => i).filter((i) => first[i] !== null && second[i] !== null);
      if (mark.kind === "whiskers") {
        d = known.map((i) => `M${written(i, first[i])} L${written(i, second[i])}`).join(" ");
      } else if (known.length) {
        const corners = [...known.map((i) => written(i, first[i])), ...known.reverse().map((i) => written(i, second[i]))];
        d = `M${corners.join(" L")} Z`;
      }
    }
    path.setAttribute("d", d);
  }

  // All dots of a mark are copies (uses) of one marker: remember the first as the pattern.
  const patterns = new Map();
  function showDots(group, values, point) {
    const uses = Array.from(group.querySelectorAll("use"));
    if (!patterns.has(group) && uses.length) patterns.set(group, { use: uses[0].cloneNode(true), parent: uses[0].parentNode });
    const pattern = patterns.get(group);
    if (!pattern) return;
    uses.forEach((use) => use.remove());
    values.forEach((value, i) => {
      if (value === null) return;
      const [x, y] = point(i, value);
      const use = pattern.use.cloneNode(true);
      use.setAttribute("x", x.toFixed(2));
      use.setAttribute("y", y.toFixed(2));
      pattern.parent.appendChild(use);
    });
  }

  function show() {
    const k = Number(correlation.value) * data.powers + Number(power.value);
    texts.forEach((text) => showText(text, k));
    data.marks.forEach((mark) => showMark(mark, k));
  }

  form.hidden = false;
  form.addEventListener("change", show);
  form.addEventListener("submit", (event) => event.preventDefault());

  // A link to a cell opens its details.
  function open() {
    const target = location.hash && document.getElementById(location.hash.slice(1));
    if (target && target.tagName === "DETAILS") target.open = true;
  }
  addEventListener("hashchange", open);
  open();

  // Open all details for printing.
  addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((el) => { el.open = true; }));
})();
