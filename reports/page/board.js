"use strict";
const root = document.documentElement;
const form = document.querySelector(".controls");
const boards = [...document.querySelectorAll("table.board")];

/* Theme: the system's until the reader says otherwise. */
const theme = document.getElementById("theme");
const system = matchMedia("(prefers-color-scheme: dark)");
const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : system.matches);
const tell = () => theme.setAttribute("aria-pressed", String(isDark()));
theme.addEventListener("click", () => { root.dataset.theme = isDark() ? "light" : "dark"; tell(); });
system.addEventListener("change", tell);
tell();

/* Rows: a closed detail waits in the last tbody, an open one follows its row. */
function close(button) {
  button.setAttribute("aria-expanded", "false");
  const detail = document.getElementById(button.getAttribute("aria-controls"));
  detail.hidden = true;
  button.closest("table").querySelector(".details").append(detail);
}
function toggle(button) {
  if (button.getAttribute("aria-expanded") === "true") { close(button); return; }
  const detail = document.getElementById(button.getAttribute("aria-controls"));
  button.setAttribute("aria-expanded", "true");
  button.closest("tr").after(detail);
  detail.hidden = false;
}
function closeAll(scope) {
  for (const button of scope.querySelectorAll('.open[aria-expanded="true"]')) close(button);
}

/* Sorting: empty values last in both directions; what is open closes. */
function sort(heading, direction) {
  const table = heading.closest("table");
  const index = [...heading.parentElement.children].indexOf(heading);
  const sign = direction === "ascending" ? 1 : -1;
  closeAll(table);
  for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
  heading.setAttribute("aria-sort", direction);
  const words = heading.classList.contains("defense");
  for (const body of table.querySelectorAll("tbody[data-threat]")) {
    const keyed = [...body.rows].map((row) => {
      const value = row.cells[index].dataset.v;
      return { row, value: words ? value : value === "" ? null : Number(value) };
    });
    keyed.sort((a, b) => {
      if (a.value === null || b.value === null) return (a.value === null) - (b.value === null);
      return sign * (words ? a.value.localeCompare(b.value) : a.value - b.value)
        || a.row.dataset.place - b.row.dataset.place;
    });
    body.append(...keyed.map((each) => each.row));
  }
}

/* Filters. */
function filter() {
  const wish = Object.fromEntries(new FormData(form));
  const text = wish.text.trim().toLowerCase();
  let seen = 0;
  for (const table of boards) {
    const section = table.closest("section");
    const threats = [...table.querySelectorAll("tbody[data-threat]")];
    const known = threats.some((body) => body.dataset.threat === wish.threat);
    const all = wish.shots === "every";
    const k = wish.shots === "largest" ? table.dataset.largest : wish.shots;
    const has = all || table.querySelector(`th[data-k="${k}"]`) !== null;
    const there = (!wish.dataset || section.dataset.dataset === wish.dataset) && known && has;
    section.hidden = !there;
    for (const cell of table.querySelectorAll("[data-k]")) {
      cell.hidden = !all && cell.dataset.k !== k;
    }
    for (const body of threats) {
      body.hidden = body.dataset.threat !== wish.threat;
      for (const row of body.rows) {
        if (!row.classList.contains("row")) continue;
        const knows = !wish.knowledge || row.dataset.knowledge === wish.knowledge;
        row.hidden = !(knows && row.dataset.name.includes(text));
        if (there && !body.hidden && !row.hidden) seen += 1;
      }
    }
  }
  document.getElementById("count").textContent = `${seen} ${seen === 1 ? "row" : "rows"}`;
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (!button) return;
  if (button.classList.contains("open")) toggle(button);
  if (button.classList.contains("sort")) {
    const heading = button.closest("th");
    const turned = { ascending: "descending", descending: "ascending" };
    sort(heading, turned[heading.getAttribute("aria-sort")] || button.dataset.first);
  }
});
form.addEventListener("input", (event) => {
  boards.forEach(closeAll);
  filter();
  if (event.target.name === "shots") {
    for (const table of boards) {
      const rank = table.querySelector("th.rank:not([hidden])");
      if (rank) sort(rank, "ascending");
    }
  }
});
form.addEventListener("submit", (event) => event.preventDefault());
filter();
