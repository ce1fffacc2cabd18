"use strict";
const root = document.documentElement;
const form = document.querySelector(".controls");
const boards = [...document.querySelectorAll("table.board")];
const make = (tag, text = "", name = "") => {
  const element = document.createElement(tag);
  if (text !== "") element.textContent = text;
  if (name) element.className = name;
  return element;
};

/* Theme: the system's until the reader says otherwise. */
const theme = document.getElementById("theme");
const system = matchMedia("(prefers-color-scheme: dark)");
const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : system.matches);
const tell = () => theme.setAttribute("aria-pressed", String(isDark()));
theme.addEventListener("click", () => { root.dataset.theme = isDark() ? "light" : "dark"; tell(); });
system.addEventListener("change", tell);
tell();

/* What a row opens to is drawn when it opens: very many rows load at once. */
const listed = new Map(boards.map((table) => [table, JSON.parse(table.dataset.attacks)]));
const heat = (place) => JSON.parse(place.dataset.heat);
const fixed = (value) => value.toFixed(1);
function square(value) {
  if (!Array.isArray(value)) return make("td", value ?? "");
  const cell = make("td", fixed(value[0]), `h h${Math.round(value[0] / 10)}`);
  cell.title = `${fixed(value[1])} to ${fixed(value[2])}`;
  return cell;
}
function heading(text) { const cell = make("th", text); cell.scope = "col"; return cell; }
function drawAttacks(place) {
  const attacks = listed.get(place.closest("table.board"));
  const [shots, lines] = heat(place);
  const table = make("table", "", "heat"), head = make("tr"), body = make("tbody");
  table.append(make("caption", `${place.getAttribute("aria-label")}, percent correct. A dot marks `
    + "families that training used, a question mark those nobody declared."), make("thead"), body);
  head.append(...["family", "attack", "threat", "n", "robust@0"].map(heading));
  for (const k of shots) head.append(heading(`static@${k}`), heading(`robust@${k}`));
  table.tHead.append(head);
  let before = "";
  for (const [index, scope, n, squares] of lines) {
    const [family, name, threat] = attacks[index];
    const row = make("tr", "", family === before ? "" : "first"), label = make("th", name);
    label.scope = "row";
    const marks = { seen: [" •", "family seen in training"], unknown: [" ?", "nobody declared whether training used this family"] };
    if (marks[scope]) { const mark = make("b", marks[scope][0], "seen"); [, mark.title] = marks[scope]; label.append(mark); }
    row.append(make("td", family === before ? "" : family), label, make("td", threat), make("td", n), ...squares.map(square));
    body.append(row);
    before = family;
  }
  place.replaceChildren(table);
}
function said(cell) {
  if (cell.querySelector(".spark")) return cell.title;
  const [first, ...more] = [...cell.querySelectorAll(".hole, .num, .ci")].map((e) => e.textContent.trim());
  return more.length ? `${first} (${more.join("; ")})` : first ?? "";
}
function drawNumbers(place, row) {
  const list = make("dl");
  const heads = row.closest("table").tHead.rows[0].cells;
  [...row.cells].forEach((cell, index) => {
    const name = heads[index].textContent.trim(), text = said(cell).trim();
    if (cell.tagName === "TD" && !cell.classList.contains("attack") && text && text !== "–") {
      list.append(make("dt", name), make("dd", text));
    }
  });
  place.replaceChildren(make("h3", "All its numbers"), list);
}

/* Numbers alone get into the markup; the curve's name is an attribute. */
function drawCurves(place) {
  const [shots, curves] = JSON.parse(place.dataset.curves);
  const x = (index) => (30 + (298 * index) / (shots.length - 1)).toFixed(1), y = (value) => (8 + 1.62 * (100 - value)).toFixed(1);
  const grid = [0, 25, 50, 75, 100].map((value) => `<line class="grid" x1="30" x2="328" y1="${y(value)}" y2="${y(value)}"/><text x="25" y="${y(value)}" dy="3.5" text-anchor="end">${value}</text>`);
  const ticks = shots.map((k, index) => `<text x="${x(index)}" y="183" text-anchor="middle">${Number(k)}</text>`);
  const lines = Object.entries(curves).map(([name, points]) => `<g class="${name}"><polyline points="${points.map(([value], index) => `${x(index)},${y(value)}`).join(" ")}"/>${points.map(([value, low, high], index) => `<line x1="${x(index)}" x2="${x(index)}" y1="${y(low)}" y2="${y(high)}"/><circle cx="${x(index)}" cy="${y(value)}" r="3"/>`).join("")}</g>`);
  place.insertAdjacentHTML("afterbegin", `<svg viewBox="0 0 340 200" role="img">${grid.join("")}${ticks.join("")}<text x="170" y="197" text-anchor="middle">K, shown examples per class</text>${lines.join("")}</svg>`);
  const said = Object.entries(curves).map(([name, points]) => `${name}: ${points.map(([value], index) => `${fixed(value)} at K = ${shots[index]}`).join(", ")}`);
  place.firstElementChild.setAttribute("aria-label", `${place.getAttribute("aria-label")}. ${said.join(". ")}.`);
}

/* Rows: a closed detail waits in the last tbody, an open one follows its row. */
const detailOf = (button) => document.getElementById(button.getAttribute("aria-controls"));
function close(button) {
  button.setAttribute("aria-expanded", "false");
  const detail = detailOf(button);
  detail.hidden = true;
  button.closest("table").querySelector(".details").append(detail);
}
function toggle(button) {
  if (button.getAttribute("aria-expanded") === "true") { close(button); return; }
  const detail = detailOf(button), row = button.closest("tr");
  const attacks = detail.querySelector(".attacks");
  const curves = detail.querySelector(".curves");
  if (!attacks.querySelector("table")) drawAttacks(attacks);
  if (curves && !curves.querySelector("svg")) drawCurves(curves);
  drawNumbers(detail.querySelector(".numbers"), row);
  button.setAttribute("aria-expanded", "true");
  row.after(detail);
  detail.hidden = false;
}
function closeAll(scope) {
  for (const button of scope.querySelectorAll('.open[aria-expanded="true"]')) close(button);
}

/* Of very many rows the first are seen, and a button shows the others. */
const most = Number(document.getElementById("boards").dataset.most);
function trim(table) {
  let beyond = 0;
  for (const body of table.querySelectorAll("tbody[data-threat]:not([hidden])")) {
    let place = 0;
    for (const row of body.rows) {
      if (row.hidden || !row.classList.contains("row")) continue;
      place += 1;
      const off = place > most && table.dataset.whole === undefined;
      if (row.classList.contains("beyond") !== off) row.classList.toggle("beyond", off);
      beyond += off;
    }
  }
  const more = table.parentElement.querySelector(".more");
  more.hidden = beyond === 0;
  more.firstElementChild.textContent = `Show ${beyond} more rows`;
}

/* Sorting: empty values last in both directions; what is open closes. */
function sort(head, direction) {
  const table = head.closest("table");
  const index = [...head.parentElement.children].indexOf(head);
  const sign = direction === "ascending" ? 1 : -1;
  closeAll(table);
  for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", direction);
  const words = head.matches(".defense, .network");
  for (const body of table.querySelectorAll("tbody[data-threat]")) {
    const keyed = [...body.rows].map((row) => {
      const value = row.cells[index].dataset.v;
      return { row, value: words ? value : value === "" ? null : Number(value) };
    });
    keyed.sort((a, b) => {
      if (a.value === null || b.value === null) return (a.value === null) - (b.value === null) || a.row.dataset.place - b.row.dataset.place;
      return sign * (words ? a.value.localeCompare(b.value) : a.value - b.value)
        || a.row.dataset.place - b.row.dataset.place;
    });
    body.append(...keyed.map((each) => each.row));
  }
  trim(table);
}

/* The attack that is chosen: a column of robust@K under it alone, filled from what rows open to. */
function fillAttack(table, label, k) {
  const index = listed.get(table).findIndex(([, name]) => name === label);
  const parts = `robust@${k}, ${label}`.split(/(?<=[_[\],=+:/.])(?=\S)/);
  table.querySelector("th.attack .sort").replaceChildren(...parts.flatMap((part) => [part, make("wbr")]));
  for (const row of table.querySelectorAll("tr.row")) {
    const [shots, lines] = heat(detailOf(row.querySelector(".open")).querySelector(".attacks"));
    const squares = lines.find(([place]) => place === index)?.[3];
    const value = squares?.[k === "0" ? 0 : 2 * shots.indexOf(Number(k)) + 2];
    const cell = row.querySelector("td.attack"), known = Array.isArray(value);
    cell.dataset.v = known ? value[0] : "";
    cell.replaceChildren(make("span", known ? fixed(value[0]) : value ?? "–", "num"));
    if (known) cell.append(make("span", `${fixed(value[1])}–${fixed(value[2])}`, "ci"));
  }
}

/* Filters. */
const chosen = () => new Set(["rank", "defense", "robust", ...[...form.querySelectorAll("[name=column]:checked")].map((box) => box.value)]);
function filter() {
  const wish = Object.fromEntries(new FormData(form));
  const text = wish.text.trim().toLowerCase(), keys = chosen(), all = wish.shots === "every";
  const attack = wish.attack === "" ? "" : form.elements.attack.selectedOptions[0].textContent;
  let seen = 0;
  for (const table of boards) {
    const section = table.closest("section");
    const threats = [...table.querySelectorAll("tbody[data-threat]")];
    const known = threats.some((body) => body.dataset.threat === wish.threat);
    const k = wish.shots === "largest" || all ? table.dataset.largest : wish.shots;
    const heads = [...table.tHead.rows[0].cells];
    const has = all || heads.some((head) => head.dataset.k === k);
    const under = attack && listed.get(table).some(([, name]) => name === attack);
    const there = (!wish.dataset || section.dataset.dataset === wish.dataset) && known && has && (!attack || under);
    section.hidden = !there;
    if (!there) continue;
    if (under) fillAttack(table, attack, k);
    const hide = heads.map(({ dataset }) => (dataset.c === "attack" ? !under
      : !keys.has(dataset.c) || (dataset.k !== undefined && !all && dataset.k !== k)));
    heads.forEach((head, index) => { head.hidden = hide[index]; });
    for (const body of threats) {
      body.hidden = body.dataset.threat !== wish.threat;
      for (const row of body.hidden ? [] : body.rows) {
        if (!row.classList.contains("row")) continue;
        const cells = row.children;
        for (let index = 0; index < cells.length; index += 1) {
          if (cells[index].hidden !== hide[index]) cells[index].hidden = hide[index];
        }
        const knows = !wish.knowledge || row.dataset.knowledge === wish.knowledge;
        row.hidden = !(knows && row.dataset.name.includes(text));
        if (!row.hidden) seen += 1;
      }
    }
    trim(table);
  }
  document.getElementById("count").textContent = `${seen} ${seen === 1 ? "row" : "rows"}`;
}

/* The address keeps what is chosen, so that a link shows the same. */
const usual = [...form.querySelectorAll("[name=column]:checked")].map((box) => box.value).join();
function keep() {
  const wish = new URLSearchParams();
  for (const name of ["dataset", "threat", "shots", "attack", "knowledge", "text"]) {
    const field = form.elements[name];
    const first = field.options ? field.options[0].value : "";
    if (field.value !== first) wish.set(name, field.value);
  }
  const columns = [...form.querySelectorAll("[name=column]:checked")].map((box) => box.value).join();
  if (columns !== usual) wish.set("columns", columns);
  history.replaceState(null, "", String(wish) ? `#${wish}` : location.pathname + location.search);
}
function recall() {
  const wish = new URLSearchParams(location.hash.slice(1));
  for (const [name, value] of wish) {
    const field = form.elements[name];
    if (name === "columns") {
      const keys = value.split(",");
      for (const box of form.querySelectorAll("[name=column]")) box.checked = keys.includes(box.value);
    } else if (field?.options ? [...field.options].some((o) => o.value === value) : name === "text") field.value = value;
  }
}
function rankFirst() {
  for (const table of boards) {
    const under = form.elements.attack.value !== "";
    const head = table.querySelector(under ? "th.attack" : "th.rank:not([hidden])");
    if (head) sort(head, under ? "descending" : "ascending");
  }
}

const chooser = form.querySelector(".chooser");
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && chooser.open) { chooser.open = false; chooser.firstElementChild.focus(); }
});
document.addEventListener("click", (event) => {
  if (chooser.open && !event.target.closest(".chooser")) chooser.open = false;
  const button = event.target.closest("button, a");
  const row = event.target.closest("tr.row");
  if (!button && row && getSelection().isCollapsed) toggle(row.querySelector(".open"));
  if (!button) return;
  if (button.classList.contains("open")) toggle(button);
  if (button.dataset.copy) copy(button.dataset.copy);
  if (button.closest(".more")) {
    const table = button.closest(".wide").querySelector("table.board");
    table.dataset.whole = "";
    trim(table);
  }
  if (button.classList.contains("sort")) {
    const head = button.closest("th");
    const turned = { ascending: "descending", descending: "ascending" };
    sort(head, turned[head.getAttribute("aria-sort")] || button.dataset.first);
  }
});
form.addEventListener("input", (event) => {
  boards.forEach(closeAll);
  filter();
  keep();
  if (["shots", "attack"].includes(event.target.name)) rankFirst();
});
form.addEventListener("submit", (event) => event.preventDefault());
addEventListener("hashchange", () => { recall(); filter(); });
const asked = location.hash.length > 1;
recall();
filter();
if (asked) rankFirst();
